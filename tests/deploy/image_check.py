"""`make image-check`: builds `service` and `retrain`, looks into them, and lets them live one whole story.

Needs root, Debian's debootstrap and buildah, about 10 GB of disk (40 without overlay mounts) and 10 minutes.
"""

import os
import shutil
import socket
import ssl
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import httpx
import image_run
import orchard
import trustme
from image_build import Builder, Image

T = TypeVar("T")
USER = 10001
GONE = {"pip", "pip3", "gcc", "cc", "g++", "make", "ld", "hatchling", "uv", "pytest", "mypy"}
WRITABLE = ("var/lib/ripen", "tmp", "var/tmp", "run/lock", "dev", "proc", "sys")
SECRETS = ("etc/pip.conf", "root/.config", "root/.cache", "root/.netrc", "run/secrets", "tmp")
DEADLINE_S = 300.0


def main() -> int:
    """Build, look, run; the first thing that is wrong ends it."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("debootstrap", "buildah", "setpriv", "unshare"))):
        print("Needs root and Debian's packages debootstrap and buildah.", file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="ripen-images-"))
    builder = Builder(folder)
    try:
        report("base", builder.make_base)
        service = report("service built", lambda: builder.build("service"))
        retrain = report("retrain built", lambda: builder.build("retrain"))
        for image in (service, retrain):
            look(image)
        report("whole story", lambda: live(service, retrain, folder))
    finally:
        builder.clean_up()
        shutil.rmtree(folder)
    return 0


def report(what: str, work: Callable[[], T]) -> T:
    """Do `work` and say how long it took."""
    began = time.monotonic()
    result = work()
    print(f"== {what}: {time.monotonic() - began:.0f} s", flush=True)
    return result


def look(image: Image) -> None:
    """Nothing in it that it does not need, nothing that its user may change."""
    root = image.root
    print(f"== {image.name}: {image.size_bytes / 2**20:.0f} MiB unpacked", flush=True)
    assert image.user == f"{USER}:{USER}", image.user
    folders = [root / folder for folder in ("opt/ripen/bin", "usr/local/bin", "usr/bin", "usr/sbin")]
    assert not {path.name for folder in folders for path in folder.iterdir()} & GONE
    assert not [
        path for name in ("pip", "ensurepip", "hatchling", "pytest") for path in root.rglob(f"**/{name}/__init__.py")
    ]
    assert not [name for name in SECRETS if filled(root / name)]
    assert not [path for path in (root / "opt").iterdir() if path.name != "ripen" and filled(path)]
    assert not [path for path in entries(root) if changeable(path)]


def filled(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.is_file() and path.stat().st_size > 0


def entries(root: Path) -> Iterator[Path]:
    """Every file and folder but those that are there to be written."""
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = [name for name in folders if str((here / name).relative_to(root)) not in WRITABLE]
        yield from (here / name for name in [*folders, *files])


def changeable(path: Path) -> bool:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return False
    return USER in (status.st_uid, status.st_gid) or bool(status.st_mode & stat.S_IWOTH)


def live(service: Image, retrain: Image, folder: Path) -> None:
    """With a key and TLS, the service comes up, the worker trains a version on request, the service answers with it."""
    home = folder / "home"
    home.mkdir()
    orchard.plant(home).database.close()
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(home / "tls.pem"))
    for path in (home, *home.rglob("*")):
        os.chown(path, USER, USER)
    refused(service, home)
    roles = [part for role in ("predict", "train", "observe") for part in ("--role", role)]
    made = image_run.run(service, home, "ripen", "keys", "add", "--client", "check", *roles)
    assert made.returncode == 0, made.stderr
    settings = {
        "RIPEN_REST_PORT": free_port(),
        "RIPEN_GRPC_PORT": free_port(),
        "RIPEN_TLS_CERT": f"/{image_run.HOME}/tls.pem",
        "RIPEN_TLS_KEY": f"/{image_run.HOME}/tls.pem",
        "RIPEN_BEHIND_PROXY": "true",  # asks for keys on loopback too
    }
    with (
        image_run.started(service, home, **settings),
        image_run.started(retrain, home),
        httpx.Client(
            base_url=f"https://127.0.0.1:{settings['RIPEN_REST_PORT']}",
            headers={"Authorization": f"Bearer {made.stdout.strip()}"},
            verify=trusting(authority),
            timeout=30,
        ) as client,
    ):
        wait_until(lambda: client.get("/readyz").status_code == 200)
        health = image_run.run(service, home, *service.health_check, **settings)
        assert health.returncode == 0, health.stderr
        tell(client)


def tell(client: httpx.Client) -> None:
    """A retrain and what its version answers."""
    answer = client.post("/api/v1/retrain", json={"recipe": asdict(orchard.TINY)})
    assert answer.status_code == 202, answer.text
    wait_until(lambda: predict(client, "apple") is not None)
    assert (predict(client, "apple"), predict(client, "orange")) == ("apple", "orange")


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def refused(service: Image, home: Path) -> None:
    """Away from loopback it starts only with keys, and TLS or a proxy: the image sets nothing that says otherwise."""
    done = image_run.run(service, home, *service.command, RIPEN_HOST="0.0.0.0")
    assert done.returncode == 78, done.stderr
    print(f"== without keys and TLS: {done.stderr.strip()}")


def predict(client: httpx.Client, label: str) -> str | None:
    answer = client.post(
        "/api/v1/predict", content=orchard.picture(label, 9999), headers={"Content-Type": "image/jpeg"}
    )
    return answer.json()["predictions"][0]["label"] if answer.status_code == 200 else None


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < until
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
