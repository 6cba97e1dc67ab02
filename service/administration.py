"""What a command of `python -m service COMMAND` works with, and how it answers. Neither line: no port is opened.

`ripen` starts these commands as child processes and draws what they print: each line of stdout is one JSON object, and
an error is one line on stderr with exit status 1, or 78 for a bad setting.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from contract.errors import StorageUnavailable
from contract.ports import Database, Storage
from contract.settings import Settings


@dataclass(frozen=True)
class Place:
    """One installation's state. Nothing was asked of it yet: the schema may be old, the home may not exist."""

    settings: Settings
    database: Database
    storage: Storage


Command = Callable[[Place, Sequence[str]], int]  # arguments -> exit status; raises RipenError


def require_home(settings: Settings) -> None:
    """Refuse a home that nobody made yet, before opening it makes one: its name may be mistyped.

    Raises:
        StorageUnavailable: names what is missing.
    """
    places = [settings.home]
    scheme, _, file = settings.database_url.partition(":///")
    if scheme == "sqlite" and file:
        places.append(Path(file.partition("?")[0]))
    for place in places:
        if not place.exists():
            raise StorageUnavailable(
                f"{place} is not there; name the home of an installation with --home or RIPEN_HOME, or make one with "
                "`ripen up`."
            )


def say(answer: object) -> None:
    """Print one line of the answer, at once."""
    print(msgspec.json.encode(answer).decode(), flush=True)
