"""ObjectStorage passes the suite as a local folder and as a remote store, and names what is wrong with its place."""

import errno
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from storage_suite import StorageSuite, files_below, folder_to_publish

from backends.storage import ObjectStorage
from contract.artifact import MANIFEST
from contract.errors import Conflict, InvalidSetting, StorageFull, StorageUnavailable
from contract.ports import Storage

ANOTHER_FILE_SYSTEM = Path("/dev/shm")


class TestFolder(StorageSuite):
    """A local folder."""

    @pytest.fixture
    def storage(self, root: Path, tmp_path: Path) -> Storage:
        return ObjectStorage(root.as_uri(), cache=tmp_path / "cache")


class TestRemote(StorageSuite):
    """The code for S3, GCS and Azure, on obstore's own store in memory."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return ObjectStorage("memory:///", cache=tmp_path / "cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "new" / "place with ü"


@pytest.fixture
def storage(root: Path, tmp_path: Path) -> Storage:
    return ObjectStorage(root.as_uri(), cache=tmp_path / "cache")


def test_local_folder_is_the_folder_itself(storage: Storage, root: Path, tmp_path: Path) -> None:
    storage.publish_folder(folder_to_publish(tmp_path), "models/fruit/1")
    assert storage.local_folder("models/fruit/1") == root / "models/fruit/1"
    storage.put("a/b", b"one")
    storage.check()
    storage.delete_folder("models/fruit/1")
    assert files_below(root) == {"a/b": b"one"}  # no staging is left


def test_empty_folder_in_the_way_is_not_replaced(storage: Storage, root: Path, tmp_path: Path) -> None:
    (root / "models/fruit/1").mkdir(parents=True)
    with pytest.raises(Conflict):
        storage.publish_folder(folder_to_publish(tmp_path), "models/fruit/1")


def test_publishing_from_another_file_system(root: Path, storage: Storage) -> None:
    if not ANOTHER_FILE_SYSTEM.is_dir() or ANOTHER_FILE_SYSTEM.stat().st_dev == root.stat().st_dev:
        pytest.skip("there is no other file system here")
    parent = ANOTHER_FILE_SYSTEM / f"ripen-{os.getpid()}"
    source = folder_to_publish(parent)
    expected = files_below(source)
    storage.publish_folder(source, "models/fruit/1")
    assert files_below(root) == {f"models/fruit/1/{name}": content for name, content in expected.items()}
    with pytest.raises(Conflict):
        storage.publish_folder(folder_to_publish(parent), "models/fruit/1")
    assert len(files_below(parent)) == len(expected)
    storage.publish_folder(parent / "finished", "models/fruit/2")
    parent.rmdir()


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which file a descriptor is")
def test_everything_is_synced_before_it_counts(
    storage: Storage, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    source = folder_to_publish(tmp_path)
    wanted = {source, *source.rglob("*")}
    storage.publish_folder(source, "models/fruit/1")
    assert set(synced[: len(wanted)]) == wanted
    assert set(synced[len(wanted) :]) == {root, root / "models", root / "models/fruit"}
    assert synced[-1] == root / "models/fruit"
    synced.clear()
    storage.put("models/fruit/object", b"one")
    assert [path.name.startswith(".staging-") for path in synced] == [True, False]
    assert synced[-1] == root / "models/fruit"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_keeps_the_old_object(
    storage: Storage, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    storage.put("a/b", b"old")
    source = folder_to_publish(tmp_path)

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageFull, match=str(root)):
        storage.put("a/b", b"new")
    with pytest.raises(StorageFull, match=str(root)):
        storage.publish_folder(source, "models/fruit/1")
    assert files_below(root) == {"a/b": b"old"}
    assert len(files_below(source)) == 3


@pytest.mark.parametrize(
    ("left", "fits"),
    [
        ({"f_bavail": 51}, True),
        ({"f_bavail": 50}, False),  # of 1000: the reserve
        ({"f_favail": 51}, True),
        ({"f_favail": 50}, False),
        ({"f_favail": 0, "f_files": 0}, True),  # a file system without a limit
    ],
)
def test_reserve_is_kept_free(
    storage: Storage, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: dict[str, int], fits: bool
) -> None:
    found = {"f_frsize": 4096, "f_blocks": 1000, "f_bavail": 900, "f_files": 1000, "f_favail": 900, **left}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**found))
    source = folder_to_publish(tmp_path)
    if fits:
        assert storage.free_bytes() == (found["f_bavail"] - 50) * 4096
        storage.put("a/b", b"one")
        storage.publish_folder(source, "models/fruit/1")
        return
    assert storage.free_bytes() == 0
    for write in (lambda: storage.put("a/b", b""), lambda: storage.publish_folder(source, "models/fruit/1")):
        with pytest.raises(StorageFull, match=f"{root}.*reserve"):
            write()
    storage.check()  # a service on a full disk still starts
    storage.delete("a/b")
    assert files_below(root) == {}
    assert len(files_below(source)) == 3


def test_reserve_of_a_large_disk_is_a_gibibyte(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"f_frsize": 2**20, "f_blocks": 2**20, "f_bavail": 1025, "f_files": 2**20, "f_favail": 1001}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**found))
    assert storage.free_bytes() == 2**20


def test_object_larger_than_what_is_free(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"f_frsize": 1, "f_blocks": 1000, "f_bavail": 60, "f_files": 0, "f_favail": 0}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**found))
    storage.put("a/b", b"x" * 9)
    with pytest.raises(StorageFull):
        storage.put("a/b", b"x" * 10)


def test_sweep_removes_what_killed_writes_left(storage: Storage, root: Path) -> None:
    (root / ".staging-folder" / "sub").mkdir(parents=True)
    (root / ".staging-folder" / "sub" / "part").write_bytes(b"12345")
    (root / ".staging-file").write_bytes(b"123")
    storage.put("probes/left", b"12")
    assert storage.sweep(keep=frozenset(), older_than_s=60) == 0
    assert len(files_below(root)) == 3
    assert storage.sweep(keep=frozenset(), older_than_s=-60) == 8
    assert files_below(root) == {}
    assert [path.name for path in root.iterdir()] == ["probes"]


def test_sweep_removes_copies_that_nobody_needs(tmp_path: Path) -> None:
    storage = ObjectStorage("memory:///", cache=tmp_path / "cache")
    for number in (1, 2):
        storage.publish_folder(folder_to_publish(tmp_path), f"models/fruit/{number}")
        storage.local_folder(f"models/fruit/{number}")
    keep = frozenset({"models/fruit/2"})
    assert storage.sweep(keep=keep, older_than_s=60) == 0
    assert storage.sweep(keep=keep, older_than_s=-60) == 9
    assert {name.partition("/1/")[0] for name in files_below(tmp_path / "cache")} == {
        *("models/fruit/2/manifest.json", "models/fruit/2/saved_model.pb", "models/fruit/2/variables/data")
    }
    assert len(files_below(storage.local_folder("models/fruit/1"))) == 3  # it is still stored


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageUnavailable, match=f"{tmp_path}/file/sub.*may read and write"):
        ObjectStorage(f"file://{tmp_path}/file/sub", cache=tmp_path)


def test_check_names_a_folder_that_is_gone(storage: Storage, root: Path) -> None:
    root.rmdir()
    root.write_text("a file now")
    with pytest.raises(StorageUnavailable, match=str(root)):
        storage.check()


def test_downloaded_copy_is_reused_and_whole(tmp_path: Path) -> None:
    storage = ObjectStorage("memory:///", cache=tmp_path / "cache")
    storage.publish_folder(folder_to_publish(tmp_path), "models/fruit/1")
    copy = storage.local_folder("models/fruit/1")
    assert copy == tmp_path / "cache/models/fruit/1"
    (copy / "variables" / "data").write_bytes(b"marked")
    assert storage.local_folder("models/fruit/1") == copy
    assert (copy / "variables" / "data").read_bytes() == b"marked"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["models"]
    storage.delete_folder("models/fruit/1")
    assert not copy.exists()


def test_copy_of_a_folder_that_was_replaced_is_fetched_again(tmp_path: Path) -> None:
    storage = ObjectStorage("memory:///", cache=tmp_path / "cache")
    storage.publish_folder(folder_to_publish(tmp_path), "models/fruit/1")
    copy = storage.local_folder("models/fruit/1")
    (copy / MANIFEST).write_text("[]")  # as another machine's copy is after the model was deleted and made anew
    assert (storage.local_folder("models/fruit/1") / MANIFEST).read_text() == "{}"


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    storage = ObjectStorage("memory:///", cache=tmp_path / "cache")
    storage.publish_folder(folder_to_publish(tmp_path), "models/fruit/1")
    with pytest.raises(StorageUnavailable, match=f"{tmp_path}/cache"):
        storage.local_folder("models/fruit/1")


def test_unreachable_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:  # bound and never listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        monkeypatch.setenv("AWS_REGION", "nowhere")
        storage = ObjectStorage("s3://bucket/prefix", cache=tmp_path)
        with pytest.raises(StorageUnavailable, match="s3://bucket/prefix") as caught:
            storage.check()
    assert "\n" not in str(caught.value)
    assert "nothing" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "storage", "file://storage/folder", "file:storage", "ftp://host/x"])
def test_url_that_cannot_be_used(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="expected `file:///folder`"):
        ObjectStorage(url, cache=tmp_path)
