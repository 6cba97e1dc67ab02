"""The SavedModel: both signatures, any batch, the same answers as Keras; and its warm-up requests."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import orchard
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from contract.errors import LoadFailed
from contract.images import decode_resized
from retrain.keras_network import build
from retrain.tf_export import WARMUP, Answering, Published, export, write_warmup

SIZE = (32, 32)
CLASSES = orchard.CLASSES


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return build(orchard.TINY).model


@pytest.fixture(scope="module")
def folder(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version whose threshold lies amid its own scores, so that both labels are answered."""
    folder = tmp_path_factory.mktemp("version")
    export(network, folder, Answering(CLASSES, float(np.median(scores(network))), SIZE))
    return folder


def encoded(form: str = "JPEG") -> list[bytes]:
    return [orchard.picture(CLASSES[seed % 2], seed, form) for seed in range(5)]


def scores(network: keras.Model, form: str = "JPEG") -> np.ndarray:
    pixels = np.stack([decode_resized(data, *SIZE, orchard.LIMITS) for data in encoded(form)])
    return np.asarray(network.predict(pixels, verbose=0))[:, 0]


def test_a_published_version_answers_as_the_network(network: keras.Model, folder: Path) -> None:
    published = Published(folder, SIZE)
    np.testing.assert_allclose(published.score(encoded(), orchard.LIMITS), scores(network), atol=1e-6)
    assert published.score([], orchard.LIMITS).shape == (0,)
    many = published.score(encoded() * 14, orchard.LIMITS)
    assert many.shape == (70,)
    np.testing.assert_allclose(many[-5:], scores(network), atol=1e-6)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_tensorflow_alone_answers_from_encoded_bytes(network: keras.Model, folder: Path, form: str) -> None:
    loaded = tf.saved_model.load(str(folder))
    answer = loaded.signatures["serving_default"](image_bytes=tf.constant(encoded(form)))
    expected = scores(network, form)
    assert answer["probability"].shape == (5, 1)
    assert answer["probability"].dtype == tf.float32
    np.testing.assert_allclose(answer["probability"].numpy()[:, 0], expected, atol=2e-3)  # 1 grey level in resizing
    threshold = float(np.median(scores(network)))
    labels = [label.decode() for label in answer["label"].numpy()[:, 0]]
    assert labels == [CLASSES[int(value[0] >= threshold)] for value in answer["probability"].numpy()]
    assert answer["label"].shape == (5, 1)


def test_the_signatures_are_the_published_ones(folder: Path) -> None:
    signatures = tf.saved_model.load(str(folder)).signatures
    assert set(signatures) == {"serving_default", "pixels"}
    wanted = {"serving_default": ("image_bytes", [None], tf.string), "pixels": ("image", [None, 32, 32, 3], tf.uint8)}
    for name, (argument, shape, dtype) in wanted.items():
        (spec,) = signatures[name].structured_input_signature[1].values()
        assert (spec.name, spec.shape.as_list(), spec.dtype) == (argument, shape, dtype)
        outputs = signatures[name].structured_outputs
        assert {key: (spec.shape.as_list(), spec.dtype) for key, spec in outputs.items()} == {
            "probability": ([None, 1], tf.float32),
            "label": ([None, 1], tf.string),
        }


def test_every_variable_is_written_once(network: keras.Model, folder: Path) -> None:
    assert (folder / "variables" / "variables.data-00000-of-00001").stat().st_size < 4.1 * network.count_params() + 9999


def test_the_warm_up_requests_can_be_replayed(folder: Path, tmp_path: Path) -> None:
    images = np.stack([decode_resized(data, *SIZE, orchard.LIMITS) for data in encoded()])
    write_warmup(tmp_path, "fruit", images)
    signatures = tf.saved_model.load(str(folder)).signatures
    sizes = []
    for record in tf.data.TFRecordDataset(str(tmp_path / WARMUP)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        assert request.model_spec.name == "fruit"
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        answer = signatures[request.model_spec.signature_name](**inputs)
        sizes.append((request.model_spec.signature_name, answer["probability"].shape[0]))
    assert sizes == [("serving_default", 1), ("serving_default", 5), ("pixels", 5)]


def empty(folder: Path) -> None:
    folder.mkdir(exist_ok=True)


def corrupt(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"nothing of the kind")


@pytest.mark.parametrize("damage", [empty, corrupt])
def test_what_tensorflow_cannot_load_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(tmp_path)
    with pytest.raises(LoadFailed, match=str(tmp_path)):
        Published(tmp_path, SIZE)
