"""The recipe `best`: it starts as its probe, keeps what is frozen, chooses by the tune bucket, and does so again."""

import math
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from small_pictures import SIDE, Listening, images

from contract.leak_audit import LeakAudit
from contract.recipe import BEST
from contract.training import Trial
from retrain import calibration, keras_best, probe
from retrain.dataset import Dataset, LabelledImages
from retrain.evaluation import log_loss
from retrain.features import FeatureCache
from retrain.keras_backbones import find_backbone
from retrain.keras_batches import draw_balanced, prior_log_odds
from retrain.keras_best import Tried, balanced_loss, begin_head, choose
from retrain.keras_live import read_live
from retrain.keras_network import Built, assemble
from retrain.keras_recipes import Course
from retrain.keras_weights import StartingPoint

# See test_keras_training.py.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

PLENTY = 2**30
RECIPE = replace(
    BEST, backbone="MobileNet", alpha=0.25, dense_units=8, tail_epochs=3, views=2, batch_size=8, learning_rate=1e-4
)


def build(seed: int = 1, side: int = SIDE) -> Built:
    keras.utils.set_random_seed(seed)
    backbone = find_backbone("MobileNet")
    layers = backbone.create(side, alpha=0.25, weights=None, preprocessing=RECIPE.preprocessing)
    return assemble(RECIPE, StartingPoint(backbone, layers, "imagenet", side))


def dataset(tune: LabelledImages | None = None) -> Dataset:
    return Dataset(
        classes=("apple", "orange"),
        train=images(range(40)),
        tune=images(range(100, 112)) if tune is None else tune,
        calibrate=images(range(200, 208)),
        holdout=images(range(300, 316)),
        digest="",
        counts={},
        last_example="",
        warnings=(),
        leaks=LeakAudit(0, 0, 0, 0, 0, (), 0, 0, 0),
    )


@pytest.fixture
def enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen tune images are enough to choose by."""
    monkeypatch.setattr(keras_best, "LEAST_TUNE", 12)


ONE_ARM = replace(RECIPE, tail_layers=8)


def course(tmp_path: Path, given: Dataset, built: Built | None = None, cache_bytes: int = PLENTY) -> Course:
    return Course(RECIPE, built or build(), FeatureCache(tmp_path, cache_bytes), given)


def small_course(tmp_path: Path, given: Dataset, built: Built | None = None) -> Course:
    return Course(ONE_ARM, built or build(), FeatureCache(tmp_path, PLENTY), given)


def right(trained_by: Course, given: Dataset) -> float:
    """The accuracy on the hold-out; the backbone's weights are random, and so are its features."""
    return float(((trained_by.predict(given.holdout) >= 0.5) == given.holdout.labels).mean())


def test_the_head_begins_as_the_probe() -> None:
    built = build()
    random = np.random.default_rng(0)
    features = random.normal(0, 1, (1, 60, 256)).astype(np.float32)
    labels = (features[0, :, 0] > 0).astype(np.uint8)
    fitted = probe.fit(features, labels, [str(row) for row in range(60)], seed=0)
    begin_head(built, fitted)
    hidden, output = built.head
    answers = np.asarray(output(hidden(features[0])))[:, 0]
    np.testing.assert_allclose(answers, fitted.predict(features[0]), atol=1e-5)


def test_only_the_tail_and_the_head_change(tmp_path: Path) -> None:
    """With few tune images the usual trial is taken, a quarter of the way to the end, and they are trained on."""
    given, built = dataset(), build()
    before = {weight.path: weight.numpy() for weight in built.model.weights}
    trained_by = small_course(tmp_path, given, built)
    trained_by.fill(Listening())
    trained = trained_by.train(Listening())
    changed = {weight.path for weight in built.model.weights if not np.array_equal(before[weight.path], weight.numpy())}
    tail = {
        weight.path
        for layer in built.start.layers.layers
        for weight in layer.weights
        if layer.name in trained.network.unfrozen_layers
    }
    assert trained.trials == ()
    assert {epoch.phase for epoch in trained.history} == {"train and tune"}
    assert changed <= tail | {weight.path for layer in built.head for weight in layer.weights}
    assert changed & tail
    assert not any("moving" in path or "gamma" in path for path in changed), "BatchNormalization stays as it is"
    assert right(trained_by, given) >= 0.75
    np.testing.assert_allclose(
        trained_by.predict(given.holdout), trained.model.predict(given.holdout.pixels, verbose=0)[:, 0], atol=1e-4
    )


@pytest.mark.usefixtures("enough")
def test_every_trial_is_told_and_one_is_chosen(tmp_path: Path) -> None:
    trained_by = course(tmp_path, dataset())
    trained_by.fill(Listening())
    trained = trained_by.train(Listening())
    (chosen,) = (trial for trial in trained.trials if trial.chosen)
    assert chosen.loss <= next(t.loss for t in trained.trials if t.share == 0.25 and t.depth == chosen.depth)
    depths = sorted({trial.depth for trial in trained.trials})
    assert len(depths) == 2
    starts = [trial.loss for trial in trained.trials if trial.share == 0]
    assert starts[0] == pytest.approx(starts[1], abs=1e-5), "both arms begin as the same probe"
    assert [epoch.epoch for epoch in trained.history] == list(range(1, len(trained.history) + 1))
    assert trained.history[-1].phase == "train and tune"


