"""`python -m service backup FILE` and `restore FILE`: progress and the result as JSON lines. Neither line."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contract.errors import InvalidRequest, StorageUnavailable
from service.administration import Place, say
from service.backup import write_backup
from service.restore import restore_backup

EVERY_S = 0.2


@dataclass(frozen=True)
class Moved:
    """Bytes done, and bytes in all."""

    done: int
    total: int


@dataclass(frozen=True)
class Finished:
    """The last line."""

    result: object


def backup(place: Place, arguments: Sequence[str]) -> int:
    """Write everything to FILE; refuses an existing one."""
    (file,) = arguments
    place.database.check_schema()
    if not place.database.list_models():
        raise InvalidRequest(f"There is nothing to back up in {place.settings.home}; name its home with --home.")
    say(Finished(write_backup(Path(file), place.database, place.storage, _Telling())))
    return 0


def restore(place: Place, arguments: Sequence[str]) -> int:
    """Restore FILE into an empty home."""
    (file,) = arguments
    home = place.settings.home
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageUnavailable(f"{home} cannot be made ({error.strerror}); name another with --home.") from error
    place.database.migrate()
    say(Finished(restore_backup(Path(file), place.database, place.storage, home=home, on_progress=_Telling())))
    return 0


class _Telling:
    """Says how far it is, a few times a second."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + EVERY_S
            say(Moved(done, total))
