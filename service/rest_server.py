"""The REST server: a listener and its connections, with limits, a drain and TLS. LINE A step 1."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable
from email.utils import formatdate

from contract.settings import Settings
from service.access import Access
from service.http_protocol import HEAD_S, LINGER_S, LimitedProtocol, RestState
from service.tls import Certificate

BACKLOG = 1024
SWEEP_EVERY_S = 1.0
LAST_WORDS_S = 1.0
logger = logging.getLogger(__name__)


class RestServer:
    """One listener and its connections.

    Args:
        access: the application, and whoever guards it.
        settings: `max_connections`, above which the longest idle one is closed.
    """

    def __init__(
        self,
        access: Access,
        settings: Settings,
        count_rejection: Callable[[str], None],
        certificate: Certificate | None,
    ) -> None:
        self._access = access
        self._certificate = certificate
        self._state = RestState(access, settings.max_connections, count_rejection)
        self._listener: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Listen. `listener` is bound already."""
        encrypted = self._certificate is not None
        self._listener = await asyncio.get_running_loop().create_server(
            self._connection,
            sock=listener,
            backlog=BACKLOG,
            ssl=self._certificate.context if self._certificate else None,
            ssl_handshake_timeout=HEAD_S if encrypted else None,
            ssl_shutdown_timeout=LINGER_S if encrypted else None,
        )
        self._sweep()
        self._sweeping = asyncio.create_task(self._sweep_for_ever())

    def close_after_answers(self) -> None:
        """From now on each answer ends its connection, so that clients look for another service."""
        self._state.keeps_alive = False

    async def drain(self, within_s: float) -> None:
        """Refuse new requests, so that clients read why, and answer what is under way within that time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        self._access.draining = self._state.draining = True
        while self._state.tasks and loop.time() < until:
            await asyncio.wait(self._state.tasks, timeout=until - loop.time())

    async def stop(self) -> None:
        """Close, whatever is still under way."""
        if self._listener is not None:
            self._listener.close()
        for connection in self._state.limited():
            connection.shutdown()
        await self._cut()
        if self._sweeping is not None:
            self._sweeping.cancel()

    async def _cut(self) -> None:
        """End whatever is left."""
        if self._state.tasks:
            logger.warning("%d requests were not answered in time; they are cut off.", len(self._state.tasks))
        for connection in self._state.open_ones():
            connection.cut()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=LAST_WORDS_S)
        for task in self._state.tasks:
            task.cancel()
        if self._state.connections:  # what was answered last is on its way
            self._state.empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._state.empty.wait(), LAST_WORDS_S)

    def _connection(self) -> LimitedProtocol:
        return LimitedProtocol(self._state)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                self._sweep()
            except Exception:
                logger.exception("Looking after the connections failed")

    def _sweep(self) -> None:
        """What is due once a second."""
        now = asyncio.get_running_loop().time()
        self._state.standard_headers = f"date: {formatdate(time.time(), usegmt=True)}\r\n".encode()
        for connection in self._state.limited():
            connection.sweep(now)
        if self._certificate is not None:
            self._certificate.refresh()
