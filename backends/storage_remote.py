"""Objects in S3, Google Cloud Storage or Azure, through obstore. LINE B steps 1 and 4, below `storage`.

A folder has no rename there: its manifest goes up last, and a folder without a manifest does not exist for readers.
"""

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, from_url

from backends.storage_folder import NO_SPACE, STAGING, remove_staging
from contract.artifact import MANIFEST, sync_folder
from contract.errors import Conflict, InvalidSetting, StorageFull, StorageUnavailable, UnknownVersion
from contract.records import StoredObject

CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S, RETRIES_TIMEOUT_S, RETRIES = 5, 60, 15, 3


class RemoteStorage:
    """`contract.ports.Storage` in a bucket; the keys are checked already."""

    def __init__(self, url: str, *, cache: Path) -> None:
        self._url = url
        self._cache = cache
        self._store = _open(url)

    def put(self, key: str, data: bytes) -> None:
        """Store `data`."""
        with self._translated():
            self._store.put(key, data)

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None."""
        with self._translated():
            try:
                return bytes(self._store.get(key).bytes())
            except FileNotFoundError:
                return None

    def delete(self, key: str) -> None:
        """Remove one object, if it is there."""
        with self._translated():
            try:
                self._store.delete(key)
            except FileNotFoundError:
                return

    def publish_folder(self, source: Path, key: str) -> None:
        """Upload every file, the manifest last and only where there is none.

        Raises:
            Conflict: a manifest is there.
        """
        manifest = f"{key}/{MANIFEST}"
        if manifest in self._list(key):
            raise _occupied(key)
        with self._translated():
            for path in sorted(source.rglob("*")):
                name = path.relative_to(source).as_posix()
                if path.is_file() and name != MANIFEST:
                    self._store.put(f"{key}/{name}", path)
            try:
                self._store.put(manifest, (source / MANIFEST).read_bytes(), mode="create")
            except AlreadyExistsError as error:
                raise _occupied(key) from error
        shutil.rmtree(source, ignore_errors=True)

    def local_folder(self, key: str) -> Path:
        """A copy in the cache, downloaded once; again where another folder was published under the key meanwhile."""
        target = self._cache / key
        if (target / MANIFEST).is_file():
            if self._is_published(target / MANIFEST, key):
                return target
            with self._translated():
                target.rename(self._new_staging())  # of a model that was deleted and made anew; swept later
        names = self._list(key)
        if f"{key}/{MANIFEST}" not in names:
            raise UnknownVersion(f"Nothing is published at {self._url} under {key!r}; publish it first.")
        staging = self._new_staging()
        try:
            self._download(names, key, staging)
            self._keep(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return target

    def delete_folder(self, key: str) -> None:
        """Remove the manifest first, then the other objects, then the copy in the cache."""
        names = self._list(key)
        for name in sorted(names, key=lambda name: name != f"{key}/{MANIFEST}"):
            self.delete(name)
        shutil.rmtree(self._cache / key, ignore_errors=True)

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every object below `prefix`."""
        with self._translated():
            for page in self._store.list(prefix):
                for found in page:
                    yield StoredObject(str(found["path"]), found["size"], found["last_modified"])

    def free_bytes(self) -> int | None:
        """Nobody can say."""
        return None

    def sweep(self, *, keep: frozenset[str], older_than_s: float) -> int:
        """Remove what killed downloads left in the cache, and copies that nobody needs."""
        with self._translated():
            until = time.time() - older_than_s
            for manifest in self._cache.glob(f"models/*/*/{MANIFEST}"):
                copy = manifest.parent
                if copy.relative_to(self._cache).as_posix() not in keep and manifest.stat().st_mtime < until:
                    copy.rename(self._new_staging())  # at once, so that nobody reads a part
            return remove_staging(self._cache, older_than_s)

    def check(self) -> None:
        """Nothing beyond what `storage` checks with a probe object."""

    def _new_staging(self) -> Path:
        return self._cache / f"{STAGING}{uuid.uuid4().hex}"

    def _is_published(self, manifest: Path, key: str) -> bool:
        """Whether a copy is what the storage has; while that cannot be asked, the copy counts."""
        try:
            return self.get(f"{key}/{MANIFEST}") == manifest.read_bytes()
        except StorageUnavailable:
            return True

    def _list(self, key: str) -> list[str]:
        with self._translated():
            return [str(found["path"]) for page in self._store.list(key) for found in page]

    def _download(self, names: list[str], key: str, folder: Path) -> None:
        with self._translated():
            for name in names:
                path = folder / name.removeprefix(f"{key}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    file.writelines(self._store.get(name))

    def _keep(self, staging: Path, target: Path) -> None:
        with self._translated():
            sync_folder(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                staging.rename(target)
            except OSError:
                if not (target / MANIFEST).is_file():  # else another process was faster: its copy is as good
                    raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            if isinstance(error, OSError) and error.errno in NO_SPACE:
                raise StorageFull(f"No space is left in {self._cache}; free some, then try again.") from error
            because = str(error).partition("\n")[0]  # the rest is obstore's debugging output
            raise StorageUnavailable(
                f"The storage {self._url} cannot be used: {because}. "
                "Check its address, the network and the credentials."
            ) from error


def _open(url: str) -> ObjectStore:
    try:
        if url.startswith("memory:"):
            return from_url(url)
        return from_url(
            url,
            client_options={
                "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
                "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRIES_TIMEOUT_S)},
        )
    except (BaseError, ValueError) as error:
        because = str(error).partition("\n")[0]
        raise InvalidSetting(
            f"The storage URL is {url!r}; expected `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or "
            f"`az://account/container/prefix`. ({because})"
        ) from error


def _occupied(key: str) -> Conflict:
    return Conflict(f"Something is published under {key!r} already; take another number.")
