"""A process that gives way: real processes that count as fast as they may."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from serving_fakes import until

from service.engine_priority import giving_way

SPIN = "while True: pass"
ORPHAN = """
import subprocess, sys
child = "from service.engine_priority import end_with_parent; end_with_parent(); print(1, flush=True); input()"
process = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
sys.stdin.read()
"""


def state(pid: int) -> str:
    """`R`, `S`, `T` (stopped), `Z`; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_a_process_pauses_only_while_others_are_busy_and_never_stays_paused() -> None:
    async def story(pid: int) -> None:
        busy = False
        asked, last_asked, clock = 0, 0.0, asyncio.get_running_loop().time

        def ask() -> bool:
            nonlocal asked, last_asked
            asked, last_asked = asked + 1, clock()
            return busy

        async with giving_way(pid, ask, most_s=60):
            await until(lambda: asked > 5)
            assert state(pid) == "R"
            busy = True
            await until(lambda: state(pid) == "T")
            await until(lambda: state(pid) == "R")  # and goes on in between
            await until(lambda: state(pid) == "T")
        assert state(pid) != "T"
        async with giving_way(pid, ask, most_s=0.05):
            await until(lambda: state(pid) == "T")
            await until(lambda: clock() > last_asked + 0.5)  # its time is over: nobody asks any more
            assert state(pid) == "R"
        async with giving_way(pid, ask, most_s=60):
            await until(lambda: state(pid) == "T")
            os.kill(pid, signal.SIGKILL)
            await until(lambda: state(pid) in ("Z", ""))

    process = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        asyncio.run(story(process.pid))
    finally:
        process.kill()
        process.wait()


def test_a_process_that_is_paused_when_its_parent_dies_dies_too() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, signal.SIGSTOP)
    parent.kill()
    parent.communicate()

    asyncio.run(until(lambda: state(child) in ("Z", "")))
