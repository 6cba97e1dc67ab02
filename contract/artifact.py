"""A published version folder: its layout, its manifest, its digests. LINE B step 4, LINE A before a version serves.

<model>/<number>/
  saved_model.pb, variables/, fingerprint.pb     what TensorFlow Serving loads
  assets.extra/tf_serving_warmup_requests        requests of drawn images
  model.keras                                    the network without optimizer state
  golden/00.jpg ...                              drawn images whose probabilities the manifest holds
  curves.png                                     the training, drawn
  openvino/f32.xml, .bin, int8.xml, .bin         the network for OpenVINO, where it could be converted
  manifest.json                                  written last; lists the sha256 of every other file

Nothing in it is a user's image. Versions whose rows have no `last_example` are older: their golden/ and warm-up
requests are hold-out images.
"""

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from contract.errors import VersionCorrupt
from contract.leak_audit import LeakAudit
from contract.parity import Parity
from contract.recipe import Preprocessing, Recipe
from contract.records import Metrics
from contract.training import Calibration, Epoch, Operating, Suspect, Trial

MANIFEST = "manifest.json"
FORMAT = 1
GOLDEN_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Golden:
    """Images that a runtime must answer as it did when the version was made.

    `files` are paths inside the folder; `probabilities` maps `<runtime>-<precision>` (for example `tensorflow-f32`) to
    one probability per file. Equal means within `tolerance`.
    """

    files: tuple[str, ...]
    probabilities: dict[str, tuple[float, ...]]
    tolerance: float = GOLDEN_TOLERANCE


@dataclass(frozen=True)
class Network:
    """What was really trained: the backbone after `auto` was resolved, and where its weights came from."""

    backbone: str
    weights: str  # imagenet, none, or the sha256 of a weights file
    trainable_parameters: int
    total_parameters: int
    unfrozen_layers: tuple[str, ...] = ()
    kept_epoch: int | None = None  # from 1, over all phases: whose weights these are


@dataclass(frozen=True)
class Manifest:
    """All that a reader must know of a version. `image_size` is (height, width); `examples` counts "bucket/label"."""

    model: str
    version: int
    classes: tuple[str, str]
    image_size: tuple[int, int]
    preprocessing: Preprocessing
    threshold: float
    metrics: Metrics
    parent: int | None
    job_id: str
    created_at: str
    recipe: Recipe
    network: Network
    history: tuple[Epoch, ...]
    training_seconds: float
    seeds: dict[str, int]
    data_digest: str
    examples: dict[str, int]
    packages: dict[str, str]
    golden: Golden
    decoder_differences: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    parity: dict[str, Parity] = field(default_factory=dict)  # of each `<runtime>-<precision>` that was compared
    conversion: str = ""  # why there is no openvino/, or no int8 in it
    trials: tuple[Trial, ...] = ()  # what the network was chosen among
    calibration: Calibration | None = None  # already in the weights
    suspects: tuple[Suspect, ...] = ()  # images whose label looks wrong, the surest first
    operating: Operating | None = None  # how the threshold was chosen
    format: int = FORMAT
    leaks: LeakAudit | None = None  # None: made before images were compared


def write_manifest(folder: Path, manifest: Manifest) -> str:
    """Digest every file in `folder`, write manifest.json beside them, and return the manifest's own sha256 in hex."""
    complete = replace(manifest, files=digest_files(folder))
    text = msgspec.json.format(msgspec.json.encode(complete), indent=1)
    (folder / MANIFEST).write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def read_manifest(folder: Path, manifest_sha256: str | None = None) -> Manifest:
    """Read manifest.json without checking the files.

    Args:
        folder: a published version.
        manifest_sha256: what the database says of the manifest itself; None skips that check.

    Raises:
        VersionCorrupt: missing, unreadable, or another one than was published.
    """
    try:
        if manifest_sha256 not in (None, digest_file(folder / MANIFEST)):
            raise VersionCorrupt(f"{folder / MANIFEST} is not the manifest that was published.")
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise VersionCorrupt(f"{folder / MANIFEST} cannot be read as a manifest: {error}.") from error


def verify(folder: Path, manifest_sha256: str | None = None) -> Manifest:
    """Check that the folder holds exactly the manifest's files with the manifest's digests.

    Args:
        folder: a published version.
        manifest_sha256: what the database says of the manifest itself; None skips that check.

    Raises:
        VersionCorrupt: a file is missing, added or altered; names it.
    """
    manifest = read_manifest(folder, manifest_sha256)
    found = digest_files(folder)
    for name in sorted(manifest.files.keys() | found.keys()):
        if manifest.files.get(name) != found.get(name):
            what = "missing" if name not in found else "unknown" if name not in manifest.files else "altered"
            raise VersionCorrupt(f"{folder / name} is {what}: its sha256 is not the manifest's.")
    return manifest


def digest_files(folder: Path) -> dict[str, str]:
    """Map every file below `folder`, except the manifest, to its sha256 in hex.

    Raises:
        VersionCorrupt: something in there is neither a plain file nor a folder (a link, a pipe).
    """
    digests: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise VersionCorrupt(f"{path} is neither a plain file nor a folder.")
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST:
            digests[name] = digest_file(path)
    return digests


def digest_file(path: Path) -> str:
    """The sha256 of one file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """fsync every file and folder below `folder`, then `folder` itself, so that a later rename survives a crash."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
