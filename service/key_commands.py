"""`python -m service keys` and `audit`: keys are made, listed and revoked, and the audit log is read. Neither line."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from contract.errors import InvalidRequest
from contract.keys import ApiKey, AuditEntry, Role
from contract.records import NAME_PATTERN
from service.administration import Place, say
from service.keys import make_key

LONGEST_DAYS = 3650


@dataclass(frozen=True)
class KeyLine:
    """One key as it is listed. `key` is there once, when it is made."""

    id: str
    client: str
    roles: tuple[Role, ...]
    live: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    trusted: bool
    key: str | None = None


@dataclass(frozen=True)
class AuditAnswer:
    """The newest lines. `broken_at` is the first line of all that was altered or misses the one before it."""

    entries: list[AuditEntry]
    broken_at: int | None


def keys(place: Place, arguments: Sequence[str]) -> int:
    """Make, list or revoke keys; before the first start too.

    Raises:
        InvalidRequest, TooManyKeys, UnknownKey
    """
    asked = _parser().parse_args(arguments)
    place.database.migrate()
    if asked.what == "add":
        _add(place, asked)
    elif asked.what == "revoke":
        say(_line(place, place.database.revoke_key(asked.id)))
    else:
        for key in place.database.list_keys():
            say(_line(place, key))
    return 0


def audit(place: Place, arguments: Sequence[str]) -> int:
    """Newest first, then whether all of the log is whole."""
    parser = argparse.ArgumentParser("audit")
    parser.add_argument("--limit", type=int, default=100)
    place.database.migrate()
    entries = place.database.list_audit(limit=parser.parse_args(arguments).limit)
    broken_at = place.database.check_audit()
    say(AuditAnswer(entries, broken_at))
    return 0 if broken_at is None else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("keys")
    commands = parser.add_subparsers(dest="what", required=True)
    add = commands.add_parser("add")
    add.add_argument("--client", required=True)
    add.add_argument("--role", action="append", required=True, choices=[role.value for role in Role])
    add.add_argument("--expires-days", type=int)
    add.add_argument("--untrusted", action="store_true")
    commands.add_parser("list")
    commands.add_parser("revoke").add_argument("id")
    return parser


def _add(place: Place, asked: argparse.Namespace) -> None:
    if re.fullmatch(NAME_PATTERN, asked.client) is None:
        raise InvalidRequest(f"The client is called {asked.client!r}; expected a match of {NAME_PATTERN}.")
    if asked.expires_days is not None and not 1 <= asked.expires_days <= LONGEST_DAYS:
        raise InvalidRequest(f"It expires in {asked.expires_days} days; expected 1 to {LONGEST_DAYS}, or none.")
    now = place.database.now()
    expires_at = None if asked.expires_days is None else now + timedelta(days=asked.expires_days)
    roles = frozenset(Role(role) for role in asked.role)
    key, text = make_key(asked.client, roles, created_at=now, expires_at=expires_at, trusted=not asked.untrusted)
    place.database.add_key(key)
    say(_line(place, key, text))


def _line(place: Place, key: ApiKey, text: str | None = None) -> KeyLine:
    roles = tuple(role for role in Role if role in key.roles)
    live = key.live(place.database.now())
    return KeyLine(
        key.id,
        key.client,
        roles,
        live,
        key.created_at,
        key.expires_at,
        key.revoked_at,
        key.trusted,
        text,
    )
