"""`ripen keys` and `ripen audit`: who may ask the service, and what was done to it. Neither line: on the local home."""

from datetime import datetime
from pathlib import Path

import click
import msgspec

from ripen.administration import administer
from ripen.display import Screen
from ripen.options import EXIT_REFUSED, home_option, with_screen

ROLES = ("predict", "label", "train", "promote", "observe", "admin")


class Key(msgspec.Struct):
    """One key as the service's command tells it; `key` is there once, when it is made."""

    id: str
    client: str
    roles: tuple[str, ...]
    live: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    trusted: bool = True
    key: str | None = None


class Entry(msgspec.Struct):
    """One line of the audit log."""

    sequence: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: str


class Audit(msgspec.Struct):
    """The newest lines, and the first one that is broken, if there is one."""

    entries: tuple[Entry, ...]
    broken_at: int | None


@click.group()
def keys() -> None:
    """Make, list and revoke API keys. Example: ripen keys add --client shop --role predict

    They are asked for where the service listens on another address than loopback, or behind a proxy. Works on the local
    home (--home, RIPEN_DATABASE_URL), whether the service runs or not; a running one follows within 2 seconds.
    """


@keys.command()
@click.option("--client", required=True, help="Whose it is; each client may have two, to change from one to the other.")
@click.option("--role", "roles", required=True, multiple=True, type=click.Choice(ROLES), help="What it may do.")
@click.option("--expires-days", type=click.IntRange(1, 3650), help="For how long; for ever if left out.")
@click.option("--untrusted", is_flag=True, help="What it labels is only trained on, up to RIPEN_UNTRUSTED_SHARE.")
@home_option
@with_screen
def add(
    screen: Screen, /, client: str, roles: tuple[str, ...], expires_days: int | None, home: Path, *, untrusted: bool
) -> None:
    """Make a key. Example: ripen keys add --client shop --role predict

    The key is printed on stdout, this once; the service keeps only its digest.
    """
    asked = ["--client", client, *(part for role in roles for part in ("--role", role))]
    if expires_days is not None:
        asked += ["--expires-days", str(expires_days)]
    if untrusted:
        asked.append("--untrusted")
    (made,) = administer(Key, home, "keys", "add", *asked)
    screen.show(made, lambda: click.echo(made.key))
    click.echo(f"Key {made.id} of {client}. It is shown only this once; clients read it from RIPEN_API_KEY.", err=True)


@keys.command("list")
@home_option
@with_screen
def list_keys(screen: Screen, /, home: Path) -> None:
    """List keys, newest first. Example: ripen keys list"""
    found = tuple(administer(Key, home, "keys", "list"))
    screen.show({"keys": found}, lambda: _draw_keys(screen, found))


@keys.command()
@click.argument("key_id", metavar="ID")
@home_option
@with_screen
def revoke(screen: Screen, /, key_id: str, home: Path) -> None:
    """Revoke a key for good. Example: ripen keys revoke 0b9c5f1d7c6f"""
    (revoked,) = administer(Key, home, "keys", "revoke", "--", key_id)
    screen.show(revoked, lambda: screen.say(f"Key {revoked.id} of {revoked.client} opens nothing any more."))


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="The newest so many.")
@home_option
@with_screen
def audit(screen: Screen, /, limit: int, home: Path) -> None:
    """Show who did what. Example: ripen audit

    Keys, promotions, rollbacks, pins and deletions, newest first, and whether the log is whole: each line holds the
    digest of the one before, so that a change or a gap shows.
    """
    (answer,) = administer(Audit, home, "audit", "--limit", str(limit))
    screen.show(answer, lambda: _draw_audit(screen, answer))
    if answer.broken_at is not None:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _draw_keys(screen: Screen, found: tuple[Key, ...]) -> None:
    screen.table(
        ("key", "client", "roles", "trusted", "state", "created (UTC)", "expires (UTC)"),
        (
            (
                one.id,
                one.client,
                " ".join(one.roles),
                "yes" if one.trusted else "no",
                "live" if one.live else "revoked" if one.revoked_at else "expired",
                f"{one.created_at:%Y-%m-%d %H:%M:%S}",
                f"{one.expires_at:%Y-%m-%d %H:%M:%S}" if one.expires_at else "never",
            )
            for one in found
        ),
    )


def _draw_audit(screen: Screen, answer: Audit) -> None:
    screen.table(
        ("line", "at (UTC)", "who", "what", "to", "detail"),
        (
            (f"{one.sequence}", f"{one.at:%Y-%m-%d %H:%M:%S}", one.actor, one.action, one.subject, one.detail)
            for one in answer.entries
        ),
    )
    if answer.broken_at is None:
        screen.say("The log is whole.")
    else:
        screen.say(f"The log was altered: line {answer.broken_at} is not what was written, or misses one before it.")
