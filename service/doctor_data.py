"""What `ripen doctor` looks at in database and storage: rows, objects, versions, and that they agree. Neither line."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

from contract import artifact
from contract.errors import NotFound, RipenError
from contract.ports import Database, Storage
from contract.records import Example, Version
from service.diagnosis import Wrong, name_some

SKEW = timedelta(minutes=1)


def look_at_database(database: Database) -> str:
    """Whether it answers, with this code's schema."""
    database.check_schema()
    models = database.list_models()
    images = sum(count.count for count in database.count_examples())
    return f"answers; {len(models)} models, {images} images"


def look_at_storage(storage: Storage) -> str:
    """Whether it can be written and read."""
    storage.check()
    return "can be written and read"


def look_at_clock(database: Database) -> str:
    """Whether time went backwards: leases, expiry of keys and ids of images rest on it."""
    now = database.now()
    newest = max((version.created_at for version in _versions(database)), default=now)
    if newest > now + SKEW:
        raise Wrong(
            f"It is {now:%Y-%m-%d %H:%M:%S} UTC, but a version was made at {newest:%Y-%m-%d %H:%M:%S}.",
            "Set the clock (NTP).",
        )
    return f"it is {now:%Y-%m-%d %H:%M:%S} UTC"


def look_at_audit_log(database: Database) -> str:
    """Whether each line holds the digest of the one before."""
    broken = database.check_audit()
    if broken is not None:
        raise Wrong(
            f"Line {broken} was altered, or lines after it are missing.",
            "Find out who can write to the database; compare with a backup.",
        )
    return "is whole"


def look_at_images(database: Database, storage: Storage, *, deep: bool) -> str:
    """Whether each row has its object, of the right size; deep: with the right sha256."""
    found = {one.key: one.size_bytes for one in storage.list_objects("examples")}
    count, missing, altered = 0, list[str](), list[str]()
    for example in _examples(database):
        count += 1
        size = found.get(example.storage_key)
        if size is None and _is_missing(example, database, storage):
            missing.append(f"{example.model}/{example.id}")
        elif size not in (None, example.size_bytes) or (deep and size and not _is_whole(example, storage)):
            altered.append(f"{example.model}/{example.id}")
    if missing or altered:
        parts = ((missing, "without an object"), (altered, "altered"))
        raise Wrong(
            "; ".join(f"{len(names)} {what}: {name_some(names)}" for names, what in parts if names) + ".",
            "Restore them from a backup, or delete them (`ripen delete example ID`) and add them again.",
        )
    return f"{count} rows have their objects" + ("; each has its sha256" if deep else "; --deep reads each")


def look_at_versions(database: Database, storage: Storage) -> str:
    """Whether each version that was not pruned is as its manifest says."""
    live = {(model.name, model.live_version) for model in database.list_models()}
    count, broken = 0, list[str]()
    for version in _versions(database):
        if version.pruned_at is not None:
            continue
        count += 1
        try:
            artifact.verify(storage.local_folder(version.storage_key), version.manifest_sha256)
        except RipenError as error:
            if _is_pruned(version, database):
                continue
            is_live = " (live)" if (version.model, version.number) in live else ""
            broken.append(f"{version.model}/{version.number}{is_live}: {error}")
    if broken:
        raise Wrong(
            f"{len(broken)} of {count} are not as their manifests say: {name_some(broken)}",
            "A live one: `ripen rollback`, or promote another; then restore its folder from a backup, or remove it "
            "(`ripen delete version N`).",
        )
    return f"{count} are as their manifests say"


def look_at_leftovers(database: Database, storage: Storage) -> str:
    """What nothing names. That is no fault: the worker removes what is older than an hour."""
    images = {one.key: one.size_bytes for one in storage.list_objects("examples")}
    for example in _examples(database):
        images.pop(example.storage_key, None)
    kept = {version.storage_key for version in _versions(database) if version.pruned_at is None}
    files = [one for one in storage.list_objects("models") if "/".join(one.key.split("/")[:3]) not in kept]
    size = sum(images.values()) + sum(one.size_bytes for one in files)
    if not images and not files:
        return "none"
    folders = {"/".join(one.key.split("/")[:3]) for one in files}
    return f"{len(images)} images, {len(folders)} version folders ({size / 1e6:.1f} MB); an idle worker removes them"


def _examples(database: Database) -> Iterator[Example]:
    for model in database.list_models():
        yield from database.list_examples(model.name)


def _versions(database: Database) -> Iterator[Version]:
    for model in database.list_models():
        yield from database.list_versions(model.name)


def _is_missing(example: Example, database: Database, storage: Storage) -> bool:
    """Not one that was added after the objects were listed, or is deleted just now."""
    with suppress(NotFound):
        return storage.get(example.storage_key) is None and bool(database.get_example(example.model, example.id))
    return False


def _is_pruned(version: Version, database: Database) -> bool:
    """By somebody else, just now."""
    with suppress(NotFound):
        return database.get_version(version.model, version.number).pruned_at is not None
    return True


def _is_whole(example: Example, storage: Storage) -> bool:
    data = storage.get(example.storage_key)
    return data is not None and hashlib.sha256(data).hexdigest() == example.digest
