"""Backbones, preprocessing and where weights come from."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keras
import numpy as np
import orchard
import pytest

from contract.errors import TrainingFailed, WeightsUnavailable
from contract.recipe import Pooling, Preprocessing, Recipe
from retrain.keras_backbones import IMAGENET_ALPHAS, Backbone, backbone_names, find_backbone
from retrain.keras_network import build
from retrain.keras_weights import PART, download_whole, fetch_imagenet, find_start

NAMED_BY_THE_GUIDE = (
    "VGG16 ResNet50 InceptionV3 MobileNet MobileNetV2 MobileNetV3Small MobileNetV3Large EfficientNetB0 EfficientNetV2B0"
)
# Keras 3.15 saves and loads weights with numpy.array(variable); TensorFlow's variables do not know `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


def prepared(backbone: Backbone, preprocessing: Preprocessing) -> np.ndarray:
    pixels = keras.Input((32, 32, 3), dtype="uint8")
    model = keras.Model(pixels, backbone.prepare(pixels, preprocessing))
    return np.asarray(model.predict(PIXELS, verbose=0))


@pytest.mark.parametrize("name", ["VGG16", "MobileNet", "DenseNet121", "EfficientNetB0", "ResNet50V2", "ConvNeXtTiny"])
def test_own_preprocessing_is_what_keras_does(name: str) -> None:
    """One backbone per way of Keras': caffe, tf, torch, inside, tf again, inside again."""
    backbone = find_backbone(name)
    expected = backbone.preprocess(PIXELS.astype(np.float32))
    np.testing.assert_allclose(prepared(backbone, Preprocessing.OWN), expected, atol=2e-6)


def test_rescale_is_the_guides_one_by_255() -> None:
    np.testing.assert_allclose(
        prepared(find_backbone("VGG16"), Preprocessing.RESCALE), PIXELS / np.float32(255), rtol=1e-6
    )


def test_the_catalogue_is_keras_applications_and_ours() -> None:
    assert {*NAMED_BY_THE_GUIDE.split(), "Compact"} <= set(backbone_names())
    assert (find_backbone("VGG16").default_size, find_backbone("InceptionV3").default_size) == (224, 299)
    with pytest.raises(TrainingFailed, match=r"'VGG17'; expected one of Compact, ConvNeXtBase.*Xception"):
        find_backbone("VGG17")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(backbone="VGG16", alpha=0.5), "no width multiplier"),
        (Recipe(backbone="Compact", alpha=0.5), "no width multiplier"),
        (Recipe(backbone="EfficientNetB0", preprocessing=Preprocessing.RESCALE), "preprocesses inside"),
        (Recipe(backbone="InceptionV3", image_size=40), "at least 75"),
    ],
)
def test_a_recipe_that_does_not_fit_the_backbone_is_refused(recipe: Recipe, words: str) -> None:
    with pytest.raises(TrainingFailed, match=words):
        build(replace(recipe, weights="none"))


@pytest.mark.parametrize("pooling", list(Pooling))
def test_the_head_is_the_guides(pooling: Pooling) -> None:
    recipe = Recipe(backbone="MobileNet", alpha=0.25, weights="none", image_size=64, pooling=pooling, dense_units=7)
    built = build(recipe)
    assert built.model.input_shape == (None, 64, 64, 3)
    assert built.image_size == (64, 64)
    hidden, probability = built.model.layers[-2:]
    features = 2 * 2 * 256 if pooling is Pooling.FLATTEN else 256
    assert tuple(hidden.kernel.shape) == (features, 7)
    assert (probability.units, probability.activation.__name__) == (1, "sigmoid")
    assert "from scratch" in built.start.warnings[0]


def test_the_same_seed_gives_the_same_first_weights() -> None:
    first, again = (build(orchard.TINY).model.predict(PIXELS, verbose=0) for _ in range(2))
    other = build(replace(orchard.TINY, seed=7)).model.predict(PIXELS, verbose=0)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


class Cache:
    """A stand-in for Keras' download: counts what the loader is asked for, and answers or fails."""

    def __init__(self, answer: keras.Model | Exception) -> None:
        self.asked: list[tuple[str, float]] = []
        self._answer = answer

    def __call__(self, build: Callable[[], keras.Model], *, wait_s: float, name: str) -> keras.Model:
        self.asked.append((name, wait_s))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


GONE = WeightsUnavailable("The ImageNet weights of MobileNetV2 cannot be had (no answer).")


def test_auto_without_a_backbone_falls_back_to_compact_and_says_so() -> None:
    cache = Cache(GONE)
    start = find_start(Recipe(alpha=0.5), cache)
    assert cache.asked == [("MobileNetV2", 20.0)]
    assert (start.backbone.name, start.weights, start.size, start.pretrained) == ("Compact", "none", 96, False)
    assert len(start.warnings) == 1
    assert start.warnings[0].startswith(str(GONE))
    assert "Compact" in start.warnings[0]


