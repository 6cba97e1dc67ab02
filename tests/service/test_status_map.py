"""Every error has a row, and the rows say what the issue says."""

import inspect

import pytest
from grpc import StatusCode

from contract import errors
from contract.errors import RipenError
from service.status_map import INTERNAL_MESSAGE, TABLE, client_message, status_of

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, RipenError)]


def test_every_error_class_has_a_row() -> None:
    assert len(ALL) > 35
    assert set(ALL) == set(TABLE)


@pytest.mark.parametrize(
    ("error", "rest", "tf_serving_rest", "code"),
    [
        (errors.InvalidImage(""), 422, 400, StatusCode.INVALID_ARGUMENT),
        (errors.ImageTooLarge(""), 413, 400, StatusCode.INVALID_ARGUMENT),
        (errors.NoLiveVersion(""), 409, 409, StatusCode.FAILED_PRECONDITION),
        (errors.UnknownSignature(""), 404, 400, StatusCode.FAILED_PRECONDITION),
        (errors.Overloaded(""), 429, 429, StatusCode.RESOURCE_EXHAUSTED),
        (errors.EngineUnavailable(""), 503, 503, StatusCode.UNAVAILABLE),
        (errors.DeadlineExceeded(""), 504, 504, StatusCode.DEADLINE_EXCEEDED),
        (errors.StorageFull(""), 507, 507, StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_the_table(error: RipenError, rest: int, tf_serving_rest: int, code: StatusCode) -> None:
    status = status_of(error)
    assert (status.rest, status.tf_serving_rest, status.grpc) == (rest, tf_serving_rest, code)


def test_a_fault_of_ours_is_not_told_to_clients() -> None:
    assert client_message(errors.VersionCorrupt("/var/secret is altered")) == INTERNAL_MESSAGE
    assert client_message(errors.Overloaded("The queue is full.")) == "The queue is full."
