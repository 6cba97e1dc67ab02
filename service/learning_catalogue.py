"""What a client may ask of models and versions: list, pin, promote, roll back, delete. LINE B step 5, LINE A step 3."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from contract.artifact import MANIFEST, Manifest, read_manifest
from contract.errors import InvalidRequest, UnknownModel, UnknownVersion, VersionPruned
from contract.keys import LOCAL_ACTOR, AuditEntry
from contract.ports import Database, Storage
from contract.records import ChangeKind, LiveChange, Model, Version, check_classes, check_model_name

LOCKS = 64
CURVES = "curves.png"
REASON_LENGTH = 1000


@dataclass(frozen=True)
class VersionRows:
    """All that the database knows of a model's versions; `aspired` is the one that should be live."""

    aspired: int | None
    versions: tuple[Version, ...]
    history: tuple[LiveChange, ...]


class DigestLocks:
    """One lock per few digests: else a deletion could take the object of a row that is just being added."""

    def __init__(self) -> None:
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    def of(self, digest: str) -> threading.Lock:
        return self._locks[int(digest[:8], 16) % LOCKS]


class Catalogue:
    """Models and their published versions; `Learning` adds examples and jobs.

    Args:
        on_change: called after what should be live may have changed; must be thread-safe.
    """

    def __init__(self, database: Database, storage: Storage, on_change: Callable[[], None]) -> None:
        self._database = database
        self._storage = storage
        self._on_change = on_change
        self._locks = DigestLocks()

    # Models
    def create_model(self, name: str, classes: tuple[str, ...] | None, *, actor: str = LOCAL_ACTOR) -> Model:
        """Create a model or declare its classes; the same again changes nothing.

        Raises:
            InvalidRequest: a name or class name that cannot be used, or not two classes.
            ClassesFixed: it has other classes.
        """
        checked = None if classes is None else check_classes(classes)
        model = self._database.create_model(check_model_name(name), checked, actor=actor)
        self._on_change()
        return model

    def model(self, name: str) -> Model:
        """One model, or UnknownModel."""
        return self._database.get_model(name)

    def models(self) -> list[Model]:
        """All models."""
        return self._database.list_models()

    def pin_model(self, name: str, *, pinned: bool, actor: str = LOCAL_ACTOR) -> Model:
        """Keep the model's engine loaded whatever the memory budget says, or no longer."""
        model = self._database.pin_model(name, pinned=pinned, actor=actor)
        self._on_change()
        return model

    def delete_model(self, name: str, *, actor: str = LOCAL_ACTOR) -> Model:
        """Remove a model with its images and versions. Objects that a crash leaves behind go with retention.

        Raises:
            JobRunning: a job of it has not ended.
        """
        examples = self._database.list_examples(name)
        versions = self._database.list_versions(name)
        model = self._database.delete_model(name, actor=actor)
        self._on_change()
        for example in examples:
            with self._locks.of(example.digest):
                if not self._exists(name):  # one of that name may have been made meanwhile, and given the same image
                    self._storage.delete(example.storage_key)
        for version in versions:
            if not self._exists(name):
                self._storage.delete_folder(version.storage_key)
        return model

    # Versions
    def versions(self, model: str) -> VersionRows:
        """A model's versions and live changes, newest first."""
        return VersionRows(
            aspired=self._database.get_model(model).live_version,
            versions=tuple(self._database.list_versions(model)),
            history=tuple(self._database.list_live_changes(model)),
        )

    def promote(self, model: str, number: int, *, reason: str, actor: str = LOCAL_ACTOR) -> LiveChange:
        """Declare a version live, whatever the gate said of it; the reason is kept."""
        if not reason.strip():
            raise InvalidRequest("The reason is empty; expected why this version should be live, for the history.")
        why = reason[:REASON_LENGTH]
        change = self._database.promote(model, number, kind=ChangeKind.MANUAL, reason=why, actor=actor)
        self._on_change()
        return change

    def rollback(self, model: str, *, reason: str, actor: str = LOCAL_ACTOR) -> LiveChange:
        """Declare the version live that the present one replaced."""
        change = self._database.rollback(model, reason=reason[:REASON_LENGTH], actor=actor)
        self._on_change()
        return change

    def pin_version(self, model: str, number: int, *, pinned: bool, actor: str = LOCAL_ACTOR) -> Version:
        """Keep a version from being pruned, or no longer."""
        return self._database.pin_version(model, number, pinned=pinned, actor=actor)

    def delete_version(self, model: str, number: int, *, actor: str = LOCAL_ACTOR) -> Version:
        """Remove a version's files; its row stays. VersionInUse where it is live, pinned or needed."""
        version = self._database.prune_version(model, number, actor=actor)
        self._storage.delete_folder(version.storage_key)
        return version

    def version(self, model: str, number: int) -> tuple[Version, Manifest | None]:
        """Any recorded version, loaded or not, and its manifest, which one whose files were removed has no more."""
        version = self._database.get_version(model, number)
        if version.pruned_at:
            return version, None
        return version, read_manifest(self._storage.local_folder(version.storage_key))

    def curves(self, model: str, number: int) -> bytes:
        """The training curves of a version, a PNG."""
        path = self._folder(model, number) / CURVES
        if not path.is_file():
            raise UnknownVersion(f"Version {number} of model {model!r} was published without curves.")
        return path.read_bytes()

    def audit(self, *, limit: int, before: int | None) -> list[AuditEntry]:
        """One page of the audit log, newest first."""
        return self._database.list_audit(limit=limit, before=before)

    def _folder(self, model: str, number: int) -> Path:
        version = self._database.get_version(model, number)
        if version.pruned_at:
            raise VersionPruned(
                f"The files of version {number} of model {model!r} were removed at "
                f"{version.pruned_at:%Y-%m-%d %H:%M} UTC; only its record is left."
            )
        return self._storage.local_folder(version.storage_key)

    def _files(self, version: Version) -> Iterable[str] | None:
        """The sha256 of each of a version's files, without fetching them; None where its manifest cannot be read."""
        text = self._storage.get(f"{version.storage_key}/{MANIFEST}")
        try:
            return msgspec.json.decode(text or b"", type=_Files).files.values()
        except msgspec.DecodeError:
            return None

    def _exists(self, name: str) -> bool:
        try:
            self._database.get_model(name)
        except UnknownModel:
            return False
        return True


class _Files(msgspec.Struct):
    files: dict[str, str]
