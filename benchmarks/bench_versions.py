"""Published versions 1 and 2 of large networks with random weights, in a home that the real service starts on.

Made once and kept in a cache. The two differ by BIAS_STEP in the last bias, so that an image's probability names its
version. Speed needs no trained weights; parity and accuracy are never claimed for these.
"""

import hashlib
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from backends.database import SqlDatabase
from backends.storage import ObjectStorage
from benchmarks import bench_images
from contract import artifact
from contract.artifact import Golden, Manifest, Network
from contract.images import ImageLimits, decode_resized
from contract.recipe import Pooling, Preprocessing, Recipe
from contract.records import (
    DEFAULT_MODEL,
    ChangeKind,
    Decision,
    GatePolicy,
    Job,
    JobState,
    Metrics,
    Progress,
    Verdict,
    Version,
    version_key,
)
from contract.settings import Settings
from retrain.conversion import Converter, Samples

CACHE = Path("~/.cache/ripen-bench").expanduser()
BACKBONES = ("MobileNetV2", "VGG16", "ResNet50")
SIDE = 224
NUMBERS = (1, 2)
CLASSES = ("apple", "orange")
THRESHOLD = 0.5
SETTLING = 48  # images that BatchNorm's statistics, the head's scale and int8's calibration come from
BIAS_STEP = 4.0  # logits: version 1 has -2, version 2 has +2 added; int8 of random weights errs by up to 1
NEAR = 0.4  # of BIAS_STEP
FORMAT = 2  # raise it where versions of an older cache must not be used any more
METRICS = Metrics(16, 0.5, 0.7, 0.5, 0.5, 0.5, 4, 4, 4, 4)  # of random weights: nobody looks at them


@dataclass(frozen=True)
class Answers:
    """What TensorFlow f32 answers: per version for the golden images, and version 1's for the images sent."""

    golden: tuple[tuple[float, ...], tuple[float, ...]]
    images: tuple[float, ...]


@dataclass(frozen=True)
class BenchVersions:
    """What a benchmark of one network starts from.

    Attributes:
        home: for `RIPEN_HOME`; version 1 is live.
        keras_file: version 1 as Keras saves it.
        folders: of versions 1 and 2, published.
        images: encoded JPEGs, without those whose answers do not name their version at every precision.
        probabilities: version 1's for `images`, by TensorFlow f32.
    """

    backbone: str
    home: Path
    keras_file: Path
    folders: tuple[Path, Path]
    images: tuple[bytes, ...]
    probabilities: tuple[float, ...]

    def version_of(self, image: int, probability: float) -> int | None:
        """Which version gives this probability for `images[image]`, or None where neither does."""
        return version_of(self.probabilities[image], probability)


def version_of(first: float, probability: float, *, margin: float = 1.0) -> int | None:
    """Which version answered: the one whose logit is within NEAR of BIAS_STEP of `probability`'s.

    Args:
        first: P(`classes[1]`) of the same image by version 1 on TensorFlow f32, in (0, 1).
        probability: what came.
        margin: share of NEAR.
    """
    if not 0.0 < probability < 1.0:
        return None
    steps = (_logit(probability) - _logit(first)) / BIAS_STEP
    number = round(steps)
    return number + 1 if number in (0, 1) and abs(steps - number) < margin * NEAR else None


def prepare(backbone: str, *, cache: Path = CACHE, photos: Path | None = None, side: int = SIDE) -> BenchVersions:
    """Make, or take from the cache, both versions of a network.

    Args:
        backbone: a Keras Applications name, or `Compact`.
        cache: folder that keeps what was made.
        photos: a folder with at least 200 JPEGs; None draws the images.
        side: of the network's input in pixels.
    """
    source = "drawn" if photos is None else hashlib.sha256(str(photos.resolve()).encode()).hexdigest()[:12]
    root = cache / f"{source}-{FORMAT}"
    images = bench_images.prepare(root / "images", photos)
    place = root / f"{backbone}-{side}"
    if not (place / "home").exists():
        shutil.rmtree(place, ignore_errors=True)  # half made
        _make(backbone, side, place, root / "images")
    home = place / "home"
    storage = ObjectStorage(_settings(home).storage_url, cache=home / "cache")
    first, second = (storage.local_folder(version_key(DEFAULT_MODEL, number)) for number in NUMBERS)
    answers = msgspec.json.decode((place / "work" / "tensorflow.json").read_bytes(), type=Answers)
    sent = _choose_images(first, root / "images", place / "work")
    return BenchVersions(
        backbone,
        home,
        place / "work" / "model.keras",
        (first, second),
        tuple(images[number] for number in sent),
        tuple(answers.images[number] for number in sent),
    )


def _choose_images(folder: Path, images: Path, work: Path) -> list[int]:
    chosen = work / "sent.json"
    if not chosen.exists():
        arguments = [str(folder), str(images), str(work / "tensorflow.json")]
        chosen.write_bytes(subprocess.check_output([sys.executable, "-m", "benchmarks.bench_selection", *arguments]))
    return msgspec.json.decode(chosen.read_bytes(), type=list[int])


