"""`ripen backup`: everything in one file, while the service runs and writes. Neither line.

Rows come from one snapshot of the database, then the objects that they name: an image is stored before its row, and a
folder published before it is recorded, so that each is there. What is deleted meanwhile is left out of both. Live
versions come first; where one was pruned before its turn, everything starts over from a new snapshot.
"""

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from contract.artifact import MANIFEST, read_manifest
from contract.errors import Conflict, NotFound, UnknownExample, UnknownVersion, VersionCorrupt
from contract.ports import Database, Storage
from contract.records import example_key, version_key
from service.backup_archive import OBJECTS, ROWS, ArchiveWriter, OnProgress, is_name
from service.backup_file import new_file

SNAPSHOTS = 3  # until a backup gives up


class _LiveVersionGone(Exception):
    """A version that is live in the snapshot was pruned before it was copied."""


@dataclass(frozen=True)
class BackedUp:
    """What a backup holds. `problems` is what could not be copied because it was broken before."""

    file: str
    size_bytes: int
    seconds: float
    examples: int
    versions: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ModelRow:
    """What must be known of an exported model."""

    name: str
    live_version: int | None


@dataclass(frozen=True)
class ExampleRow:
    """What must be known of an exported example."""

    id: str
    model: str
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class VersionRow:
    """What must be known of an exported version."""

    model: str
    number: int
    manifest_sha256: str
    pruned_at: float | None = None  # seconds since the epoch, as rows are exported


@dataclass(frozen=True)
class Plan:
    """The snapshot's rows that name objects."""

    live: set[tuple[str, int | None]] = field(default_factory=set)
    examples: list[ExampleRow] = field(default_factory=list)
    versions: list[VersionRow] = field(default_factory=list)

    def is_live(self, row: VersionRow) -> bool:
        """Whether an archive without that version's files would restore a model that cannot answer."""
        return (row.model, row.number) in self.live


@dataclass(frozen=True)
class Gone:
    """What was deleted while the backup was made, and what was broken before."""

    models: set[str] = field(default_factory=set)
    examples: set[str] = field(default_factory=set)
    pruned: dict[tuple[str, int], datetime] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def write_backup(file: Path, database: Database, storage: Storage, on_progress: OnProgress) -> BackedUp:
    """Write everything to `file`.

    Raises:
        Conflict: `file` exists; or live versions were pruned faster than they could be copied.
        StorageFull, StorageUnavailable, DatabaseUnavailable
    """
    began = time.monotonic()
    with new_file(file) as stream:
        copying = _copy_all(stream, file.parent, database, storage, on_progress)
        size_bytes = stream.tell()
    return BackedUp(
        file=str(file),
        size_bytes=size_bytes,
        seconds=round(time.monotonic() - began, 3),
        examples=copying.examples,
        versions=copying.versions,
        problems=tuple(copying.gone.problems),
    )


def _copy_all(
    stream: BinaryIO, folder: Path, database: Database, storage: Storage, on_progress: OnProgress
) -> "_Copying":
    for _ in range(SNAPSHOTS):
        stream.seek(0)
        stream.truncate()
        with tempfile.TemporaryFile(dir=folder) as spool:
            plan = _export(database, spool)
            archive = ArchiveWriter(stream, database.now().isoformat())
            copying = _Copying(archive, database, storage)
            try:
                copying.run(plan, on_progress)
            except _LiveVersionGone:
                continue
            _add_rows(archive, spool, copying.gone, folder)
            archive.close()
            return copying
    raise Conflict(
        f"Versions that were live when the backup began were pruned before they were copied, {SNAPSHOTS} times; "
        "try again while fewer versions go live, or raise RIPEN_KEEP_VERSIONS."
    )


