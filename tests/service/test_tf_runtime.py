"""The TensorFlow runtime as it works on a GPU, on a processor: full batches, and XLA where that is faster."""

import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from contract.errors import LoadFailed
from service.runtimes.tf_runtime import TensorFlowRuntime, faster, fill_up

SIDE = 8
IMAGES = np.random.default_rng(0).integers(0, 255, (7, SIDE, SIDE, 3), np.uint8)


class Network(tf.Module):
    """One convolution, the mean over the image, a sigmoid."""

    def __init__(self) -> None:
        self.kernel = tf.Variable(np.random.default_rng(1).normal(0, 0.02, (3, 3, 3, 1)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, name="image")])
    def pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        maps = tf.nn.conv2d(tf.cast(image, tf.float32), self.kernel, 1, "SAME")
        return {"probability": tf.sigmoid(tf.reduce_mean(maps, (1, 2)))}


@pytest.fixture(autouse=True)
def _threads_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's threads are set once per process: an engine's own, but not this one's."""
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", lambda _: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network, path = Network(), tmp_path_factory.mktemp("network")
    tf.saved_model.save(network, str(path), signatures={"pixels": network.pixels})
    return path


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_filled_up_batch_answers_as_ever_and_only_for_its_own_images(folder: Path, count: int) -> None:
    plain = TensorFlowRuntime(folder, 1, 4, as_on_gpu=False)
    filled = TensorFlowRuntime(folder, 1, 4, as_on_gpu=True)
    expected = plain.infer(IMAGES[:count], alone=True)
    given = filled.infer(IMAGES[:count], alone=True)
    assert given.shape == (count,)
    assert np.allclose(given, expected, atol=1e-6)
    assert len(set(expected.tolist())) == count, "the images must differ"


def test_only_warmed_up_shapes_reach_a_gpu(folder: Path) -> None:
    runtime = TensorFlowRuntime(folder, 1, 6, as_on_gpu=True)
    call, shapes = runtime._call, []
    runtime._call = lambda images: shapes.append(len(images)) or call(images)
    for count in range(1, 7):
        runtime.infer(IMAGES[:count], alone=True)
    assert runtime.batch_sizes == (1, 2, 4, 6)
    assert shapes == [1, 2, 4, 4, 6, 6]


def test_a_processor_computes_no_more_images_than_came(folder: Path) -> None:
    runtime = TensorFlowRuntime(folder, 1, 4)
    call, shapes = runtime._call, []
    runtime._call = lambda images: shapes.append(len(images)) or call(images)
    runtime.infer(IMAGES[:3], alone=True)
    assert shapes == [3]
    assert runtime.notes == ()


def test_what_fills_up_is_black_and_a_full_batch_is_not_copied() -> None:
    filled = fill_up(IMAGES[:3], (1, 2, 4))
    assert np.array_equal(filled[:3], IMAGES[:3])
    assert filled.shape == (4, SIDE, SIDE, 3)
    assert not filled[3].any()
    assert fill_up(IMAGES[:2], (1, 2, 4)).base is IMAGES


def slow(images: tf.Tensor) -> tf.Tensor:
    time.sleep(0.02)
    return tf.zeros((len(images), 1))


def quick(images: tf.Tensor) -> tf.Tensor:
    return tf.zeros((len(images), 1))


def test_the_faster_one_is_taken_and_a_slower_xla_is_told() -> None:
    images = tf.zeros((2, SIDE, SIDE, 3), tf.uint8)
    assert faster(slow, quick, images) == (quick, ())
    call, (note,) = faster(quick, slow, images)
    assert call is quick
    assert note.startswith("XLA takes 2")
    assert "ms for 2 images instead of 0." in note


def test_a_network_that_xla_cannot_compile_is_served_without() -> None:
    def through_text(images: tf.Tensor) -> tf.Tensor:
        return tf.strings.to_number(tf.strings.as_string(tf.cast(images[:, 0, 0, :1], tf.float32)))

    compiled = tf.function(through_text, jit_compile=True)
    call, (note,) = faster(through_text, compiled, tf.zeros((2, SIDE, SIDE, 3), tf.uint8))
    assert call is through_text
    assert note.startswith("XLA cannot compile the network: ")


def test_a_saved_model_without_the_signature_is_refused(tmp_path: Path) -> None:
    network = Network()
    tf.saved_model.save(network, str(tmp_path), signatures={"serving_default": network.pixels})
    with pytest.raises(LoadFailed, match="has the signatures serving_default; expected `pixels`"):
        TensorFlowRuntime(tmp_path, 1, 4)
