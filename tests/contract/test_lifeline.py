"""contract.lifeline: a child ends when its parent does, also by kill -9."""

import os
import signal
import subprocess
import sys

CHILD = "import os, time; from contract import lifeline; lifeline.watch(lambda: os._exit(7)); time.sleep(60)"
PARENT = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=subprocess.PIPE, env={{**os.environ, "RIPEN_LIFELINE": "1"}})
print(child.pid, flush=True)
time.sleep(60)
"""  # noqa: E501  # the program of a process


def test_a_child_outlives_no_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        handle = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    import select

    readable, _, _ = select.select([handle], [], [], 10)
    os.close(handle)
    assert readable, "the child is still there"


def test_a_process_without_a_lifeline_is_left_alone() -> None:
    program = CHILD.replace("time.sleep(60)", "print('alive')")
    environment = {name: value for name, value in os.environ.items() if name != "RIPEN_LIFELINE"}
    output = subprocess.check_output([sys.executable, "-c", program], stdin=subprocess.DEVNULL, env=environment)
    assert output == b"alive\n"
