"""A backup and its restore, without a running service: what is in it, what is left out, what is refused."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import stocked_home
from stocked_home import StockedHome

from contract import artifact
from contract.errors import Conflict, InvalidRequest, NotEmpty, StorageFull, StorageUnavailable, UnknownModel
from contract.keys import ApiKey, Role
from contract.ports import Storage
from contract.records import Bucket, ChangeKind, JobState
from service.backup import BackedUp, write_backup
from service.backup_archive import MAX_IMAGE_BYTES
from service.restore import MARK, STAGING, Restored, restore_backup


def quiet(_: int, __: int) -> None:
    """No progress."""


def back_up(stocked: StockedHome, file: Path) -> BackedUp:
    return write_backup(file, stocked.planted.database, stocked.planted.storage, quiet)


def restore(file: Path, home: Path, storage: Storage | None = None) -> Restored:
    place = stocked_home.place(home)
    place.database.migrate()
    return restore_backup(file, place.database, storage or place.storage, home=home, on_progress=quiet)


def rows(stocked_at: Path) -> list[tuple[str, bytes]]:
    return list(stocked_home.place(stocked_at).database.export_rows())


def objects(home: Path) -> dict[str, str]:
    """Every file of the storage with its sha256."""
    files = [path for path in (home / "storage").rglob("*") if path.is_file()]
    return {path.relative_to(home).as_posix(): artifact.digest_file(path) for path in files}


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> StockedHome:
    """Tests that change something stock their own."""
    return stocked_home.stock(tmp_path_factory.mktemp("stocked") / "home")


@pytest.fixture(scope="module")
def file(stocked: StockedHome) -> Path:
    stocked.planted.database.add_key(
        ApiKey("0" * 12, "shop", frozenset({Role.PREDICT}), "ab" * 32, stocked.planted.database.now())
    )
    file = stocked.home.parent / "backup.tar"
    done = back_up(stocked, file)
    assert (done.examples, done.versions, done.problems) == (10, 2, ())
    assert done.size_bytes == file.stat().st_size
    return file


def test_everything_comes_back(stocked: StockedHome, file: Path, tmp_path: Path) -> None:
    done = restore(file, tmp_path / "new")
    assert (done.examples, done.versions) == (10, 2)
    assert rows(tmp_path / "new") == rows(stocked.home)
    assert objects(tmp_path / "new") == objects(stocked.home)
    database, storage = (place := stocked_home.place(tmp_path / "new")).database, place.storage
    for version in database.list_versions("default"):
        artifact.verify(storage.local_folder(version.storage_key), version.manifest_sha256)
    assert [key.client for key in database.list_keys()] == ["shop"]
    assert database.check_audit() is None
    assert len(database.list_audit()) > 1
    assert list((tmp_path / "new").glob("restore-*")) == []


def test_the_file_is_for_its_owner_alone_and_never_replaced(stocked: StockedHome, file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    with pytest.raises(Conflict, match="exists already"):
        back_up(stocked, file)
    assert file.read_bytes() == before
    assert not list(file.parent.glob("*.part"))


def test_what_a_killed_backup_left_is_written_over(stocked: StockedHome, tmp_path: Path) -> None:
    (tmp_path / "b.tar.part").write_bytes(b"x" * 10**7)
    assert back_up(stocked, tmp_path / "b.tar").size_bytes == (tmp_path / "b.tar").stat().st_size < 10**7
    assert [path.name for path in tmp_path.iterdir()] == ["b.tar"]


def test_of_two_backups_to_one_file_the_second_is_refused(stocked: StockedHome, tmp_path: Path) -> None:
    def start_another(done: int, _: int) -> None:
        with pytest.raises(Conflict, match="Another backup"):
            back_up(stocked, tmp_path / "b.tar")

    write_backup(tmp_path / "b.tar", stocked.planted.database, stocked.planted.storage, start_another)
    restore(tmp_path / "b.tar", tmp_path / "new")


def test_what_is_deleted_meanwhile_is_left_out_of_rows_and_objects(tmp_path: Path) -> None:
    stocked = stocked_home.stock(tmp_path / "home", versions=3)
    database, storage = stocked.planted.database, stocked.planted.storage
    last = database.list_examples("default")[-1]

    def delete(_: int, __: int) -> None:
        if not database.get_version("default", 1).pruned_at:  # after the live version
            database.delete_example("default", last.id)
            storage.delete(last.storage_key)
            storage.delete_folder(database.prune_version("default", 1).storage_key)

    done = write_backup(tmp_path / "b.tar", database, storage, delete)
    assert (done.examples, done.versions, done.problems) == (9, 2, ())
    restore(tmp_path / "b.tar", tmp_path / "new")
    restored = stocked_home.place(tmp_path / "new").database
    assert last.id not in [example.id for example in restored.list_examples("default")]
    assert restored.list_versions("default") == database.list_versions("default")
    assert restored.get_version("default", 1).pruned_at is not None


def test_a_model_that_is_deleted_meanwhile_is_left_out(tmp_path: Path) -> None:
    stocked = stocked_home.stock(tmp_path / "home", versions=1)
    database, storage = stocked.planted.database, stocked.planted.storage
    database.create_model("other", ("a", "b"))

    def delete(_: int, __: int) -> None:
        if len(database.list_models()) == 2:
            database.delete_model("default")
            for one in [*storage.list_objects("examples")]:
                storage.delete(one.key)
            storage.delete_folder("models/default/1")

    assert write_backup(tmp_path / "b.tar", database, storage, delete).problems == ()
    restore(tmp_path / "b.tar", tmp_path / "new")
    restored = stocked_home.place(tmp_path / "new").database
    assert [model.name for model in restored.list_models()] == ["other"]
    with pytest.raises(UnknownModel):
        restored.list_examples("default")


class Pruning:
    """A storage where the live version was replaced and pruned just before it is copied, so many times."""

    def __init__(self, stocked: StockedHome, times: int) -> None:
        self._stocked, self._left = stocked, times

    def __getattr__(self, name: str) -> object:
        return getattr(self._stocked.planted.storage, name)

    def local_folder(self, key: str) -> Path:
        database, storage = self._stocked.planted.database, self._stocked.planted.storage
        if self._left:
            self._left -= 1
            live = database.get_model("default").live_version
            assert live is not None
            for number in (live - 1, live - 2):
                database.promote("default", number, kind=ChangeKind.MANUAL, reason="")
            storage.delete_folder(database.prune_version("default", live).storage_key)
        return storage.local_folder(key)


def test_a_live_version_that_is_pruned_before_it_is_copied_starts_the_backup_over(tmp_path: Path) -> None:
    stocked = stocked_home.stock(tmp_path / "home", versions=9)
    database = stocked.planted.database
    done = write_backup(tmp_path / "b.tar", database, Pruning(stocked, 1), quiet)  # type: ignore[arg-type]  # a storage
    assert (done.examples, done.versions, done.problems) == (10, 8, ())
    restore(tmp_path / "b.tar", tmp_path / "new")
    restored = stocked_home.place(tmp_path / "new")
    assert restored.database.get_model("default").live_version == 7
    restored.storage.local_folder("models/default/7")
    with pytest.raises(Conflict, match="3 times"):
        write_backup(tmp_path / "c.tar", database, Pruning(stocked, 3), quiet)  # type: ignore[arg-type]  # a storage
    assert not (tmp_path / "c.tar").exists()


def test_what_was_broken_before_is_named(tmp_path: Path) -> None:
    stocked = stocked_home.stock(tmp_path / "home")
    storage = stocked.planted.storage
    first, second, *_ = stocked.planted.database.list_examples("default")
    storage.delete(first.storage_key)
    storage.put(second.storage_key, b"altered")
    (storage.local_folder("models/default/1") / "golden/00.jpg").write_bytes(b"altered")
    (storage.local_folder("models/default/2") / "golden/00.jpg").unlink()
    done = back_up(stocked, tmp_path / "b.tar")
    assert (done.examples, done.versions) == (9, 1)
    text = " ".join(done.problems)
    assert len(done.problems) == 4
    for words in (
        f"{first.id} of model default has no",
        f"{second.id} of model default is alt",
        "version 1",
        "version 2",
    ):
        assert words in text
    restore(tmp_path / "b.tar", tmp_path / "new")
    assert stocked_home.place(tmp_path / "new").storage.get(second.storage_key) == b"altered"


def test_a_job_that_was_running_is_claimed_again(tmp_path: Path) -> None:
    stocked = stocked_home.stock(tmp_path / "home", versions=0)
    job = stocked.planted.claim()
    back_up(stocked, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "new")
    database = stocked_home.place(tmp_path / "new").database
    assert database.get_job("default", job.id).state is JobState.RUNNING
    late = type(database)(  # type: ignore[call-arg]  # the SQL one, whose lease has run out
        f"sqlite:///{tmp_path}/new/ripen.db", clock=lambda: database.now().timestamp() + 3600
    )
    again = late.claim_job(owner="new", lease_s=10, max_attempts=3)
    assert again is not None
    assert (again.id, again.attempt) == (job.id, 2)


@pytest.mark.parametrize("what", ["rows", "objects"])
def test_only_an_empty_place_is_restored_into(stocked: StockedHome, file: Path, tmp_path: Path, what: str) -> None:
    place = stocked_home.place(tmp_path / "new")
    place.database.migrate()
    if what == "rows":
        place.database.create_model("default", None)
    else:
        place.storage.put("examples/default/ab/" + "ab" * 32, b"somebody's")
    before = objects(tmp_path / "new")
    with pytest.raises(NotEmpty, match="new home"):
        restore(file, tmp_path / "new")
    assert objects(tmp_path / "new") == before


def alter(
    file: Path, changed: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]
) -> None:
    """Copy an archive, member by member."""
    with tarfile.open(file) as source, tarfile.open(changed, "w") as target:
        for member in source:
            stream = source.extractfile(member)
            assert stream is not None
            kept = change(member, stream.read())
            if kept is not None:
                kept[0].size = len(kept[1])
                target.addfile(kept[0], io.BytesIO(kept[1]))


def sparse(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if member.name.startswith(IMAGE):
        member.pax_headers = {"GNU.sparse.map": f"0,{len(data)}", "GNU.sparse.size": "2147483648"}
    return member, data


def renamed(member: tarfile.TarInfo, name: str) -> tarfile.TarInfo:
    copy = tarfile.TarInfo(name)
    copy.size = member.size
    return copy


def link(member: tarfile.TarInfo, kind: bytes) -> tarfile.TarInfo:
    copy = tarfile.TarInfo(member.name)
    copy.type, copy.linkname = kind, "/etc/passwd"
    return copy


KEEP: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]] = lambda member, data: (member, data)  # noqa: E731
IMAGE, PART_OF_VERSION = "objects/examples/", "objects/models/default/1/"
ALTERATIONS: dict[str, Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]] = {
    "a byte of an image": lambda m, d: (m, b"\0" + d[1:]) if m.name.startswith(IMAGE) else (m, d),
    "a byte of a version": lambda m, d: (m, d[:-1] + b"\0") if m.name.startswith(PART_OF_VERSION) else (m, d),
    "a row": lambda m, d: (m, d.replace(b"apple", b"grape")) if m.name == "rows.jsonl" else (m, d),
    "a member less": lambda m, d: None if m.name.endswith("golden/00.jpg") else (m, d),
    "no rows": lambda m, d: None if m.name == "rows.jsonl" else (m, d),
    "no index": lambda m, d: None if m.name == "index.jsonl" else (m, d),
    "a newer format": lambda m, d: (m, d.replace(b'"format":1', b'"format":2')) if m.name == "backup.json" else (m, d),
    "no header": lambda m, d: None if m.name == "backup.json" else (m, d),
    "an absolute name": lambda m, d: (renamed(m, "/etc/x") if m.name.startswith(IMAGE) else m, d),
    "a name that climbs": lambda m, d: (renamed(m, "objects/models/d/1/../../x") if m.name.startswith(IMAGE) else m, d),
    "a hidden name": lambda m, d: (renamed(m, "objects/models/d/1/.staging") if m.name.startswith(IMAGE) else m, d),
    "a symbolic link": lambda m, d: (link(m, tarfile.SYMTYPE), b"") if m.name.startswith(IMAGE) else (m, d),
    "a hard link": lambda m, d: (link(m, tarfile.LNKTYPE), b"") if m.name.startswith(IMAGE) else (m, d),
    "a device": lambda m, d: (link(m, tarfile.CHRTYPE), b"") if m.name.startswith(IMAGE) else (m, d),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_archive_restores_nothing(file: Path, tmp_path: Path, alteration: str) -> None:
    alter(file, tmp_path / "altered.tar", ALTERATIONS[alteration])
    with pytest.raises(InvalidRequest, match=r"altered\.tar cannot be restored: "):
        restore(tmp_path / "altered.tar", tmp_path / "new")
    place = stocked_home.place(tmp_path / "new")
    assert place.database.list_models() == []
    assert objects(tmp_path / "new") == {}


@pytest.mark.parametrize("cut", [0, 700, 0.3, 0.9])
def test_a_part_of_an_archive_restores_nothing(file: Path, tmp_path: Path, cut: float) -> None:
    data = file.read_bytes()
    length = int(cut * len(data)) if 0 < cut < 1 else int(cut)
    (tmp_path / "part.tar").write_bytes(data[:length])
    with pytest.raises(InvalidRequest, match=r"part\.tar cannot be restored: "):
        restore(tmp_path / "part.tar", tmp_path / "new")


def test_a_sparse_member_is_refused_before_it_is_read(file: Path, tmp_path: Path) -> None:
    alter(file, tmp_path / "sparse.tar", sparse)
    with pytest.raises(InvalidRequest, match="no backup has a member like 'objects/examples/"):
        restore(tmp_path / "sparse.tar", tmp_path / "new")


def test_an_image_that_is_too_large_is_refused_before_it_is_read(file: Path, tmp_path: Path) -> None:
    member = tarfile.TarInfo("objects/examples/default/ab/" + "ab" * 32)
    member.size = MAX_IMAGE_BYTES + 1
    with (tmp_path / "large.tar").open("wb") as large:
        large.write(member.tobuf())
    with pytest.raises(InvalidRequest, match="more than are left in the file"):
        restore(tmp_path / "large.tar", tmp_path / "new")
    with (tmp_path / "large.tar").open("r+b") as large:
        large.truncate(2 * MAX_IMAGE_BYTES)  # takes no room
    with pytest.raises(InvalidRequest, match="at most 1073741824 are read"):
        restore(tmp_path / "large.tar", tmp_path / "new")


def test_a_member_that_comes_twice_is_refused(file: Path, tmp_path: Path) -> None:
    with tarfile.open(file) as source, tarfile.open(tmp_path / "twice.tar", "w") as target:
        for member in source:
            data = source.extractfile(member)
            for _ in range(2 if member.name == "rows.jsonl" else 1):
                target.addfile(member, io.BytesIO(data.read() if data else b""))
                data = source.extractfile(member)
    with pytest.raises(InvalidRequest, match="twice"):
        restore(tmp_path / "twice.tar", tmp_path / "new")


def test_rows_that_cannot_be_imported_leave_nothing(file: Path, tmp_path: Path) -> None:
    """The index agrees, so that they are found last, when everything is stored already."""
    alter(
        file,
        tmp_path / "a.tar",
        lambda m, d: (m, d.replace(b"revision", b"provision")) if m.name == "rows.jsonl" else (m, d),
    )
    alter(
        tmp_path / "a.tar",
        tmp_path / "b.tar",
        lambda m, d: (m, reindexed(tmp_path / "a.tar")) if m.name == "index.jsonl" else (m, d),
    )
    with pytest.raises(InvalidRequest, match="schema"):
        restore(tmp_path / "b.tar", tmp_path / "new")
    assert objects(tmp_path / "new") == {}
    assert stocked_home.place(tmp_path / "new").database.list_models() == []
    assert list((tmp_path / "new").glob("restore-*")) == []


def reindexed(file: Path) -> bytes:
    with tarfile.open(file) as archive:
        streams = [(member, archive.extractfile(member)) for member in archive if member.name != "index.jsonl"]
        return b"".join(
            json.dumps({"name": m.name, "size_bytes": m.size, "sha256": hashlib.sha256(s.read()).hexdigest()}).encode()
            + b"\n"
            for m, s in streams
            if s is not None
        )


class Failing:
    """A storage whose disk fills up while versions are published."""

    def __init__(self, storage: Storage, error: BaseException) -> None:
        self._storage = storage
        self._error = error

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)

    def publish_folder(self, source: Path, key: str) -> None:
        if key.endswith("1"):  # the live one, 2, comes first
            raise self._error
        self._storage.publish_folder(source, key)


@pytest.mark.parametrize("error", [StorageFull("no space"), KeyboardInterrupt()], ids=["full", "ctrl-c"])
def test_a_restore_that_fails_half_way_leaves_nothing(file: Path, tmp_path: Path, error: BaseException) -> None:
    failing = Failing(stocked_home.place(tmp_path / "new").storage, error)
    with pytest.raises(type(error)):
        restore(file, tmp_path / "new", failing)  # type: ignore[arg-type]  # a storage by its methods
    assert objects(tmp_path / "new") == {}
    assert list((tmp_path / "new").glob("restore-*")) == []
    restore(file, tmp_path / "new")


def test_what_a_killed_restore_left_is_removed_by_the_next(stocked: StockedHome, file: Path, tmp_path: Path) -> None:
    storage = stocked_home.place(tmp_path / "new").storage
    storage.put(MARK, b"")
    storage.put("examples/other/ab/" + "ab" * 32, b"half-way")
    restore(file, tmp_path / "new")
    assert objects(tmp_path / "new") == objects(stocked.home)


def test_of_two_restores_the_second_is_refused_and_spoils_nothing(
    stocked: StockedHome, file: Path, tmp_path: Path
) -> None:
    class Another(Failing):
        def publish_folder(self, source: Path, key: str) -> None:
            before = objects(tmp_path / "new")
            with pytest.raises(NotEmpty, match="is running"):
                restore(file, tmp_path / "new")
            assert objects(tmp_path / "new") == before
            self._storage.publish_folder(source, key)

    another = Another(stocked_home.place(tmp_path / "new").storage, StorageFull(""))
    restore(file, tmp_path / "new", another)  # type: ignore[arg-type]  # a storage by its methods
    assert objects(tmp_path / "new") == objects(stocked.home)


UPLOADED = "examples/default/ab/" + "ab" * 32


@pytest.mark.parametrize("serves", [True, False])
def test_a_restore_that_fails_removes_nothing_of_anybody_else(file: Path, tmp_path: Path, serves: bool) -> None:
    place = stocked_home.place(tmp_path / "new")

    class Serving(Failing):
        """A service was started meanwhile, and stored an upload."""

        def publish_folder(self, source: Path, key: str) -> None:
            place.storage.put(UPLOADED, b"acknowledged")
            if serves:
                place.database.create_model("default", ("apple", "pear"))
            super().publish_folder(source, key)

    with pytest.raises(StorageFull):
        restore(file, tmp_path / "new", Serving(place.storage, StorageFull("")))  # type: ignore[arg-type]  # a storage
    assert place.storage.get(UPLOADED) == b"acknowledged"
    assert place.storage.get(MARK) is None
    assert (len(objects(tmp_path / "new")) == 1) is not serves


def test_what_could_not_be_cleaned_up_is_removed_by_the_next(stocked: StockedHome, file: Path, tmp_path: Path) -> None:
    class Stuck(Failing):
        def delete(self, key: str) -> None:
            raise StorageUnavailable("away")

    stuck = Stuck(stocked_home.place(tmp_path / "new").storage, StorageFull("no space"))
    with pytest.raises(StorageFull):
        restore(file, tmp_path / "new", stuck)  # type: ignore[arg-type]  # a storage by its methods
    assert stocked_home.place(tmp_path / "new").storage.get(MARK) is not None
    (tmp_path / "new" / STAGING / "models").mkdir(parents=True)  # as of a killed one
    restore(file, tmp_path / "new")
    assert objects(tmp_path / "new") == objects(stocked.home)
    assert not (tmp_path / "new" / STAGING).exists()


def test_a_disk_that_cannot_hold_it_is_said_before_anything_is_stored(file: Path, tmp_path: Path) -> None:
    class Small(Failing):
        def free_bytes(self) -> int:
            return 1000

    small = Small(stocked_home.place(tmp_path / "new").storage, StorageFull("late"))
    with pytest.raises(StorageFull, match=r"needs \d+ bytes, and 1000 are free"):
        restore(file, tmp_path / "new", small)  # type: ignore[arg-type]  # a storage by its methods
    assert objects(tmp_path / "new") == {}


def test_an_archive_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"nothing\.tar cannot be read"):
        restore(tmp_path / "nothing.tar", tmp_path / "new")


def test_buckets_stay_as_they_were(stocked: StockedHome, file: Path, tmp_path: Path) -> None:
    restore(file, tmp_path / "new")
    restored = stocked_home.place(tmp_path / "new").database
    assert restored.get_model("default") == stocked.planted.database.get_model("default")
    one = restored.list_examples("default", bucket=Bucket.HOLDOUT)[0]
    assert replace(one) == stocked.planted.database.get_example("default", one.id)
