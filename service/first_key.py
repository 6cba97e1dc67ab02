"""`python -m service wait-for-key`: waits until there is an API key. A pod's first container; before LINE A.

A service on any address but loopback refuses to start without a key. Keys are made beside its data, which in a pod
nothing but a running container reaches: so this one runs until a key has been made in it.
"""

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from contract.errors import DatabaseUnavailable
from service.administration import Place, say

PAUSE_S = 2.0
EXIT_TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class Waiting:
    """One line of the answer."""

    state: str


def wait_for_key(place: Place, _: Sequence[str]) -> int:
    """0 as soon as there is a key that opens something; a database that is away is waited for as well."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # process 1 would ignore it otherwise
    said = ""
    while True:
        state = _state(place)
        if state != said:
            say(Waiting(state))
        if state == "ready":
            return 0
        said = state
        time.sleep(PAUSE_S)


def _state(place: Place) -> str:
    try:
        place.database.migrate()
        now = place.database.now()
        if any(key.live(now) for key in place.database.list_keys()):
            return "ready"
    except DatabaseUnavailable as error:
        return str(error)
    return "No API key yet; make one here: ripen keys add --client NAME --role ROLE"
