"""The one table of error codes: which status each error of `contract/errors.py` gets in each protocol. LINE A step 1.

Source of TensorFlow Serving's REST codes: tensorflow_serving/util/net_http, INVALID_ARGUMENT -> 400 and so on; a model
without a version is 409 in every REST protocol, where TensorFlow Serving has no such state.
"""

import random
from dataclasses import dataclass

from grpc import StatusCode

from contract import errors
from contract.errors import RipenError

RETRY_AFTER_S, LONGEST_RETRY_AFTER_S = 1, 5
INTERNAL_MESSAGE = "The service failed on this request; its log says why under the request's id."


@dataclass(frozen=True)
class Status:
    """HTTP status of our REST, HTTP status of TensorFlow Serving's REST, and the gRPC code."""

    rest: int
    tf_serving_rest: int
    grpc: StatusCode


_INVALID = Status(400, 400, StatusCode.INVALID_ARGUMENT)
_UNPROCESSABLE = Status(422, 400, StatusCode.INVALID_ARGUMENT)
_NOT_FOUND = Status(404, 404, StatusCode.NOT_FOUND)
_CONFLICT = Status(409, 409, StatusCode.FAILED_PRECONDITION)
_UNAVAILABLE = Status(503, 503, StatusCode.UNAVAILABLE)
_UNAUTHENTICATED = Status(401, 401, StatusCode.UNAUTHENTICATED)
_DENIED = Status(403, 403, StatusCode.PERMISSION_DENIED)
_INTERNAL = Status(500, 500, StatusCode.INTERNAL)

TABLE: dict[type[RipenError], Status] = {
    errors.RipenError: _INTERNAL,
    errors.InvalidInput: _INVALID,
    errors.InvalidRequest: _INVALID,
    errors.InvalidImage: _UNPROCESSABLE,
    errors.ImageTooSmall: _UNPROCESSABLE,
    errors.BlankImage: _UNPROCESSABLE,
    errors.ImageTooLarge: Status(413, 400, StatusCode.INVALID_ARGUMENT),
    errors.InvalidDataset: _UNPROCESSABLE,
    errors.UnknownLabel: _UNPROCESSABLE,
    errors.InvalidArchive: _UNPROCESSABLE,
    errors.ArchiveTooLarge: Status(413, 400, StatusCode.INVALID_ARGUMENT),
    errors.InvalidSetting: _INTERNAL,
    errors.AccessRefused: _DENIED,
    errors.Unauthenticated: _UNAUTHENTICATED,
    errors.PermissionDenied: _DENIED,
    errors.OriginNotAllowed: _DENIED,
    errors.TooManyAttempts: Status(429, 429, StatusCode.RESOURCE_EXHAUSTED),
    errors.NotFound: _NOT_FOUND,
    errors.UnknownModel: _NOT_FOUND,
    errors.UnknownVersion: _NOT_FOUND,
    errors.UnknownJob: _NOT_FOUND,
    errors.UnknownExample: _NOT_FOUND,
    errors.UnknownKey: _NOT_FOUND,
    errors.UnknownRequest: _NOT_FOUND,
    errors.UnknownSignature: Status(404, 400, StatusCode.FAILED_PRECONDITION),
    errors.Conflict: _CONFLICT,
    errors.NoLiveVersion: _CONFLICT,
    errors.ClassesNotDeclared: _CONFLICT,
    errors.ClassesFixed: _CONFLICT,
    errors.LabelConflict: _CONFLICT,
    errors.JobFinished: _CONFLICT,
    errors.IdempotencyConflict: _CONFLICT,
    errors.NothingToRollBack: _CONFLICT,
    errors.TooManyKeys: _CONFLICT,
    errors.JobRunning: _CONFLICT,
    errors.VersionPruned: _CONFLICT,
    errors.VersionInUse: _CONFLICT,
    errors.ImagesNotKept: _CONFLICT,
    errors.NotEmpty: _CONFLICT,
    errors.Unavailable: _UNAVAILABLE,
    errors.Overloaded: Status(429, 429, StatusCode.RESOURCE_EXHAUSTED),
    errors.EngineUnavailable: _UNAVAILABLE,
    errors.NoRoom: _UNAVAILABLE,
    errors.Draining: _UNAVAILABLE,
    errors.DatabaseUnavailable: _UNAVAILABLE,
    errors.StorageUnavailable: _UNAVAILABLE,
    errors.StorageFull: Status(507, 507, StatusCode.RESOURCE_EXHAUSTED),
    errors.DeadlineExceeded: Status(504, 504, StatusCode.DEADLINE_EXCEEDED),
    errors.BrokenVersion: _INTERNAL,
    errors.VersionCorrupt: _INTERNAL,
    errors.GoldenMismatch: _INTERNAL,
    errors.LoadFailed: _INTERNAL,
    errors.DegenerateVersion: _INTERNAL,
    errors.TrainingFailed: _INTERNAL,
    errors.WeightsUnavailable: _INTERNAL,
    errors.NothingToTrain: _INTERNAL,
    errors.ConversionFailed: _INTERNAL,
    errors.LeaseLost: _INTERNAL,
    errors.AddressInUse: _INTERNAL,
}


def status_of(error: RipenError) -> Status:
    """The status of an error; one without a row is INTERNAL, and a test keeps that from happening."""
    return TABLE.get(type(error), _INTERNAL)


def client_message(error: RipenError) -> str:
    """What a client may read: the error's own message, except where the fault is ours."""
    return INTERNAL_MESSAGE if status_of(error) is _INTERNAL else error.message


def retry_after_s(rest_status: int) -> int:
    """After how many seconds to come back: who was refused by a full queue must not come back with all the others."""
    return random.randint(RETRY_AFTER_S, LONGEST_RETRY_AFTER_S) if rest_status == 429 else RETRY_AFTER_S  # noqa: S311  # no secret
