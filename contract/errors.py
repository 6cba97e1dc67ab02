"""Every error that Ripen raises on purpose. Knows no HTTP and no gRPC: `service/status_map.py` gives each its status.

RipenError
├── InvalidInput              what came cannot be used; sending the same again fails the same way
│   ├── InvalidRequest        malformed JSON or form, wrong tensor shape or dtype, a value out of range
│   ├── InvalidImage          bytes that are not one acceptable JPEG, PNG or WebP picture
│   │   ├── ImageTooSmall     a labelled picture with fewer pixels per side than anything can be learnt from
│   │   └── BlankImage        a labelled picture of one colour
│   ├── ImageTooLarge         more bytes or pixels than the limit, refused before decoding
│   ├── InvalidDataset        a data set that no classifier can be trained on
│   ├── UnknownLabel          a label that is not one of the model's two classes
│   ├── InvalidArchive        a zip file that is none, contradicts itself, or has another layout
│   ├── ArchiveTooLarge       a zip file with more entries or bytes than the limit, packed or unpacked
│   └── InvalidSetting        a setting that cannot be used
├── AccessRefused
│   ├── Unauthenticated       no key came, or one that is not known, revoked or expired
│   ├── PermissionDenied      the key's roles do not include this
│   ├── OriginNotAllowed      a page of another origin asks
│   └── TooManyAttempts       too many keys that are none came from one address
├── NotFound
│   ├── UnknownModel, UnknownVersion, UnknownJob, UnknownExample, UnknownKey
│   ├── UnknownRequest        no image of such a prediction is kept here
│   └── UnknownSignature
├── Conflict                  the request is fine, the state of things is not
│   ├── NoLiveVersion         the model has no version to answer with yet
│   ├── ClassesNotDeclared    the model does not know its two classes yet
│   ├── ClassesFixed          the model's classes are other ones, and classes never change
│   ├── LabelConflict         the same image is already stored under the other label
│   ├── JobFinished           the job has ended and cannot be cancelled any more
│   ├── IdempotencyConflict   the same Idempotency-Key came with another request
│   ├── NothingToRollBack     no earlier live version is known
│   ├── TooManyKeys           the client has two live keys already
│   ├── JobRunning            a job of the model has not ended yet
│   ├── VersionPruned         the version's files were removed; only its record is left
│   ├── VersionInUse          the version is live, is what a rollback would bring back, or is pinned
│   ├── ImagesNotKept         the service keeps no images of predictions
│   └── NotEmpty              a restore needs a place without data
├── Unavailable               the same request may work later
│   ├── Overloaded            the queue is full
│   ├── EngineUnavailable     the version's engine process died or cannot be reached
│   ├── NoRoom                a version does not fit into the memory beside the one that it should replace
│   ├── Draining              the service is stopping
│   ├── DatabaseUnavailable, StorageUnavailable
│   └── StorageFull           no space left to store anything
├── DeadlineExceeded          the caller's time ran out before an answer was there
├── BrokenVersion             a published version that must not serve
│   ├── VersionCorrupt        a file is missing, added or altered: its sha256 is not the manifest's
│   ├── GoldenMismatch        the golden images do not give the manifest's probabilities
│   ├── LoadFailed            the version's engine could not load or warm it up
│   └── DegenerateVersion     its hold-out scores do not vary
├── TrainingFailed
│   ├── WeightsUnavailable    the pretrained weights could not be had
│   └── NothingToTrain        the recipe leaves no weight trainable
├── ConversionFailed          the network could not be converted for OpenVINO; the version is published without
├── LeaseLost                 another worker owns the job now; whatever this one does no longer counts
└── AddressInUse              a port that the service should listen on is taken
"""

import functools


class RipenError(Exception):
    """Root of the tree. The message says what came, what was expected and how to mend it."""

    @property
    def code(self) -> str:
        """The stable machine-readable name: the class name in snake_case, for example `invalid_image`."""
        return _snake_case(type(self).__name__)

    @property
    def message(self) -> str:
        return str(self)


@functools.cache
def _snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


class InvalidInput(RipenError):
    """What came cannot be used; sending the same again fails the same way."""


class InvalidRequest(InvalidInput):
    """Malformed JSON or form, wrong tensor shape or dtype, a value out of range."""


class InvalidImage(InvalidInput):
    """Bytes that are not one acceptable JPEG, PNG or WebP picture."""


class ImageTooSmall(InvalidImage):
    """A labelled picture with fewer pixels per side than anything can be learnt from."""


