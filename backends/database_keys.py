"""API keys in SQL. LINE A step 1, LINE B step 1.

Functions over one open transaction; `database` gives each of its methods one.
"""

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from backends.database_audit import lock_audit, write_audit
from backends.database_schema import api_keys, to_record, to_row
from contract.errors import TooManyKeys, UnknownKey
from contract.keys import ApiKey, AuditAction

LIVE_KEYS_PER_CLIENT = 2  # the old one and the new one, while a client changes them


def add_key(connection: Connection, key: ApiKey, *, actor: str, now: datetime) -> None:
    """Store the key, unless its client has two live ones."""
    lock_audit(connection)  # also keeps two at once from seeing one key each
    of_client = connection.execute(select(api_keys).where(api_keys.c.client == key.client)).mappings()
    live = [found.id for found in (to_record(ApiKey, row) for row in of_client) if found.live(now)]
    if len(live) >= LIVE_KEYS_PER_CLIENT:
        raise TooManyKeys(
            f"The client {key.client!r} has {len(live)} live keys, {' and '.join(sorted(live))}; at most "
            f"{LIVE_KEYS_PER_CLIENT} are allowed. Revoke one first."
        )
    connection.execute(insert(api_keys).values(to_row(key)))
    ends = f", until {key.expires_at.isoformat(timespec='seconds')}" if key.expires_at else ""
    trust = "" if key.trusted else ", not trusted"
    detail = f"client {key.client}, roles {' '.join(sorted(key.roles))}{trust}{ends}"
    write_audit(connection, AuditAction.KEY_ADDED, key.id, detail, actor=actor, now=now)


def list_keys(connection: Connection) -> list[ApiKey]:
    """Newest first."""
    statement = select(api_keys).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
    return [to_record(ApiKey, row) for row in connection.execute(statement).mappings()]


def revoke_key(connection: Connection, key_id: str, *, actor: str, now: datetime) -> ApiKey:
    """Revoke the key; one that is revoked stays as it is."""
    lock_audit(connection)
    key = _get_key(connection, key_id)
    if key.revoked_at is not None:
        return key
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=now))
    write_audit(connection, AuditAction.KEY_REVOKED, key_id, f"client {key.client}", actor=actor, now=now)
    return _get_key(connection, key_id)


def _get_key(connection: Connection, key_id: str) -> ApiKey:
    row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().first()
    if row is None:
        raise UnknownKey(f"There is no API key {key_id!r}; `ripen keys list` shows those there are.")
    return to_record(ApiKey, row)
