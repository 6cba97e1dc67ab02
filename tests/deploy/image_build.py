"""Builds images without a container engine: Debian's debootstrap makes the base, its buildah the rest. Needs root.

Everything lies below one folder, which the caller removes.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.11-slim-bookworm"  # the name in the Dockerfile's FROM
PACKAGES = "python3.11,python3.11-venv,python3-distutils,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Image:
    """A built image, mounted at `root`."""

    name: str
    root: Path
    user: str
    command: list[str]
    health_check: list[str]
    environment: dict[str, str]
    folder: str  # the working directory
    size_bytes: int


class Builder:
    """buildah with a storage of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        driver = "overlay" if _overlay_mounts(folder) else "vfs"  # vfs copies every layer whole
        places = {"driver": driver, "graphroot": folder / "storage", "runroot": folder / "run"}
        lines = [f'{name} = "{value}"' for name, value in places.items()]
        configuration = folder / "storage.conf"
        configuration.write_text("\n".join(["[storage]", *lines, ""]))
        self._environment = {
            **os.environ,
            "STORAGE_DRIVER": driver,
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_STORAGE_CONF": str(configuration),
            "TMPDIR": str(folder),
        }

    def make_base(self) -> None:
        """A stand-in for the official Python image: Debian's own Python, with an installer below /usr/local."""
        root = self._folder / "base"
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root], check=True)
        subprocess.run(["chroot", root, "python3.11", "-m", "venv", "/usr/local"], check=True)
        for leftover in ("var/cache/apt", "var/lib/apt/lists", "usr/share/python-wheels", "debootstrap"):
            shutil.rmtree(root / leftover, ignore_errors=True)
        container = self._buildah("from", "scratch")
        self._buildah("copy", container, str(root), "/")
        self._buildah("commit", "--rm", container, BASE)
        shutil.rmtree(root)

    def build(self, target: str) -> Image:
        """Build one target of the Dockerfile and mount what came out."""
        name = f"localhost/ripen-{target}"
        command = ["buildah", "build", "--format", "docker", "--layers", "--pull-never", "--target", target]
        subprocess.run([*command, "--tag", name, *self._package_index(), str(ROOT)], check=True, env=self._environment)
        return self._mounted(name)

    def _package_index(self) -> list[str]:
        """pip's settings and certificates on this machine as secrets, its local folders as volumes: none in a layer."""
        settings: dict[str, str] = {}
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
        )
        for line in listed.stdout.splitlines():
            key, _, value = line.partition("=")
            settings[key.rpartition(".")[2]] = value.strip("'")
        pip = self._folder / "pip.conf"
        pip.write_text("\n".join(["[global]", *(f"{key} = {value}" for key, value in settings.items()), ""]))
        pip.chmod(0o600)
        words = " ".join(settings.values()).replace("file://", "").split()
        folders = {str(path) for path in map(Path, words) if path.is_absolute() and path.is_dir()}
        volumes = [f"--volume={path}:{path}:ro" for path in sorted(map(_mount_point, folders))]
        return [f"--secret=id=pip.conf,src={pip}", f"--secret=id=ca-certificates,src={CERTIFICATES}", *volumes]

    def _mounted(self, name: str) -> Image:
        described: dict[str, Any] = json.loads(self._buildah("inspect", "--type", "image", name))["Docker"]["config"]
        root = Path(self._buildah("mount", self._buildah("from", "--pull-never", name)))
        du = subprocess.run(["du", "--summarize", "--bytes", root], check=True, capture_output=True, text=True)
        return Image(
            name=name,
            root=root,
            user=described["User"],
            command=described["Cmd"],
            health_check=described.get("Healthcheck", {}).get("Test", [])[1:],
            environment=dict(line.split("=", 1) for line in described["Env"]),
            folder=described["WorkingDir"],
            size_bytes=int(du.stdout.split()[0]),
        )

    def clean_up(self) -> None:
        """Unmount everything, so that the folder can be removed."""
        self._buildah("rm", "--all")
        self._buildah("rmi", "--all", "--force")

    def _buildah(self, *arguments: str) -> str:
        done = subprocess.run(
            ["buildah", *arguments], check=True, env=self._environment, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip()


def _overlay_mounts(folder: Path) -> bool:
    """Whether the kernel puts an overlay on this disk; inside another container it mostly does not."""
    lower, upper, work, merged = (folder / "overlay-try" / name for name in ("lower", "upper", "work", "merged"))
    for path in (lower, upper, work, merged):
        path.mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    done = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, merged], check=False, capture_output=True
    )
    if done.returncode == 0:
        subprocess.run(["umount", merged], check=True)
    return done.returncode == 0


def _mount_point(folder: str) -> str:
    """The folder's first two parts: an index of files may link to files beside it."""
    return "/" + "/".join(Path(folder).parts[1:3])
