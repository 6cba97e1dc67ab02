"""A trained network as a SavedModel that TensorFlow Serving loads as it stands, and reading one back. LINE B, publish.

Signatures, both for any N:
  serving_default   image_bytes: string [N]          -> probability: float32 [N, 1], label: string [N, 1]
  pixels            image: uint8 [N, H, W, 3]        -> the same
The decoder inside serves others; Ripen's own service decodes with `contract/images.py` and calls `pixels`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from contract.errors import LoadFailed
from contract.images import ImageLimits, Pixels, decode_resized
from retrain.evaluation import Probabilities

RUNTIME = "tensorflow-f32"  # the golden probabilities' key, the same as the service's runtime
WARMUP = Path("assets.extra", "tf_serving_warmup_requests")
BATCH = 32
DECODER_DIFFERENCES = (
    "serving_default decodes JPEG, PNG, GIF and BMP with TensorFlow; Ripen's service takes JPEG, PNG and WebP.",
    "WebP: refused by serving_default.",
    "EXIF orientation: ignored by serving_default; the service turns the image.",
    "Alpha: dropped by serving_default; the service composes it on white.",
    "CMYK and YCCK JPEG: converted by libjpeg in serving_default, by Pillow in the service.",
    "16-bit PNG: narrowed to 8 bits by TensorFlow in serving_default, to the high byte by the service.",
    "Animated images: serving_default answers for the first frame or fails; the service refuses them.",
    "Plain 8-bit images: equal before the resize, within 1 grey level after it.",
)


@dataclass(frozen=True)
class Answering:
    """What the signatures need beside the network."""

    classes: tuple[str, str]
    threshold: float
    image_size: tuple[int, int]


def prepare_device() -> None:
    """Compute on a GPU as the service's runtime does, and leave it what memory is not needed; before all else."""
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)  # the service's versions run on the same GPU
    tf.config.experimental.enable_tensor_float_32_execution(False)  # golden probabilities are `tensorflow-f32`


def export(model: keras.Model, folder: Path, answering: Answering) -> None:
    """Write the SavedModel into `folder`, which is made where it does not exist."""
    height, width = answering.image_size

    def pixels(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return _answer(model(image, training=False), answering)

    def serving_default(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return pixels(_decode_all(image_bytes, height, width))

    archive = keras.export.ExportArchive()  # without track(model): it would write every variable twice
    archive.add_endpoint("serving_default", serving_default, [tf.TensorSpec([None], tf.string, name="image_bytes")])
    archive.add_endpoint("pixels", pixels, [tf.TensorSpec([None, height, width, 3], tf.uint8, name="image")])
    archive.write_out(str(folder), verbose=False)


def write_warmup(folder: Path, model_name: str, images: Pixels) -> None:
    """Write requests that TensorFlow Serving replays before a version serves: one image, then all of them.

    Args:
        folder: the version's.
        model_name: the model's name in the requests.
        images: (N, H, W, 3) uint8, drawn; stored as PNG, which every decoder reads.
    """
    path = folder / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = [tf.io.encode_png(image).numpy() for image in images]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch in (encoded[:1], encoded):
            writer.write(_request(model_name, "serving_default", {"image_bytes": tf.make_tensor_proto(batch)}))
        writer.write(_request(model_name, "pixels", {"image": tf.make_tensor_proto(images)}))


class Published:
    """A version folder's SavedModel, read back.

    Raises:
        LoadFailed: TensorFlow cannot read it.
    """

    def __init__(self, folder: Path, image_size: tuple[int, int]) -> None:
        self._size = image_size
        try:
            self._loaded = tf.saved_model.load(str(folder))  # its signatures die with it
            self._pixels: Callable[..., dict[str, tf.Tensor]] = self._loaded.signatures["pixels"]
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            raise LoadFailed(f"The SavedModel in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error

    def score(self, encoded: Iterable[bytes], limits: ImageLimits) -> Probabilities:
        """Encoded images, decoded as the service does -> (N,) float32."""
        return self.score_pixels(decode_resized(data, *self._size, limits) for data in encoded)

    def score_pixels(self, images: Iterable[Pixels]) -> Probabilities:
        """(H, W, 3) uint8 each -> (N,) float32 P(`classes[1]`)."""
        parts = [
            self._pixels(image=tf.constant(np.stack(batch)))["probability"].numpy()[:, 0] for batch in _batches(images)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)  # (N,) float32


def _answer(probability: tf.Tensor, answering: Answering) -> dict[str, tf.Tensor]:
    label = tf.where(probability >= answering.threshold, answering.classes[1], answering.classes[0])
    return {"probability": probability, "label": label}  # (N, 1) float32, (N, 1) string


def _decode_all(image_bytes: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """string [N] -> uint8 [N, H, W, 3]."""

    def decode(data: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")  # reads PNG too
        resized = tf.image.resize(image, (height, width), method="bilinear", antialias=False)
        return tf.cast(tf.round(resized), tf.uint8)

    return tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec((height, width, 3), tf.uint8))


def _request(model_name: str, signature: str, inputs: dict[str, object]) -> bytes:
    spec = model_pb2.ModelSpec(name=model_name, signature_name=signature)
    request = predict_pb2.PredictRequest(model_spec=spec, inputs=inputs)
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    return bytes(log.SerializeToString())


def _batches(images: Iterable[Pixels]) -> Iterator[list[Pixels]]:
    rest = iter(images)
    while batch := list(islice(rest, BATCH)):
        yield batch
