"""Which version should be live? Asks the database again and again. LINE B step 5.

Declared in the database, never guessed from a folder listing. While the database fails, the last good answer counts.
"""

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from contract.errors import RipenError
from contract.ports import Database
from contract.records import Aspiration, Model
from contract.settings import Settings
from service.versions import Versions

PATIENCE_S = 2.0
logger = logging.getLogger(__name__)


class Watcher:
    """Tells `versions` what is declared. `run` belongs in a task; `first_look` is set once it has been told."""

    def __init__(self, database: Database, versions: Versions, settings: Settings) -> None:
        self._database = database
        self._versions = versions
        self._interval_s = settings.poll_interval_s
        self._declared: tuple[list[Model], list[Aspiration]] | None = None
        self._poked = asyncio.Event()
        self._lookers: list[threading.Event] = []  # who waits for the next look
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failing = False
        self._was_ready = False
        self._asker = ThreadPoolExecutor(1, "watcher")  # of its own: those who wait in `look_now` fill the shared one
        self.first_look = asyncio.Event()

    def missing(self) -> str | None:
        """What the service still waits for before it is ready, in words; None where it is, or once was, ready."""
        if self._was_ready:
            return None
        if not self.first_look.is_set():
            return "The database has not been asked yet which versions should be live, or does not answer."
        return self._versions.missing()

    def look_now(self) -> None:
        """Look at once and try failed versions again: something was just declared.

        Waits until the look is over, at most PATIENCE_S: what was declared is known and begun then. For worker threads
        only; on the event loop it would wait for itself.
        """
        looked = threading.Event()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody looks any more
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._expect_look, looked)
                looked.wait(PATIENCE_S)

    def _expect_look(self, looked: threading.Event) -> None:
        self._lookers.append(looked)
        self._poked.set()

    async def run(self) -> None:
        """Look until cancelled; only once."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                await self._look_and_tell()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval_s):
                        await self._poked.wait()
        finally:
            self._asker.shutdown(wait=False)

    async def _look_and_tell(self) -> None:
        poked = self._poked.is_set()
        self._poked.clear()
        lookers, self._lookers = self._lookers, []
        await self._look(retry=poked)
        for looker in lookers:
            looker.set()

    async def _look(self, *, retry: bool) -> None:
        try:
            self._declared = await asyncio.get_running_loop().run_in_executor(self._asker, self._ask)
            self._failing = False
        except RipenError as error:
            if not self._failing:
                logger.warning("Cannot ask which versions should be live, the last answer counts: %s", error)
            self._failing = True
        if self._declared is not None:  # also an old answer: it brings the retries of failed versions forward
            self._was_ready = self.missing() is None  # what is declared from now on no longer holds it back
            models, aspirations = self._declared
            pinned = {model.name for model in models if model.pinned}
            await self._versions.apply([model.name for model in models], aspirations, pinned=pinned, retry=retry)
            self.first_look.set()

    def _ask(self) -> tuple[list[Model], list[Aspiration]]:
        return self._database.list_models(), self._database.aspirations()
