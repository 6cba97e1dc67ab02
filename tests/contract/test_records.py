"""contract.records and contract.errors: what crosses the database and the wire keeps its meaning."""

from datetime import UTC, datetime

import msgspec
import pytest

from contract import errors
from contract.errors import InvalidRequest, RipenError
from contract.recipe import Pooling, Recipe, change_recipe
from contract.records import GatePolicy, Job, JobState, Progress, check_classes, check_model_name, class_of
from contract.training import Epoch


def test_a_job_survives_json() -> None:
    history = (Epoch(1, "head", 0.6, 0.7, None, None, 1.5),)
    progress = Progress("train", 0.4, 12.0, 1, 15, "epoch 1 of 15", ("a warning",), history)
    created_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    job = Job("id", "default", JobState.RUNNING, Recipe(backbone="VGG16"), GatePolicy.ALWAYS, progress, created_at)
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job


def test_the_default_recipe_is_the_guide() -> None:
    recipe = Recipe()
    assert (recipe.dense_units, recipe.head_epochs, recipe.tail_layers, recipe.tail_epochs) == (256, 5, 4, 10)
    assert recipe.pooling is Pooling.FLATTEN


def test_recipes_are_changed_field_by_field() -> None:
    changed = change_recipe(Recipe(), {"alpha": 0.25, "pooling": "average", "backbone": "MobileNet"})
    assert (changed.alpha, changed.pooling, changed.backbone) == (0.25, Pooling.AVERAGE, "MobileNet")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"bakbone": "VGG16"}, "bakbone"),
        ({"alpha": "big"}, "alpha"),
        ({"head_epochs": 0, "tail_epochs": 0}, "head_epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"pooling": "max"}, "pooling"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"seed": 2**31}, "seed"),
        ({"name": "mine"}, "name"),
    ],
)
def test_a_bad_recipe_is_refused_by_field(changes: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        change_recipe(Recipe(), changes)


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a" * 64, "ä", "a\n"])
def test_bad_model_names(name: str) -> None:
    with pytest.raises(InvalidRequest, match="model name"):
        check_model_name(name)


def test_good_names() -> None:
    assert check_model_name("apples-2_b") == "apples-2_b"
    assert check_classes(("not ok", "ok")) == ("not ok", "ok")
    assert check_classes((" \u00c4pfel", "a\u0308")) == ("\u00c4pfel", "\u00e4")


def test_a_label_is_found_however_it_is_spelled() -> None:
    classes = ("\u00c4pfel", "ok")
    assert class_of("A\u0308pfel ", classes) == classes[0]
    assert class_of("A\u0308pfel", ("A\u0308pfel", "ok")) == "A\u0308pfel"  # declared before one spelling was asked for
    assert class_of("OK", classes) is None


@pytest.mark.parametrize(
    "classes",
    [
        *((), ("a",), ("a", "a"), ("a", "b", "c"), ("a", ""), ("a", "b/c"), ("a", "b\n"), ("a", "\ud800")),
        *(("a", "a "), ("a", " "), ("a", "\x7f"), ("a", "\u202eb"), ("a", ".."), ("\u00e4", "a\u0308")),
    ],
)
def test_bad_classes(classes: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest):
        check_classes(classes)


def test_the_error_tree_is_the_drawn_one() -> None:
    drawn = set(errors.__doc__.replace(",", " ").split()) if errors.__doc__ else set()
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, RipenError)]
    assert {c.__name__ for c in classes} <= drawn
    assert errors.ImageTooLarge("x").code == "image_too_large"