def promote(home: Path, number: int) -> None:
    """Declare a version live in a home whose service is not running."""
    database = SqlDatabase(_settings(home).database_url)
    database.promote(DEFAULT_MODEL, number, kind=ChangeKind.MANUAL, reason="a benchmark")
    database.close()


def _make(backbone: str, side: int, place: Path, images: Path) -> None:
    work = place / "work"
    work.mkdir(parents=True, exist_ok=True)
    print(f"making two versions of {backbone}, once ...", file=sys.stderr)
    command = [sys.executable, "-m", "benchmarks.tf_bench_network", backbone, str(side), str(images), str(work)]
    done = subprocess.run(command, stderr=subprocess.PIPE, check=False)  # what TensorFlow says is shown if it fails
    if done.returncode:
        raise SystemExit(f"Making {backbone} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    answers = msgspec.json.decode((work / "tensorflow.json").read_bytes(), type=Answers)
    for number in NUMBERS:
        _complete(work / str(number), _manifest(number, backbone, side), answers)
    _publish(place / "home.part", [work / str(number) for number in NUMBERS])
    (place / "home.part").rename(place / "home")


def _complete(folder: Path, manifest: Manifest, answers: Answers) -> None:
    """Add OpenVINO's networks, as a retraining does, and the manifest."""
    files = tuple(f"golden/{path.name}" for path in sorted((folder / "golden").iterdir()))
    drawings = [decode_resized((folder / name).read_bytes(), *manifest.image_size, ImageLimits()) for name in files]
    pixels = np.load(folder.parent / "calibration.npy")  # (N, H, W, 3) uint8
    step = BIAS_STEP * (manifest.version - 1)
    reference = [1.0 / (1.0 + math.exp(-(_logit(one) + step))) for one in answers.images[: len(pixels)]]
    samples = Samples(
        calibration=pixels,
        golden=np.stack(drawings),
        golden_reference=np.asarray(answers.golden[manifest.version - 1], np.float32),
        holdout=pixels,
        reference=np.asarray(reference, np.float32),
        labels=np.asarray([one >= THRESHOLD for one in reference], np.uint8),
        threshold=THRESHOLD,
    )
    converted = Converter().convert(folder, samples, print)
    if converted.failure:
        raise SystemExit(converted.failure)
    kept = Golden(files, {"tensorflow-f32": answers.golden[manifest.version - 1], **converted.golden})
    artifact.write_manifest(folder, replace(manifest, golden=kept, parity=converted.parity))


def _publish(home: Path, folders: Sequence[Path]) -> None:
    """Record the versions as jobs' results, as the retrain side does, and make version 1 live."""
    settings = _settings(home)
    home.mkdir(parents=True, exist_ok=True)
    database = SqlDatabase(settings.database_url)
    database.migrate()
    database.create_model(DEFAULT_MODEL, CLASSES)
    storage = ObjectStorage(settings.storage_url, cache=home / "cache")
    for folder in folders:
        _record(database, storage, folder)
    database.close()
    promote(home, NUMBERS[0])


def _record(database: SqlDatabase, storage: ObjectStorage, folder: Path) -> None:
    job_id = folder.name.rjust(32, "b")
    queued = Job(job_id, DEFAULT_MODEL, JobState.QUEUED, Recipe(), GatePolicy.ALWAYS, Progress(), database.now())
    database.create_job(queued)
    database.claim_job(owner="benchmark", lease_s=60, max_attempts=1)
    number = database.allocate_version(job_id, attempt=1)
    version = Version(
        model=DEFAULT_MODEL,
        number=number,
        job_id=job_id,
        parent=None,
        metrics=METRICS,
        verdict=Verdict(Decision.PROMOTE, GatePolicy.ALWAYS, ("made for a benchmark",), METRICS),
        training_seconds=1.0,
        manifest_sha256=artifact.digest_file(folder / artifact.MANIFEST),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    storage.publish_folder(folder, version.storage_key)
    database.record_version(version, attempt=1, promote=False)


def _manifest(number: int, backbone: str, side: int) -> Manifest:
    return Manifest(
        model=DEFAULT_MODEL,
        version=number,
        classes=CLASSES,
        image_size=(side, side),
        preprocessing=Preprocessing.OWN,
        threshold=THRESHOLD,
        metrics=METRICS,
        parent=None,
        job_id=str(number).rjust(32, "b"),
        created_at="2026-01-01T00:00:00+00:00",
        recipe=Recipe(backbone=backbone, weights="none", pooling=Pooling.AVERAGE, image_size=side),
        network=Network(backbone, "none", 0, 0),
        history=(),
        training_seconds=1.0,
        seeds={},
        data_digest="0" * 64,
        examples={},
        packages={},
        golden=Golden((), {}),
        decoder_differences=(),
    )


def _settings(home: Path) -> Settings:
    return Settings.from_environment({"RIPEN_HOME": str(home)})


def _logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))
