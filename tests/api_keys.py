"""Keys for tests: one of each kind, in a database."""

from dataclasses import replace
from datetime import timedelta

from contract.keys import Role
from contract.ports import Database
from service.keys import make_key


def add(database: Database, client: str, *roles: Role, trusted: bool = True) -> str:
    """Store a live key and return it."""
    key, text = make_key(client, frozenset(roles), created_at=database.now(), expires_at=None, trusted=trusted)
    database.add_key(key)
    return text


def bad_keys(database: Database) -> dict[str, str]:
    """Keys with every role that open nothing, by what is wrong with them; values of an Authorization header."""
    everything = frozenset(Role)
    now = database.now()
    good = add(database, "good", *everything)
    revoked, revoked_text = make_key("revoked", everything, created_at=now, expires_at=None)
    database.add_key(revoked)
    database.revoke_key(revoked.id)
    expired, expired_text = make_key("expired", everything, created_at=now, expires_at=None)
    database.add_key(replace(expired, expires_at=now - timedelta(seconds=1)))
    unknown = make_key("unknown", everything, created_at=now, expires_at=None)[1]
    return {
        "empty": "",
        "no scheme": good,
        "another scheme": f"Basic {good}",
        "no key": "Bearer",
        "no key of ours": "Bearer abc",
        "too long": f"Bearer {good}x",
        "two in one": f"Bearer {good}, Bearer {good}",
        "wrong last byte": f"Bearer {good[:-1]}{'A' if good[-1] != 'A' else 'B'}",
        "secret of another": f"Bearer {good[:19]}{unknown[19:]}",
        "unknown": f"Bearer {unknown}",
        "revoked": f"Bearer {revoked_text}",
        "expired": f"Bearer {expired_text}",
    }
