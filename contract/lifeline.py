"""End this process when the one that started it goes, however it went. Both lines: no orphan keeps a port or a job.

The parent starts the child with `stdin=PIPE` and `LIFELINE` in the environment, and never writes: the kernel closes
the pipe when the parent dies, also by `kill -9`.
"""

import os
import sys
import threading
from collections.abc import Callable

LIFELINE = "RIPEN_LIFELINE"


def watch(on_parent_gone: Callable[[], None]) -> None:
    """Call `on_parent_gone` from a daemon thread once the parent's end of stdin is closed.

    Does nothing in a process that was not started with `LIFELINE=1` in its environment.
    """
    if os.environ.pop(LIFELINE, "") != "1":
        return
    threading.Thread(target=_wait, args=(on_parent_gone,), name="lifeline", daemon=True).start()


def _wait(on_parent_gone: Callable[[], None]) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    on_parent_gone()
