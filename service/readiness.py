"""Whether the service should get requests, and when it stops. LINE A step 1.

One object that the health answers of every protocol read and that only `servers.Servers.stop` changes.
"""

import asyncio
from collections.abc import Callable


class Readiness:
    """Ready means: the watcher has looked, what should be live is, and the service is not stopping.

    Args:
        missing: what the watcher still waits for, in words, or None; asked at every health check.
    """

    def __init__(self, missing: Callable[[], str | None]) -> None:
        self._missing = missing
        self._stopping = asyncio.Event()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """From now on the service is not ready, for good."""
        self._stopping.set()

    def reason(self) -> str | None:
        """Why the service is not ready, or None if it is."""
        return "The service is stopping." if self.stopping else self._missing()

    async def stopped_within(self, seconds: float) -> bool:
        """Wait at most `seconds`; True as soon as the service stops. Long answers wait with this between two looks."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True
