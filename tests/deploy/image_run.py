"""Runs a built image's command as the image says: its own user, a read-only root, a home and a /tmp to write in."""

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from image_build import Image

HOME = "var/lib/ripen"
INSIDE = """
set -e
mount --bind "$ROOT" "$ROOT"
mount --bind "$RIPEN" "$ROOT/{home}"
mount -t tmpfs -o size=256m,mode=1777 tmpfs "$ROOT/tmp"
mount -t proc proc "$ROOT/proc"
mount --bind /dev "$ROOT/dev"
mount -o remount,bind,ro "$ROOT"
exec setpriv --no-new-privs chroot --userspec={user} "$ROOT" \\
  /usr/bin/env --ignore-environment --chdir={folder} {command}
"""


def command(image: Image, arguments: Sequence[str], **settings: object) -> list[str]:
    """What runs `arguments` in the image; the mounts are its own and end with it."""
    variables = {**image.environment, **{name: str(value) for name, value in settings.items()}}
    words = [*(f"{name}={value}" for name, value in variables.items()), *arguments]
    script = INSIDE.format(home=HOME, user=image.user, folder=image.folder, command=shlex.join(words))
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


def outside(image: Image, home: Path) -> dict[str, str]:
    """The variables that `command` needs; `home` becomes the image's data folder."""
    return {**os.environ, "ROOT": str(image.root), "RIPEN": str(home)}


def run(image: Image, home: Path, *arguments: str, **settings: object) -> "subprocess.CompletedProcess[str]":
    """Run to the end."""
    return subprocess.run(
        command(image, arguments, **settings), env=outside(image, home), check=False, capture_output=True, text=True
    )


@contextmanager
def started(image: Image, home: Path, **settings: object) -> Iterator["subprocess.Popen[str]"]:
    """The image's own command, until the end of the block; SIGTERM must end it with status 0."""
    process = subprocess.Popen(
        command(image, image.command, RIPEN_LIFELINE=1, **settings),
        env=outside(image, home),
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        process.terminate()
        assert process.wait(60) == 0, process.returncode
    finally:
        process.kill()
        process.wait()