def test_equal_seeds_give_equal_answers(tmp_path: Path) -> None:
    answers = []
    for _ in range(2):
        given = dataset()
        trained_by = small_course(tmp_path, given)
        trained_by.fill(Listening())
        trained_by.train(Listening())
        answers.append(trained_by.predict(given.holdout))
    labels = given.holdout.labels
    assert log_loss(labels, answers[0]) == pytest.approx(log_loss(labels, answers[1]), abs=1e-4)
    assert np.array_equal(answers[0] >= 0.5, answers[1] >= 0.5)


@pytest.mark.parametrize("cache_bytes", [0, 60 * 4 * 256])
@pytest.mark.usefixtures("enough")
def test_with_less_room_it_does_less_and_says_so(tmp_path: Path, cache_bytes: int) -> None:
    given = dataset()
    trained_by = course(tmp_path, given, cache_bytes=cache_bytes)
    trained_by.fill(Listening())
    trained = trained_by.train(Listening())
    assert any("For want of room" in note for note in trained_by.notes)
    assert len({trial.depth for trial in trained.trials}) == 1
    assert right(trained_by, given) >= 0.75


def test_calibration_is_in_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "LEAST_SCALED", 8)
    monkeypatch.setattr(calibration, "log_loss", lambda labels, answers: -float(np.mean(answers)))
    given = dataset()
    trained_by = small_course(tmp_path, given)
    trained_by.fill(Listening())
    trained = trained_by.train(Listening())
    before = trained_by.predict(given.holdout).astype(np.float64)
    found = trained_by.calibrate()
    after = trained.model.predict(given.holdout.pixels, verbose=0)[:, 0]
    logits = np.log(before) - np.log1p(-before)
    np.testing.assert_allclose(after, 1 / (1 + np.exp(-(found.scale * logits + found.shift))), atol=1e-3)


@pytest.mark.usefixtures("enough")
def test_the_live_version_s_weights_are_a_start(tmp_path: Path) -> None:
    given, built = dataset(), build()
    first = small_course(tmp_path, given, built)
    first.fill(Listening())
    trained = first.train(Listening())
    keras.Model(trained.model.inputs, trained.model.outputs).save(tmp_path / "model.keras")
    manifest = type("M", (), {"network": trained.network, "image_size": built.image_size})
    again = Course(ONE_ARM, build(), FeatureCache(tmp_path, PLENTY), given, (tmp_path, manifest))  # type: ignore[arg-type]
    arms = {trial.arm.partition(",")[0] for trial in again.train(Listening()).trials}
    assert arms == {"imagenet", "live version"}
    for other in (build(seed=2), build(side=64)):
        assert read_live(other, 21, tmp_path, manifest) is None, "another network's activations are not these"  # type: ignore[arg-type]


def test_balanced_batches_have_half_of_either_class_and_every_image() -> None:
    labels = np.array([0] * 30 + [1] * 7, np.uint8)
    rows = draw_balanced(labels, np.random.default_rng(0))
    assert (labels[rows] == 1).sum() == (labels[rows] == 0).sum() == 30
    assert set(rows.tolist()) == set(range(37))
    assert prior_log_odds(labels) == pytest.approx(math.log(7 / 30))


def test_the_loss_of_balanced_batches_is_lowest_at_the_real_shares() -> None:
    """Nothing to see in the images: the best answer to half and half is the real share, 0.2."""
    labels = np.array([[0.0], [1.0]], np.float32)
    loss = balanced_loss(math.log(0.2 / 0.8))
    found = {
        answer: float(np.mean(loss(labels, np.full((2, 1), answer, np.float32)))) for answer in (0.1, 0.2, 0.3, 0.5)
    }
    assert min(found, key=found.__getitem__) == 0.2
    plain = balanced_loss(0.0)(labels, np.array([[0.3], [0.6]], np.float32))
    np.testing.assert_allclose(plain, -np.log([0.7, 0.6]), rtol=1e-4)


def tried(losses: list[list[float]], usual: int) -> list[Tried]:
    return [
        Tried(Trial("arm", 4, 0.5, float(np.mean(each))), np.array(each), place == usual)
        for place, each in enumerate(losses)
    ]


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [
        ([[0.5, 0.5, 0.5], [0.1, 0.4, 0.4], [0.4, 0.4, 0.4]], 2),  # lower by less than its error: luck
        ([[0.5, 0.5, 0.5], [0.2, 0.25, 0.2], [0.4, 0.4, 0.4]], 1),  # lower on each image
        ([[0.4, 0.4, 0.4], [0.5, 0.5, 0.5], [0.4, 0.4, 0.4]], 2),  # equal
        ([[0.1], [0.5], [0.5]], 2),  # one image says nothing
    ],
)
def test_the_usual_trial_is_chosen_unless_another_is_clearly_better(losses: list[list[float]], chosen: int) -> None:
    assert [trial.chosen for trial in choose(tried(losses, usual=2))] == [place == chosen for place in range(3)]
