"""TensorFlow Serving's own file of batching parameters."""

import logging
from pathlib import Path

import pytest
from serving_fakes import settings

from contract.errors import InvalidSetting
from service import batching_parameters

SERVED = """
# as its documentation shows them
max_batch_size { value: 128 }
batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 10 }
num_batch_threads { value: 8 }
allowed_batch_sizes: 32
allowed_batch_sizes: 128
pad_variable_length_inputs: true
"""


def test_limits_are_taken_and_the_rest_is_said_to_be_not_needed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "batching_parameters.pbtxt"
    path.write_text(SERVED)
    given = batching_parameters.apply(settings(batching_parameters_file=path))
    assert (given.max_batch_size, given.queue_size) == (128, 1280)
    assert "batch_timeout_micros is not needed: no image waits for company" in caplog.text
    assert "max_batch_size is not needed" not in caplog.text


def test_what_the_file_leaves_out_stays(tmp_path: Path) -> None:
    path = tmp_path / "batching_parameters.pbtxt"
    path.write_text("max_enqueued_batches { value: 3 }")
    given = batching_parameters.apply(settings(batching_parameters_file=path, max_batch_size=16))
    assert (given.max_batch_size, given.queue_size) == (16, 48)
    path.write_text("max_batch_size { value: 1000 }")
    assert batching_parameters.apply(settings(batching_parameters_file=path)).max_batch_size == 256


def test_no_file_changes_nothing() -> None:
    assert batching_parameters.apply(settings()) == settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_batch_sise { value: 8 }", "max_batch_sise"),
        ("max_batch_size: 8", "cannot be used"),
        ("max_batch_size { value: -8 }", "max_batch_size is -8; expected a positive number"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 4",
            r"the last of them max_batch_size",
        ),
        ("max_batch_size { value: 4 } allowed_batch_sizes: 4 allowed_batch_sizes: 2", "increasing sizes"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "batching_parameters.pbtxt"
    path.write_text(text)
    with pytest.raises(InvalidSetting, match=said):
        batching_parameters.apply(settings(batching_parameters_file=path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"RIPEN_BATCHING_PARAMETERS_FILE is '.*none', which cannot be used"):
        batching_parameters.apply(settings(batching_parameters_file=tmp_path / "none"))
