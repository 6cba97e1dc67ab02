"""`python -m service`: the only wiring of the service. LINE A, and LINE B steps 1-2 and 5."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from backends.database import SqlDatabase
from backends.storage import ObjectStorage
from contract import lifeline
from contract.errors import (
    AddressInUse,
    DatabaseUnavailable,
    InvalidSetting,
    RipenError,
    StorageFull,
    StorageUnavailable,
)
from contract.records import DEFAULT_MODEL
from contract.settings import Settings
from service import backup_commands, batching_parameters, doctor, exposure, first_key, key_commands
from service.administration import Command, Place, require_home
from service.cache_sweeper import CacheSweeper
from service.callers import Callers
from service.feedback import Feedback
from service.kept_images import KeptImages
from service.keys import Keys
from service.learning import Learning
from service.memory import leave_out_of_collections, return_freed_memory
from service.metrics import Metrics
from service.open_files import allow_all_open_files
from service.predictor import Predictor
from service.protocols.core import Core
from service.readiness import Readiness
from service.servers import Ports, Servers
from service.swap_watch import SwapWatch
from service.versions import Versions
from service.watcher import Watcher

COMMANDS: Mapping[str, Command] = {
    "keys": key_commands.keys,
    "audit": key_commands.audit,
    "backup": backup_commands.backup,
    "restore": backup_commands.restore,
    "doctor": doctor.doctor,
    "wait-for-key": first_key.wait_for_key,
}
READERS = ("backup", "doctor")  # of what is there: they make no home
EXIT_FAILED = 1
EXIT_CANNOT_START = 1
EXIT_BAD_SETTING = 78  # EX_CONFIG of sysexits.h
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop, or do one of COMMANDS; the exit status says how it went."""
    try:
        return administer(arguments[0], arguments[1:]) if arguments else serve_until_stopped()
    except InvalidSetting as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTING


def administer(name: str, arguments: Sequence[str]) -> int:
    """Do one command on the place that the settings name, without opening a port."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings = Settings.from_environment()
    if name not in COMMANDS:
        print(f"{name!r} is not a command; known are {', '.join(COMMANDS)}, and none to serve.", file=sys.stderr)
        return EXIT_FAILED
    try:
        if name in READERS:
            require_home(settings)
        return administer_place(settings, COMMANDS[name], arguments)
    except InvalidSetting:
        raise
    except RipenError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED


def administer_place(settings: Settings, command: Command, arguments: Sequence[str]) -> int:
    """Do a command with database and storage open."""
    storage = ObjectStorage(settings.storage_url, cache=settings.home / "cache")
    database = SqlDatabase(settings.database_url)
    try:
        return command(Place(settings, database, storage), arguments)
    finally:
        database.close()


def serve_until_stopped() -> int:
    """The service itself."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # ten lines that tell nobody anything
    logging.getLogger("grpc._cython.cygrpc").addFilter(_worth_telling)
    settings = batching_parameters.apply(Settings.from_environment())
    exposure.check_address(settings)
    exposure.check_database_place(settings, exposure.MOUNTS.read_text())
    return_freed_memory()
    allow_all_open_files()
    try:
        asyncio.run(serve(settings))
    except (AddressInUse, DatabaseUnavailable, StorageUnavailable, StorageFull) as error:
        print(error, file=sys.stderr)
        return EXIT_CANNOT_START
    return 0


def _worth_telling(record: logging.LogRecord) -> bool:
    """Not what grpc tells of clients: metadata that is no UTF-8, with the key in it; calls that their clients left."""
    return not str(record.msg).startswith(("Invalid encoding", "ExecuteBatchError raised in core"))


async def serve(settings: Settings) -> None:
    """Build everything, run it, and take it down in the opposite order."""
    stop = stop_event()
    ports = Ports(settings)
    database, storage = await asyncio.to_thread(open_backends, settings)
    keys = Keys(database)
    if not settings.open:
        await asyncio.to_thread(keys.look)
        exposure.check_keys(settings, keys)
    metrics = Metrics(database)
    versions = Versions(storage, metrics, settings)
    watcher = Watcher(database, versions, settings)
    kept = KeptImages(settings.keep_images_bytes)
    learning = Learning(database, storage, settings, watcher.look_now)
    core = Core(
        predictor=Predictor(versions, metrics, settings, kept),
        versions=versions,
        learning=learning,
        feedback=Feedback(learning, kept, metrics),
        readiness=Readiness(watcher.missing),
        metrics=metrics,
        settings=settings,
        callers=Callers(settings, keys),
    )
    servers = Servers(core, ports)
    await servers.start()
    leave_out_of_collections()
    watch = SwapWatch(database, versions, metrics, settings=settings, on_change=watcher.look_now)
    endless = [watcher.run(), watch.run(), CacheSweeper(database, storage).run()]
    endless += [] if settings.open else [keys.run()]
    tasks = [asyncio.create_task(one) for one in endless]
    for task in tasks:
        task.add_done_callback(lambda _: stop.set())  # without its watchers the service would grow stale in silence
    await stop.wait()
    await servers.stop()
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)
    await versions.close()
    database.close()


def open_backends(settings: Settings) -> tuple[SqlDatabase, ObjectStorage]:
    """Make the data folder, open database and storage, and check that both can be written.

    Raises:
        StorageUnavailable, DatabaseUnavailable, StorageFull: says which place, and why not.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageUnavailable(
            f"The data folder {settings.home} cannot be made ({error.strerror}); "
            "set RIPEN_HOME to a folder that can be written."
        ) from error
    storage = ObjectStorage(settings.storage_url, cache=settings.home / "cache")
    storage.check()
    database = SqlDatabase(settings.database_url)
    database.migrate()
    if DEFAULT_MODEL not in [model.name for model in database.list_models()]:
        database.create_model(DEFAULT_MODEL, None)
    return database, storage


def stop_event() -> asyncio.Event:
    """An event that SIGTERM, SIGINT or the parent's end sets; the second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    def on_parent_gone() -> None:
        loop.call_soon_threadsafe(stop.set)

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    lifeline.watch(on_parent_gone)
    return stop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
