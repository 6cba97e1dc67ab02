"""What every `contract.ports.Storage` must do. A test module subclasses the class and gives the fixture `storage`."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.errors import Conflict, InvalidRequest, UnknownVersion, VersionCorrupt
from contract.ports import Storage


def folder_to_publish(parent: Path, *, content: bytes = b"weights") -> Path:
    """A small finished folder with files on two levels and a manifest."""
    source = parent / "finished"
    (source / "variables").mkdir(parents=True)
    (source / "variables" / "data").write_bytes(content)
    (source / "saved_model.pb").write_bytes(b"")
    (source / "manifest.json").write_bytes(b"{}")
    return source


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file's relative path and content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class StorageSuite:
    """Objects and published folders."""

    def test_object_comes_back(self, storage: Storage) -> None:
        assert storage.get("examples/fruit/ab/abcd") is None
        storage.put("examples/fruit/ab/abcd", b"one")
        storage.put("examples/fruit/ab/abcd", b"two")
        storage.put("examples/fruit/ab/empty", b"")
        assert storage.get("examples/fruit/ab/abcd") == b"two"
        assert storage.get("examples/fruit/ab/empty") == b""
        assert storage.get("examples/fruit/ab") is None
        assert storage.get("examples/fruit/ab/abcd/below") is None

    def test_deleted_object_is_gone(self, storage: Storage) -> None:
        storage.put("a/b", b"one")
        for _ in range(2):
            storage.delete("a/b")
            assert storage.get("a/b") is None
        storage.delete("nothing/at/all")
        storage.delete("a")

    @pytest.mark.parametrize(
        "key", ["", "/a", "a/", "a//b", ".", "a/../b", "..", "a\\b", "a\x00b", "a\nb", "x" * 256, "\ud800"]
    )
    def test_key_that_cannot_be_used(self, storage: Storage, key: str, tmp_path: Path) -> None:
        source = folder_to_publish(tmp_path)
        for use in (
            storage.get,
            storage.delete,
            storage.local_folder,
            storage.delete_folder,
            storage.list_objects,
            lambda key: storage.put(key, b""),
            lambda key: storage.publish_folder(source, key),
        ):
            with pytest.raises(InvalidRequest, match="storage key"):
                use(key)
        assert source.exists()

    def test_unusual_key(self, storage: Storage) -> None:
        storage.put("a b/ü%20#?[x].jpg", b"one")
        assert storage.get("a b/ü%20#?[x].jpg") == b"one"

    def test_published_folder_is_whole_and_its_source_gone(self, storage: Storage, tmp_path: Path) -> None:
        source = folder_to_publish(tmp_path)
        expected = files_below(source)
        storage.publish_folder(source, "models/fruit/1")
        assert not source.exists()
        for _ in range(2):
            assert files_below(storage.local_folder("models/fruit/1")) == expected

    def test_published_key_is_taken(self, storage: Storage, tmp_path: Path) -> None:
        storage.publish_folder(folder_to_publish(tmp_path, content=b"first"), "models/fruit/1")
        second = folder_to_publish(tmp_path, content=b"second")
        with pytest.raises(Conflict, match="models/fruit/1"):
            storage.publish_folder(second, "models/fruit/1")
        assert second.exists()
        assert (storage.local_folder("models/fruit/1") / "variables" / "data").read_bytes() == b"first"

    def test_one_of_many_publishers_wins(self, storage: Storage, tmp_path: Path) -> None:
        sources = [folder_to_publish(tmp_path / str(number)) for number in range(4)]
        barrier = threading.Barrier(len(sources))

        def publish(source: Path) -> bool:
            barrier.wait()
            try:
                storage.publish_folder(source, "models/fruit/1")
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(len(sources)) as pool:
            assert sum(pool.map(publish, sources)) == 1
        assert len(files_below(storage.local_folder("models/fruit/1"))) == 3

    def test_folder_without_a_manifest_is_not_published(self, storage: Storage, tmp_path: Path) -> None:
        source = folder_to_publish(tmp_path)
        (source / "manifest.json").unlink()
        with pytest.raises(VersionCorrupt, match=r"manifest\.json"):
            storage.publish_folder(source, "models/fruit/1")
        assert source.exists()

    def test_nothing_published(self, storage: Storage, tmp_path: Path) -> None:
        storage.publish_folder(folder_to_publish(tmp_path), "models/fruit/10")
        for key in ("models/fruit/1", "models/fruit", "models"):
            with pytest.raises(UnknownVersion, match=key):
                storage.local_folder(key)

    def test_deleted_folder_is_gone_and_its_neighbour_stays(self, storage: Storage, tmp_path: Path) -> None:
        for number in (1, 10):
            storage.publish_folder(folder_to_publish(tmp_path), f"models/fruit/{number}")
            storage.local_folder(f"models/fruit/{number}")
        for _ in range(2):
            storage.delete_folder("models/fruit/1")
            with pytest.raises(UnknownVersion):
                storage.local_folder("models/fruit/1")
        assert len(files_below(storage.local_folder("models/fruit/10"))) == 3

    def test_check_leaves_nothing(self, storage: Storage) -> None:
        storage.check()
        assert [*storage.list_objects("probes")] == []

    def test_objects_are_listed(self, storage: Storage, tmp_path: Path) -> None:
        before = datetime.now(UTC) - timedelta(seconds=5)
        assert [*storage.list_objects("examples")] == []
        storage.put("examples/fruit/ab/abcd", b"one")
        storage.put("examples/fruits", b"")
        storage.put("other/x", b"1")
        storage.publish_folder(folder_to_publish(tmp_path), "models/fruit/1")
        assert _listed(storage, "examples") == {"examples/fruit/ab/abcd": 3, "examples/fruits": 0}
        assert _listed(storage, "examples/fruit") == {"examples/fruit/ab/abcd": 3}
        assert _listed(storage, "models") == {
            "models/fruit/1/manifest.json": 2,
            "models/fruit/1/saved_model.pb": 0,
            "models/fruit/1/variables/data": 7,
        }
        for found in storage.list_objects("examples"):
            assert before < found.modified_at < datetime.now(UTC) + timedelta(seconds=5)
        storage.delete("examples/fruits")
        storage.delete_folder("models/fruit/1")
        assert _listed(storage, "models") == {}
        assert set(_listed(storage, "examples")) == {"examples/fruit/ab/abcd"}

    def test_sweep_leaves_what_is_published_and_stored(self, storage: Storage, tmp_path: Path) -> None:
        storage.put("a/b", b"one")
        storage.publish_folder(folder_to_publish(tmp_path), "models/fruit/1")
        before = files_below(storage.local_folder("models/fruit/1"))
        storage.sweep(keep=frozenset({"models/fruit/1"}), older_than_s=-60)
        assert storage.get("a/b") == b"one"
        assert files_below(storage.local_folder("models/fruit/1")) == before
        storage.sweep(keep=frozenset(), older_than_s=-60)
        assert files_below(storage.local_folder("models/fruit/1")) == before

    def test_free_bytes(self, storage: Storage) -> None:
        free = storage.free_bytes()
        assert free is None or free > 0


def _listed(storage: Storage, prefix: str) -> dict[str, int]:
    return {found.key: found.size_bytes for found in storage.list_objects(prefix)}