class _Copying:
    """Objects that rows name, into the archive."""

    def __init__(self, archive: ArchiveWriter, database: Database, storage: Storage) -> None:
        self.gone = Gone()
        self.examples = self.versions = 0
        self._archive = archive
        self._database = database
        self._storage = storage

    def run(self, plan: Plan, on_progress: OnProgress) -> None:
        """Copy all of it.

        Raises:
            _LiveVersionGone
        """
        sizes = {version_key(row.model, row.number): 0 for row in plan.versions if row.pruned_at is None}
        for found in self._storage.list_objects("models") if sizes else ():
            key = "/".join(found.key.split("/")[:3])
            if key in sizes:
                sizes[key] += found.size_bytes
        done, total = 0, sum(row.size_bytes for row in plan.examples) + sum(sizes.values())
        for version in sorted(plan.versions, key=plan.is_live, reverse=True):
            if version.pruned_at is None:
                self._copy_version(version)
                if plan.is_live(version) and (version.model, version.number) in self.gone.pruned:
                    raise _LiveVersionGone
                done += sizes[version_key(version.model, version.number)]
                on_progress(done, total)
        for example in plan.examples:
            self._copy_example(example)
            done += example.size_bytes
            on_progress(done, total)

    def _copy_example(self, row: ExampleRow) -> None:
        key = example_key(row.model, row.digest)
        data = self._storage.get(key)
        if data is not None:
            entry = self._archive.add_bytes(OBJECTS + key, data)
            self.examples += 1
            if entry.sha256 != row.digest:
                self.gone.problems.append(f"image {row.id} of model {row.model} is altered; it is copied as it is")
            return
        self.gone.examples.add(row.id)
        try:
            self._database.get_example(row.model, row.id)
        except UnknownExample:
            return
        except NotFound:
            self.gone.models.add(row.model)
        else:
            self.gone.problems.append(f"image {row.id} of model {row.model} has no object; its row is left out")

    def _copy_version(self, row: VersionRow) -> None:
        key = version_key(row.model, row.number)
        try:
            folder = self._storage.local_folder(key)
            manifest = read_manifest(folder)
            with ExitStack() as opened:  # all at once: what is open can be read to its end, whoever removes it
                names = [*sorted(manifest.files), MANIFEST]
                _check_names(f"{OBJECTS}{key}", names)
                files = [(name, opened.enter_context((folder / name).open("rb"))) for name in names]
                digests = {name: self._add(f"{OBJECTS}{key}/{name}", file) for name, file in files}
        except (UnknownVersion, VersionCorrupt, FileNotFoundError) as error:
            self._note_missing(row, str(error))
            return
        self.versions += 1
        if digests.pop(MANIFEST) != row.manifest_sha256 or digests != manifest.files:
            self.gone.problems.append(f"version {row.number} of model {row.model} is altered; it is copied as it is")

    def _add(self, name: str, file: IO[bytes]) -> str:
        size = file.seek(0, 2)
        file.seek(0)
        return self._archive.add(name, file, size).sha256

    def _note_missing(self, row: VersionRow, why: str) -> None:
        try:
            now = self._database.get_version(row.model, row.number)
        except NotFound:
            self.gone.models.add(row.model)
            return
        if now.pruned_at:
            self.gone.pruned[row.model, row.number] = now.pruned_at
        else:
            self.gone.problems.append(f"version {row.number} of model {row.model} has no whole folder: {why}")


def _check_names(folder: str, names: list[str]) -> None:
    if not all(is_name(f"{folder}/{name}") for name in names):
        raise VersionCorrupt("its manifest names files that no version has")


def _export(database: Database, spool: IO[bytes]) -> Plan:
    """Write the snapshot's rows to `spool`, one [table, row] per line, and note those that name objects."""
    plan = Plan()
    for table, row in database.export_rows():
        spool.write(msgspec.json.encode((str(table), msgspec.Raw(row))) + b"\n")  # SQLAlchemy has names of its own kind
        if table == "models":
            model = msgspec.json.decode(row, type=ModelRow)
            plan.live.add((model.name, model.live_version))
        elif table == "examples":
            plan.examples.append(msgspec.json.decode(row, type=ExampleRow))
        elif table == "versions":
            plan.versions.append(msgspec.json.decode(row, type=VersionRow))
    return plan


def _add_rows(archive: ArchiveWriter, spool: IO[bytes], gone: Gone, folder: Path) -> None:
    spool.seek(0)
    with tempfile.TemporaryFile(dir=folder) as rows:
        rows.writelines(_without(spool, gone))
        size = rows.tell()
        rows.seek(0)
        archive.add(ROWS, rows, size)


def _without(lines: Iterable[bytes], gone: Gone) -> Iterator[bytes]:
    """The rows of what is in the archive."""
    for line in lines:
        table, row = msgspec.json.decode(line, type=tuple[str, dict[str, object]])
        model = row.get("name" if table == "models" else "model")
        if model in gone.models or (table == "examples" and row["id"] in gone.examples):
            continue
        pruned = gone.pruned.get((str(model), int(str(row["number"])))) if table == "versions" else None
        if pruned is None:
            yield line
        else:
            yield msgspec.json.encode((table, {**row, "pruned_at": pruned.timestamp()})) + b"\n"
