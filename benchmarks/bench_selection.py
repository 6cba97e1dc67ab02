"""The images whose answers name their version at every precision. Run by `bench_versions.py` in a process of its own.

usage: python -m benchmarks.bench_selection VERSION_1_FOLDER IMAGES_FOLDER TENSORFLOW_JSON

int8 saturates on a few images that lie far from those it was calibrated with; these are not sent.
"""

import json
import sys
from pathlib import Path

import msgspec

from benchmarks.bench_versions import Answers, version_of
from contract import artifact
from contract.images import ImageLimits, decode_resized
from contract.openvino_model import OpenVinoModel, offered

MARGIN = 0.75  # of what `version_of` accepts: answers of other processors differ a little


def main(folder: str, images: str, answers: str) -> None:
    """Print the places of the images that can be sent, as JSON."""
    first = msgspec.json.decode(Path(answers).read_bytes(), type=Answers).images
    height, width = artifact.read_manifest(Path(folder)).image_size
    files = sorted(Path(images).glob("*.jpg"))
    pixels = [decode_resized(file.read_bytes(), height, width, ImageLimits())[None] for file in files]
    good = set(range(len(files)))
    for precision in offered():
        request = OpenVinoModel(Path(folder), precision, streams=1, threads=0).request()
        given = (float(request.infer(image)[0]) for image in pixels)
        good &= {place for place, one in enumerate(given) if version_of(first[place], one, margin=MARGIN) == 1}
    print(json.dumps(sorted(good)))


if __name__ == "__main__":
    main(*sys.argv[1:])
