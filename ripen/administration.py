"""Commands that work on the local home, with or without a running service. Neither line: each is a child process.

`python -m service COMMAND` does the work; what it prints, one JSON object per line, is decoded here.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from ripen.credentials import CLIENT_VARIABLES
from ripen.errors import CommandFailed

T = TypeVar("T")
EXIT_WRONG = 1
EXIT_BAD_SETTING = 78


def administer(answer: type[T], home: Path, *arguments: str) -> Iterator[T]:
    """Run a command on a home and yield each line of its answer, decoded, as it comes.

    Args:
        answer: what each line is.
        home: as `--home` or `RIPEN_HOME` says; every other setting comes from the environment.
        arguments: the command's name and what it takes. No secrets: everybody on this machine may read them.

    Raises:
        CommandFailed: it said why not. One that found something wrong says so in its answer instead.
    """
    with tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "-m", "service", *arguments]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=home_environment(home),
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield msgspec.json.decode(line, type=answer)
        if process.returncode:
            errors.seek(0)
            _refuse(process.returncode, [line for line in errors if line.strip()])


def home_environment(home: Path) -> dict[str, str]:
    """The environment of our own processes: this one, without what is the client's alone."""
    kept = {name: value for name, value in os.environ.items() if name not in CLIENT_VARIABLES}
    return {
        **kept,
        "RIPEN_HOME": str(home),
        "PYTHONSAFEPATH": "1",  # or a folder `service` where the user stands would be started instead of ours
    }


def _refuse(status: int, errors: list[str]) -> None:
    """Raise what the command said last; one that only printed an answer said there what is wrong."""
    if errors:
        raise CommandFailed(errors[-1].strip(), bad_setting=status == EXIT_BAD_SETTING)
    if status != EXIT_WRONG:
        raise CommandFailed(f"The command ended with status {status} and said nothing.")
