"""The guide's recipe by Ripen and as a plain Keras script, on the same folder in the same run.

usage: python benchmarks/retraining.py DATASET [--backbone MobileNet] [--alpha 0.25]     (about 2 minutes on 2 cores)

The plain script is what the guide shows: image_dataset_from_directory, 1/255, frozen backbone, 5 epochs, last 4 layers
unfrozen, 10 epochs. Prints seconds of training and the accuracy on `validation/`, and their ratio.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

PLAIN = Path(__file__).with_name("plain_keras_guide.py")


def main() -> None:
    """Measure both and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--backbone", default="MobileNet")
    parser.add_argument("--alpha", default="0.25")
    options = parser.parse_args()
    plain = run_plain(options.dataset, options.backbone, options.alpha)
    print(
        f"plain Keras: {plain['seconds']:.1f} s, accuracy {plain['last']:.3f} at the end, {plain['best']:.3f} at best"
    )
    with tempfile.TemporaryDirectory() as home:
        version = run_ripen(Path(home), options.dataset, options.backbone, options.alpha)
    seconds, accuracy = version["training_seconds"], version["metrics"]["accuracy"]
    print(f"Ripen:       {seconds:.1f} s, accuracy {accuracy:.3f}; seconds ratio {seconds / plain['seconds']:.2f}")


def run_plain(dataset: Path, backbone: str, alpha: str) -> dict[str, float]:
    """The guide as a script in a process of its own; its last line is JSON."""
    output = subprocess.check_output([sys.executable, PLAIN, dataset, backbone, alpha], stderr=subprocess.DEVNULL)
    return dict(json.loads(output.splitlines()[-1]))


def run_ripen(home: Path, dataset: Path, backbone: str, alpha: str) -> dict[str, object]:
    """`ripen up` on the folder until version 1 is live; the version as the API tells it."""
    ports = ["--rest-port", "18501", "--grpc-port", "18500"]
    network = ["--backbone", backbone, *(["--alpha", alpha] if alpha != "None" else [])]
    ripen = Path(sys.executable).with_name("ripen")
    process = subprocess.Popen([ripen, "up", "--home", home, "--data", dataset, *ports, *network], stdout=sys.stderr)
    try:
        while process.poll() is None:
            time.sleep(0.5)
            try:
                answer = httpx.get("http://127.0.0.1:18501/api/v1/versions").json()
            except httpx.TransportError:
                continue
            if answer.get("live"):
                return dict(answer["versions"][0])
        raise SystemExit(f"ripen up ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait(60)


if __name__ == "__main__":
    main()
