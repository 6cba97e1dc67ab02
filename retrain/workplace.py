"""A job's own folder `<home>/work/<job_id>`: staging, and a note of what it may have left in storage. LINE B step 4."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from contract.errors import NotFound
from contract.ports import Database, Storage
from contract.records import version_key

NOTE = "job.json"
OPENING_S = 60.0  # a folder without a note may be one that a job is just opening


@dataclass(frozen=True)
class Note:
    """What must be known to clean up after a job that was killed: its model, and the numbers it published under."""

    model: str
    numbers: tuple[int, ...] = ()


class Workplace:
    """One job's folder; made by its process, removed by its worker."""

    def __init__(self, home: Path, job_id: str) -> None:
        self.job_id = job_id
        self.folder = home / "work" / job_id

    def staging(self, attempt: int) -> Path:
        """Where one attempt makes its version: an earlier one, which lost its lease, may still write to its own."""
        return self.folder / f"version-{attempt}"

    def open(self, model: str) -> None:
        """Make the folder, where an earlier attempt has not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._note() is None:
            self._write(Note(model))

    def remember(self, number: int) -> None:
        """Note a version number before anything is published under it."""
        note = self._note()
        assert note is not None, "open() comes first"
        self._write(replace(note, numbers=(*note.numbers, number)))

    def withdraw_unrecorded(self, database: Database, storage: Storage) -> None:
        """Remove published folders of this job that no row of the database names."""
        note = self._note()
        if note is None:
            return
        for number in note.numbers:
            withdraw(database, storage, note.model, number)

    def remove(self, database: Database, storage: Storage) -> None:
        """Withdraw what no row names, and remove the folder; the job's process must be gone."""
        self.withdraw_unrecorded(database, storage)
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_if_ended(self, database: Database, storage: Storage) -> None:
        """Withdraw and remove everything, unless the job may still run."""
        note = self._note()
        ended = _ended(database, note.model, self.job_id) if note else self._age_s() > OPENING_S
        if ended:
            self.remove(database, storage)

    def _age_s(self) -> float:
        try:
            return time.time() - self.folder.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _note(self) -> Note | None:
        try:
            return msgspec.json.decode((self.folder / NOTE).read_bytes(), type=Note)
        except (OSError, msgspec.DecodeError):
            return None

    def _write(self, note: Note) -> None:
        temporary = self.folder / f"{NOTE}.new"
        temporary.write_bytes(msgspec.json.encode(note))
        temporary.replace(self.folder / NOTE)


def withdraw(database: Database, storage: Storage, model: str, number: int) -> None:
    """Remove a published folder, unless a row of the database names it."""
    try:
        database.get_version(model, number)
    except NotFound:  # the version, or its whole model
        storage.delete_folder(version_key(model, number))


def all_workplaces(home: Path) -> Iterator[Workplace]:
    """Every job folder below `home`."""
    for folder in sorted((home / "work").glob("*/")):
        yield Workplace(home, folder.name)


def _ended(database: Database, model: str, job_id: str) -> bool:
    try:
        return database.get_job(model, job_id).state.ended
    except NotFound:  # the job, or its whole model
        return True
