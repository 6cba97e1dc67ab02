"""Whether a client takes its answer: the kernel's own counters say so. LINE A step 1.

2 MB of an answer can wait in the kernel for a client that reads nothing, while Python sees an idle connection.
"""

import fcntl
import socket
import struct
import termios
from dataclasses import dataclass

READER_S, READER_BYTES_PER_S = 10.0, 1024  # how long an answer may not move at all, and how fast it must after that


@dataclass(frozen=True)
class _Reading:
    """A moment when bytes waited for the client, and how many it had taken by then."""

    since: float
    taken: int
    waiting: int


class AnswerReader:
    """The client's end of one connection."""

    def __init__(self, kernel: socket.socket) -> None:
        self._kernel = kernel
        self._reading: _Reading | None = None

    def too_slow(self, now: float) -> bool:
        """Whether what waited for the client at some moment still does, though there was time to take it."""
        waiting = bytes_on_their_way(self._kernel)
        if not waiting:
            self._reading = None
            return False
        taken, _ = kernel_counters(self._kernel)
        if self._reading is None or taken >= self._reading.taken + self._reading.waiting:
            self._reading = _Reading(now, taken, waiting)
        wanted = READER_BYTES_PER_S * (now - self._reading.since - READER_S)
        return taken - self._reading.taken < wanted


def bytes_on_their_way(kernel: socket.socket) -> int:
    """What was sent and the client has not taken (SIOCOUTQ of tcp(7))."""
    if kernel.fileno() < 0:
        return 0
    waiting: int = struct.unpack("i", fcntl.ioctl(kernel.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return waiting


def kernel_counters(kernel: socket.socket) -> tuple[int, int]:
    """How many bytes the client has taken and sent since it connected.

    Source: struct tcp_info of linux/tcp.h: tcpi_bytes_acked at 120, tcpi_bytes_received at 128.
    """
    if kernel.fileno() < 0:
        return 0, 0
    taken, came = struct.unpack_from("QQ", kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136), 120)
    return taken, came
