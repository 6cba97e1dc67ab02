"""`ripen backup`, `restore` and `doctor`: on the local home, with or without a running service. Neither line."""

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from ripen.administration import administer
from ripen.display import Screen
from ripen.errors import CommandFailed
from ripen.options import EXIT_REFUSED, home_option, with_screen


class BackedUp(msgspec.Struct):
    """What a backup holds; `problems` were there before it."""

    file: str
    size_bytes: int
    seconds: float
    examples: int
    versions: int
    problems: tuple[str, ...]


class Restored(msgspec.Struct):
    """What was restored."""

    file: str
    seconds: float
    examples: int
    versions: int


class BackupLine(msgspec.Struct):
    """How far it is in bytes, or what came of it."""

    done: int = 0
    total: int = 0
    result: BackedUp | None = None


class RestoreLine(msgspec.Struct):
    """The same of a restore."""

    done: int = 0
    total: int = 0
    result: Restored | None = None


class Finding(msgspec.Struct):
    """What one check of the doctor found."""

    check: str
    ok: bool
    says: str
    advice: str = ""


@click.command()
@click.argument("file", metavar="FILE.tar", type=click.Path(path_type=Path))
@home_option
@with_screen
def backup(screen: Screen, /, file: Path, home: Path) -> None:
    """Write everything to one file, also while it runs. Example: ripen backup ripen.tar

    Models, images, versions, jobs, API keys (their digests) and the audit log. The file has its name once it is whole.
    """
    with screen.moving("backing up") as on_progress:
        result = None
        for line in administer(BackupLine, home, "backup", str(file.absolute())):
            on_progress(line.done, line.total)
            result = line.result
    if result is None:
        raise CommandFailed("The backup ended without a result.")
    screen.show(result, lambda: _draw_backup(screen, result))


@click.command()
@click.argument("file", metavar="FILE.tar", type=click.Path(path_type=Path))
@home_option
@with_screen
def restore(screen: Screen, /, file: Path, home: Path) -> None:
    """Restore a backup into an empty home. Example: ripen restore ripen.tar --home new/

    All of it or nothing; database and storage may be of another kind than those that the backup was made from.
    """
    with screen.moving("restoring") as on_progress:
        result = None
        for line in administer(RestoreLine, home, "restore", str(file.absolute())):
            on_progress(line.done, line.total)
            result = line.result
    if result is None:
        raise CommandFailed("The restore ended without a result.")
    screen.show(
        result,
        lambda: screen.say(
            f"{home} holds {result.examples} images and {result.versions} versions now ({result.seconds:.1f} s)"
        ),
    )


@click.command()
@click.option("--deep", is_flag=True, help="Read every image and compare its sha256.")
@home_option
@with_screen
def doctor(screen: Screen, /, *, deep: bool, home: Path) -> None:
    """Look whether all is well, and say what to do. Example: ripen doctor

    Settings, disk, ports, database, storage, images, versions. Changes nothing; exit status 1 if anything is wrong.
    """
    found: list[Finding] = []
    for finding in _examine(home, deep=deep):
        found.append(finding)
        if not screen.json:
            _draw_finding(screen, finding)
    screen.show({"findings": found}, lambda: None)
    if not all(finding.ok for finding in found):
        raise click.exceptions.Exit(EXIT_REFUSED)


def _examine(home: Path, *, deep: bool) -> Iterator[Finding]:
    """The doctor's findings; a setting or a backend that cannot be used at all is one too."""
    try:
        yield from administer(Finding, home, "doctor", *(["--deep"] if deep else []))
    except CommandFailed as error:
        yield Finding("settings" if error.bad_setting else "start", ok=False, says=str(error))


def _draw_finding(screen: Screen, finding: Finding) -> None:
    mark, style = ("OK   ", "") if finding.ok else ("WRONG", "red")
    screen.say(f"{mark}  {finding.check:<10} {finding.says}", style)
    if finding.advice:
        screen.say(f"       {'':<10} -> {finding.advice}", "yellow")


def _draw_backup(screen: Screen, result: BackedUp) -> None:
    screen.say(
        f"{result.file}: {result.examples} images and {result.versions} versions, {result.size_bytes / 1e6:.1f} MB in "
        f"{result.seconds:.1f} s"
    )
    for problem in result.problems:
        screen.say(f"  {problem}", "yellow")
    if result.problems:
        screen.say("These were broken before; `ripen doctor` says what to do.", "yellow")
