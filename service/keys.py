"""API keys: making one, and the snapshot that requests are checked against. LINE A step 1, LINE B step 1.

No request waits for the database: the snapshot is read again once a second, and the last one counts while that fails.
"""

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from contract.errors import InvalidRequest, RipenError, Unauthenticated
from contract.keys import ApiKey, Role
from contract.ports import Database

LOOK_EVERY_S = 1.0
SECRET_BYTES = 32
BEARER = re.compile(r"bearer +ripen_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.IGNORECASE | re.ASCII)
NO_DIGEST = "0" * 64  # of no secret that anybody knows
logger = logging.getLogger(__name__)


def make_key(
    client: str,
    roles: frozenset[Role],
    *,
    created_at: datetime,
    expires_at: datetime | None,
    trusted: bool = True,
) -> tuple[ApiKey, str]:
    """A new key: what is stored of it, and the key itself, which is known to nobody else."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(SECRET_BYTES)
    stored = ApiKey(key_id, client, roles, _digest(secret), created_at, expires_at, trusted=trusted)
    return stored, f"ripen_{key_id}_{secret}"


class Keys:
    """All keys as they were at most LOOK_EVERY_S ago. `run` belongs in a task."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[str, ApiKey] = {}

    def look(self) -> None:
        """Read the keys. DatabaseUnavailable leaves those that were read before."""
        self._keys = {key.id: key for key in self._database.list_keys()}

    def any_live(self) -> bool:
        """Whether there is a key that opens anything."""
        now = datetime.now(UTC)
        return any(key.live(now) for key in self._keys.values())

    def trusted(self, key_id: str) -> bool:
        """Whether images that come with that key may judge versions."""
        key = self._keys.get(key_id)
        return key is not None and key.trusted

    def check(self, authorization: Sequence[str]) -> ApiKey:
        """The key that a request came with.

        Args:
            authorization: all its `Authorization` headers.

        Raises:
            Unauthenticated: none, or not one of a live key; which of these is not said.
            InvalidRequest: more than one header.
        """
        if len(authorization) > 1:
            raise InvalidRequest("More than one Authorization header came; expected one.")
        if not authorization:
            raise Unauthenticated("No API key came; send `Authorization: Bearer <key>`. `ripen keys add` makes one.")
        match = BEARER.fullmatch(authorization[0])
        key = self._keys.get(match[1]) if match else None
        same = hmac.compare_digest(_digest(match[2] if match else ""), key.digest if key else NO_DIGEST)
        if key is None or not same or not key.live(datetime.now(UTC)):
            raise Unauthenticated("The API key is not known here, or it has been revoked or has expired.")
        return key

    async def run(self) -> None:
        """Read the keys again and again until cancelled."""
        failing = False
        with ThreadPoolExecutor(1, "keys") as reader:  # of its own: whoever fills the shared one would keep old keys
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                try:
                    await asyncio.get_running_loop().run_in_executor(reader, self.look)
                    failing = False
                except RipenError as error:
                    if not failing:
                        logger.warning("The API keys cannot be read, those read before count: %s", error)
                    failing = True


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
