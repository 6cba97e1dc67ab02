"""Makes real, tiny version folders in milliseconds: a SavedModel of 8 x 8 pixels that TensorFlow loads.

P(`classes[1]`) = sigmoid(4 * (mean red - mean green) / 255 + bias). The SavedModel is built once per test session, in a
process of its own; bias and classes are its assets, so that another version is a copy with two other text files.
"""

import atexit
import functools
import io
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from contract import artifact
from contract.artifact import Golden, Manifest, Network
from contract.images import ImageLimits, decode_resized
from contract.recipe import Preprocessing, Recipe
from contract.records import Decision, GatePolicy, Metrics, Verdict, Version

SIDE = 8
SCALE = 4.0
METRICS = Metrics(16, 0.9, 0.3, 0.95, 0.9, 0.9, 7, 1, 7, 1)
BIAS = "tiny-version-bias"  # where the manifest keeps it: among the package versions


def make(
    folder: Path,
    *,
    model: str = "default",
    number: int = 1,
    classes: tuple[str, str] = ("apple", "orange"),
    bias: float = 0.0,
) -> Manifest:
    """Write a whole published version to `folder`, which must not exist yet, and return its manifest."""
    shutil.copytree(_saved_model(), folder)
    (folder / "assets" / "bias.txt").write_text(repr(bias))
    (folder / "assets" / "classes.txt").write_text("\n".join(classes))
    (folder / "golden").mkdir()
    files = tuple(f"golden/{seed:02}.jpg" for seed in range(4))
    for seed, name in enumerate(files):
        (folder / name).write_bytes(picture(1000 + seed))
    golden = Golden(files, {"tensorflow-f32": tuple(expected(bias, (folder / name).read_bytes()) for name in files)})
    artifact.write_manifest(folder, _manifest(model, number, classes, bias, golden))
    return artifact.verify(folder)


def record(folder: Path, *, parent: int | None = None) -> Version:
    """The database row of the version in `folder`."""
    manifest = artifact.read_manifest(folder)
    return Version(
        model=manifest.model,
        number=manifest.version,
        job_id=manifest.job_id,
        parent=parent,
        metrics=manifest.metrics,
        verdict=Verdict(Decision.PROMOTE, GatePolicy.ALWAYS, ("made for a test",), manifest.metrics),
        training_seconds=manifest.training_seconds,
        manifest_sha256=artifact.digest_file(folder / artifact.MANIFEST),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def picture(seed: int, *, side: int = 32) -> bytes:
    """A JPEG of one noisy colour that depends on `seed`."""
    generator = np.random.default_rng(seed)
    colour = generator.integers(30, 226, 3)
    pixels = np.clip(generator.normal(colour, 10, (side, side, 3)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def pixels(seeds: Sequence[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The pictures of `seeds`, decoded to the version's own size: (N, 8, 8, 3) uint8."""
    return np.stack([decode_resized(picture(seed), SIDE, SIDE, ImageLimits()) for seed in seeds])


def expected(version: Manifest | float, jpeg: bytes) -> float:
    """P(`classes[1]`) of an encoded image, by numpy; `version` is a manifest that `make` returned, or a bias."""
    bias = version if isinstance(version, float) else float(version.packages[BIAS])
    red, green, _ = decode_resized(jpeg, SIDE, SIDE, ImageLimits()).mean(axis=(0, 1))
    return 1.0 / (1.0 + math.exp(-(SCALE * (red - green) / 255.0 + bias)))


def _manifest(model: str, number: int, classes: tuple[str, str], bias: float, golden: Golden) -> Manifest:
    return Manifest(
        model=model,
        version=number,
        classes=classes,
        image_size=(SIDE, SIDE),
        preprocessing=Preprocessing.RESCALE,
        threshold=0.5,
        metrics=METRICS,
        parent=None,
        job_id=f"{number:032x}",
        created_at="2026-01-01T00:00:00+00:00",
        recipe=Recipe(),
        network=Network("Tiny", "none", 1, 1),
        history=(),
        training_seconds=1.5,
        seeds={},
        data_digest="0" * 64,
        examples={},
        packages={BIAS: repr(bias)},
        golden=golden,
        decoder_differences=(),
    )


@functools.cache
def _saved_model() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tiny-version-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [sys.executable, "-c", BUILD, str(folder / "model"), str(SIDE), str(SCALE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "model"


BUILD = """
import pathlib, sys
import tensorflow as tf

target, side, scale = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
for name, text in (("bias.txt", "0.0"), ("classes.txt", "a\\nb")):
    target.with_name(name).write_text(text)

class Tiny(tf.Module):
    def __init__(self):
        self.bias_file = tf.saved_model.Asset(str(target.with_name("bias.txt")))
        self.classes_file = tf.saved_model.Asset(str(target.with_name("classes.txt")))
        self.scale = tf.Variable(scale)

    def answer(self, image):
        bias = tf.strings.to_number(tf.io.read_file(self.bias_file.asset_path))
        classes = tf.strings.split(tf.io.read_file(self.classes_file.asset_path), "\\n")
        mean = tf.reduce_mean(tf.cast(image, tf.float32), axis=(1, 2))  # (N, 3)
        probability = tf.sigmoid(self.scale * (mean[:, :1] - mean[:, 1:2]) / 255.0 + bias)  # (N, 1)
        label = tf.gather(classes, tf.cast(probability >= 0.5, tf.int32))  # (N, 1)
        return {"probability": probability, "label": label}

    @tf.function(input_signature=[tf.TensorSpec([None, side, side, 3], tf.uint8, name="image")])
    def pixels(self, image):
        return self.answer(image)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serving_default(self, image_bytes):
        def decode(data):
            image = tf.io.decode_image(data, channels=3, expand_animations=False)
            image = tf.cast(tf.round(tf.image.resize(image, (side, side))), tf.uint8)
            return tf.ensure_shape(image, (side, side, 3))
        return self.answer(tf.map_fn(decode, image_bytes, fn_output_signature=tf.uint8))

model = Tiny()
tf.saved_model.save(model, str(target), signatures={"serving_default": model.serving_default, "pixels": model.pixels})
"""
