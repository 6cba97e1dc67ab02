"""Object storage: examples under their digests, published versions under their numbers. LINE B steps 1 and 4.

Checks keys once, for both implementations: `storage_folder` keeps objects as files, `storage_remote` in S3, GCS or
Azure.
"""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from backends.storage_folder import FolderStorage
from backends.storage_remote import RemoteStorage
from contract.artifact import MANIFEST
from contract.errors import InvalidRequest, InvalidSetting, StorageFull, StorageUnavailable, VersionCorrupt
from contract.ports import Storage
from contract.records import StoredObject

PROBES = "probes"
LONGEST_PART_BYTES = 255  # of a file name on every common file system


class ObjectStorage:
    """`contract.ports.Storage` at a URL.

    Args:
        url: `file:///folder` (made where there is none), `s3://bucket/prefix`, `gs://bucket/prefix` or
            `az://account/container/prefix`; credentials come from the provider's usual environment variables.
        cache: folder for downloaded versions; not used where storage is a local folder.

    Raises:
        InvalidSetting: the URL cannot be used.
        StorageUnavailable: the local folder cannot be made.
    """

    def __init__(self, url: str, *, cache: Path) -> None:
        self._url = url
        self._store: Storage = _open(url, cache)

    def put(self, key: str, data: bytes) -> None:
        """Store `data` under `key`, replacing what was there."""
        self._store.put(_checked(key), data)

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None."""
        return self._store.get(_checked(key))

    def delete(self, key: str) -> None:
        """Remove one object, if it is there."""
        self._store.delete(_checked(key))

    def publish_folder(self, source: Path, key: str) -> None:
        """Move a finished local folder, which must hold a manifest, to `key`."""
        if not (source / MANIFEST).is_file():
            raise VersionCorrupt(f"{source} has no {MANIFEST}; write it before publishing the folder.")
        self._store.publish_folder(source, _checked(key))

    def local_folder(self, key: str) -> Path:
        """A published folder as a local path."""
        return self._store.local_folder(_checked(key))

    def delete_folder(self, key: str) -> None:
        """Remove a published folder, if it is there."""
        self._store.delete_folder(_checked(key))

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every object below `prefix`."""
        return self._store.list_objects(_checked(prefix))

    def free_bytes(self) -> int | None:
        """How much may still be written, or None."""
        return self._store.free_bytes()

    def sweep(self, *, keep: frozenset[str], older_than_s: float) -> int:
        """Remove leftovers; return how many bytes that freed."""
        until = datetime.now(UTC) - timedelta(seconds=older_than_s)
        for found in list(self._store.list_objects(PROBES)):  # of checks that were killed
            if found.modified_at < until:
                self._store.delete(found.key)
        return self._store.sweep(keep=keep, older_than_s=older_than_s)

    def check(self) -> None:
        """Write, read and delete a probe object; a full storage passes, since what it holds can still be read."""
        key, data = f"{PROBES}/{secrets.token_hex(8)}", secrets.token_bytes(64)
        try:
            self._store.put(key, data)
        except StorageFull:
            return
        found = self._store.get(key)
        self._store.delete(key)
        if found != data:
            raise StorageUnavailable(f"The storage {self._url} did not give back what was just written to it.")


def _open(url: str, cache: Path) -> Storage:
    parts = urlsplit(url)
    if parts.scheme != "file":
        return RemoteStorage(url, cache=cache)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise InvalidSetting(f"The storage URL is {url!r}; expected `file:///folder` with three slashes.")
    return FolderStorage(Path(url2pathname(parts.path)))


def _checked(key: str) -> str:
    for part in key.split("/"):
        usable = part not in ("", ".", "..") and part.isprintable() and "\\" not in part
        if not usable or len(part.encode()) > LONGEST_PART_BYTES:
            raise InvalidRequest(
                f"The storage key is {key!r}; expected parts joined by `/`, each of 1 to {LONGEST_PART_BYTES} "
                "printable bytes without `\\`, none of them `.` or `..`."
            )
    return key
