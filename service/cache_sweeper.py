"""Local copies of versions that nobody uses any more, and what killed downloads left. Beside LINE A, once an hour.

The worker does the same for its own; with a bucket and several machines each has copies of its own.
"""

import asyncio
import logging

from contract.errors import RipenError
from contract.ports import Database, Storage

EVERY_S = 3600.0
logger = logging.getLogger(__name__)


class CacheSweeper:
    """Sweeps the storage's local leftovers. `run` belongs in a task."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage

    async def run(self) -> None:
        """Sweep once an hour until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                freed = await asyncio.to_thread(self.sweep)
            except RipenError as error:
                logger.warning("The local copies of versions cannot be swept now: %s", error)
            else:
                logger.info("Local copies of versions: %.1f MB freed.", freed / 1e6)

    def sweep(self) -> int:
        """Keep what serves and what a rollback would bring back; returns how many bytes were freed."""
        needed = [version for one in self._database.aspirations() for version in (one.live, one.previous)]
        keep = frozenset(version.storage_key for version in needed if version is not None)
        return self._storage.sweep(keep=keep, older_than_s=EVERY_S)