class BlankImage(InvalidImage):
    """A labelled picture of one colour."""


class ImageTooLarge(InvalidInput):
    """More bytes or pixels than the limit; refused before decoding."""


class InvalidDataset(InvalidInput):
    """A data set that no classifier can be trained on."""


class UnknownLabel(InvalidInput):
    """A label that is not one of the model's two classes."""


class InvalidArchive(InvalidInput):
    """A zip file that is none, contradicts itself, or has another layout than images in folders."""


class ArchiveTooLarge(InvalidInput):
    """A zip file with more entries or bytes than the limit, packed or unpacked; nothing of it was unpacked."""


class InvalidSetting(InvalidInput):
    """A setting that cannot be used; names the setting, its value and the wanted form."""


class AccessRefused(RipenError):
    """Who asks may not do this."""


class Unauthenticated(AccessRefused):
    """No key came, or one that is not known, revoked or expired."""


class PermissionDenied(AccessRefused):
    """The key's roles do not include this."""


class OriginNotAllowed(AccessRefused):
    """A page of another origin asks."""


class TooManyAttempts(AccessRefused):
    """Too many keys that are none came from one address."""


class NotFound(RipenError):
    """Something that was named does not exist."""


class UnknownModel(NotFound):
    """No model of that name."""


class UnknownVersion(NotFound):
    """The model has no such version, or the version is not loaded."""


class UnknownJob(NotFound):
    """The model has no such job."""


class UnknownExample(NotFound):
    """The model has no such example."""


class UnknownKey(NotFound):
    """No API key of that id."""


class UnknownRequest(NotFound):
    """No image of such a prediction is kept here (any more)."""


class UnknownSignature(NotFound):
    """The SavedModel has no such signature."""


class Conflict(RipenError):
    """The request is fine, the state of things is not."""


class NoLiveVersion(Conflict):
    """The model has no version to answer with yet."""


class ClassesNotDeclared(Conflict):
    """The model does not know its two classes yet."""


class ClassesFixed(Conflict):
    """The model's classes are other ones, and classes never change."""


class LabelConflict(Conflict):
    """The same image is already stored under the other label."""


class JobFinished(Conflict):
    """The job has ended and cannot be cancelled any more."""


class IdempotencyConflict(Conflict):
    """The same Idempotency-Key came with another request."""


class NothingToRollBack(Conflict):
    """No earlier live version is known."""


class TooManyKeys(Conflict):
    """The client has two live keys already."""


class JobRunning(Conflict):
    """A job of the model has not ended yet."""


class VersionPruned(Conflict):
    """The version's files were removed; only its record is left."""


class VersionInUse(Conflict):
    """The version is live, is what a rollback would bring back, or is pinned."""


class ImagesNotKept(Conflict):
    """The service keeps no images of predictions."""


class NotEmpty(Conflict):
    """A restore needs a place without data."""


class Unavailable(RipenError):
    """The same request may work later."""


class Overloaded(Unavailable):
    """The queue is full."""


class EngineUnavailable(Unavailable):
    """The version's engine process died or cannot be reached."""


class NoRoom(Unavailable):
    """A version does not fit into the memory beside the one that it should replace."""


class Draining(Unavailable):
    """The service is stopping."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class StorageUnavailable(Unavailable):
    """The object storage does not answer."""


class StorageFull(Unavailable):
    """No space left to store anything."""


class DeadlineExceeded(RipenError):
    """The caller's time ran out before an answer was there."""


class BrokenVersion(RipenError):
    """A published version that must not serve."""


class VersionCorrupt(BrokenVersion):
    """A file is missing, added or altered: its sha256 is not the manifest's."""


class GoldenMismatch(BrokenVersion):
    """The golden images do not give the manifest's probabilities."""


class LoadFailed(BrokenVersion):
    """The version's engine could not load it or warm it up."""


class DegenerateVersion(BrokenVersion):
    """Its scores on the hold-out do not vary."""


class TrainingFailed(RipenError):
    """The job cannot produce a version."""


class WeightsUnavailable(TrainingFailed):
    """The pretrained weights could not be had."""


class NothingToTrain(TrainingFailed):
    """The recipe leaves no weight trainable."""


class ConversionFailed(RipenError):
    """The network could not be converted for OpenVINO; the version is published without."""


class LeaseLost(RipenError):
    """Another worker owns the job now; whatever this one does no longer counts."""


class AddressInUse(RipenError):
    """A port that the service should listen on is taken."""