@pytest.mark.parametrize("recipe", [Recipe(backbone="MobileNetV2"), Recipe(weights="imagenet")])
def test_what_was_named_is_not_replaced_and_waited_for_longer(recipe: Recipe) -> None:
    cache = Cache(GONE)
    with pytest.raises(WeightsUnavailable, match="cannot be had"):
        find_start(recipe, cache)
    assert cache.asked == [("MobileNetV2", 900.0)]


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(alpha=0.3), "0.3; MobileNetV2 has ImageNet weights for 0.35, 0.5, 0.75, 1.0, 1.3, 1.4 only"),
        (Recipe(backbone="InceptionV3", image_size=64), "InceptionV3 cannot be built .*at least 75x75"),
    ],
)
def test_a_wrong_recipe_is_not_called_missing_weights(recipe: Recipe, words: str) -> None:
    with pytest.raises(TrainingFailed, match=words) as caught:
        find_start(recipe)
    assert caught.type is TrainingFailed


@pytest.mark.parametrize("name", [name for name in backbone_names() if "alpha" in find_backbone(name).options])
def test_the_widths_with_imagenet_weights_are_keras(name: str) -> None:
    with pytest.raises(ValueError, match="alpha") as caught:
        find_backbone(name).build(include_top=False, weights="imagenet", input_shape=(224, 224, 3), alpha=0.3)
    said = str(caught.value).partition("Received")[0].partition("non minimalistic")[0]
    assert tuple(float(number) for number in re.findall(r"\d\.\d+", said)) == IMAGENET_ALPHAS[name]


def test_auto_takes_imagenet_weights_that_can_be_had() -> None:
    layers = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    start = find_start(Recipe(), Cache(layers))
    assert (start.backbone.name, start.weights, start.layers, start.size) == ("MobileNetV2", "imagenet", layers, 224)


def test_no_weights_and_no_backbone_is_compact_without_asking() -> None:
    cache = Cache(GONE)
    assert find_start(Recipe(weights="none"), cache).backbone.name == "Compact"
    assert find_start(Recipe(backbone="Compact"), cache).warnings == ()
    assert cache.asked == []
    with pytest.raises(WeightsUnavailable, match="Nobody has trained Compact"):
        find_start(Recipe(backbone="Compact", weights="imagenet"), cache)


WHOLE = b"weights" * 1000


class SlowMirror(ThreadingHTTPServer):
    """Sends half of a file, and the other half once `more` is set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HalfAtATime)
        self.half_sent = threading.Event()
        self.more = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/new.h5"


class HalfAtATime(BaseHTTPRequestHandler):
    server: SlowMirror

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(WHOLE)))
        self.end_headers()
        self.wfile.write(WHOLE[:3500])
        self.server.half_sent.set()
        assert self.server.more.wait(60)
        self.wfile.write(WHOLE[3500:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[SlowMirror]:
    with SlowMirror() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.more.set()
        server.shutdown()


def test_a_download_has_its_name_only_when_it_is_whole(mirror: SlowMirror, tmp_path: Path) -> None:
    """A job killed half-way must not leave what Keras would take for the weights at every later start."""
    new, arrived = tmp_path / "models" / "new.h5", threading.Event()

    def download() -> None:
        keras.utils.get_file("new.h5", mirror.url, cache_dir=str(tmp_path), cache_subdir="models")
        arrived.set()

    with pytest.raises(WeightsUnavailable, match=r"VGG16 cannot be had \(no answer within 0 s\).*KERAS_HOME"):
        fetch_imagenet(download, wait_s=0.4, name="VGG16")
    assert mirror.half_sent.wait(60)
    assert not new.exists()
    mirror.more.set()
    assert arrived.wait(60)
    assert new.read_bytes() == WHOLE
    assert list(new.parent.iterdir()) == [new]


def test_what_killed_downloads_left_is_removed_but_not_what_others_write(mirror: SlowMirror, tmp_path: Path) -> None:
    mirror.more.set()
    killed, others = tmp_path / f"old.h5{PART}", tmp_path / f"new.h5{PART}"
    for part in (killed, others):
        part.write_bytes(b"par")
    os.utime(killed, (1, 1))
    download_whole(mirror.url, str(tmp_path / "new.h5"))
    assert {path.name for path in tmp_path.iterdir()} == {"new.h5", others.name}
    with pytest.raises(OSError, match="refused"):
        download_whole("http://127.0.0.1:1/gone.h5", str(tmp_path / "gone.h5"))
    assert {path.name for path in tmp_path.iterdir()} == {"new.h5", others.name}


def test_a_failed_download_says_why() -> None:
    def download() -> None:
        raise Exception("URL fetch failure on weights.h5: no route\nmore")  # noqa: TRY002  # what Keras raises

    with pytest.raises(WeightsUnavailable, match=r"\(URL fetch failure on weights.h5: no route\)"):
        fetch_imagenet(download, wait_s=10, name="VGG16")


def test_a_weights_file_is_loaded_and_named_by_its_digest(tmp_path: Path) -> None:
    recipe = Recipe(backbone="MobileNet", alpha=0.25, image_size=64, weights="none")
    donor = find_start(replace(recipe, seed=1)).layers
    file = tmp_path / "mobilenet.weights.h5"
    donor.save_weights(file)
    start = find_start(replace(recipe, weights=str(file), seed=2))
    assert np.array_equal(start.layers.weights[0].numpy(), donor.weights[0].numpy())
    assert len(start.weights) == 64
    assert start.pretrained


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_a_weights_file_that_does_not_fit_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "some.weights.h5"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WeightsUnavailable, match=r"some\.weights\.h5.*cannot be loaded into Compact"):
        find_start(replace(orchard.TINY, weights=str(file)))
