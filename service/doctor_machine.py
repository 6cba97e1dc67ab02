"""What `ripen doctor` looks at on this machine: home, disk, ports, weights. Neither line."""

import http.client
import os
import shutil
import socket
import ssl
import tempfile
from contextlib import closing
from pathlib import Path

from contract.ports import Storage
from contract.recipe import Recipe
from contract.settings import Settings
from service.diagnosis import Wrong

RESERVE_SHARE, RESERVE_BYTES = 0.05, 2**30  # what a full disk must never eat: databases and logs need it
TIMEOUT_S = 2.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not listened on


def look_at_home(home: Path) -> str:
    """Whether files can be made there."""
    try:
        with tempfile.NamedTemporaryFile(dir=home, prefix=".doctor-"):
            return f"{home} can be written"
    except OSError as error:
        raise Wrong(
            f"{home} cannot be written ({error.strerror}).",
            "Make it, give it to the user that runs Ripen, or name another with RIPEN_HOME.",
        ) from error


def look_at_disk(home: Path, storage: Storage) -> str:
    """Whether there is room for more, beyond the reserve: in the storage, and in the home, where the database is."""
    usage = shutil.disk_usage(home)
    reserve = min(int(RESERVE_SHARE * usage.total), RESERVE_BYTES)
    left, stored = max(0, usage.free - reserve), storage.free_bytes()  # a bucket's is None, a folder's without reserve
    left = left if stored is None else min(left, stored)
    says = f"{left / 1e9:.1f} GB may still be written; the home's disk has {usage.total / 1e9:.1f} GB"
    if left == 0:
        raise Wrong(
            f"{says}; uploads are refused while only the reserve of {reserve / 1e9:.1f} GB is left.",
            "Make room: lower RIPEN_KEEP_VERSIONS, delete examples or models, or enlarge the disk.",
        )
    return says


def look_at_ports(settings: Settings) -> str:
    """Whether each port is free, or answered by our service."""
    taken = [port for port in (settings.rest_port, settings.grpc_port) if not _free(settings.host, port)]
    if not taken:
        return f"{settings.rest_port} and {settings.grpc_port} are free; no service runs here"
    if settings.rest_port in taken and _is_ours(settings):
        return f"a service answers on {settings.rest_port}"
    raise Wrong(
        f"Port {taken[0]} is taken, and not by a service of ours that answers.",
        "Stop what listens there, or choose others with RIPEN_REST_PORT and RIPEN_GRPC_PORT.",
    )


def look_at_weights(recipe: Recipe) -> str:
    """Whether the default recipe finds its first weights without a network."""
    if recipe.weights == "none" or recipe.backbone == "Compact":
        return "the recipe needs none"
    if recipe.weights not in ("auto", "imagenet"):
        return _look_at_file(Path(recipe.weights))
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
    backbone = recipe.backbone or "MobileNetV2"
    if any(_plain(backbone) in _plain(path.name) for path in folder.glob("*_no_top*")):
        return f"{backbone}'s are in {folder}"
    fallback = "; without a network Compact is trained instead" if recipe.backbone is None else ""
    says = f"{backbone}'s are not in {folder}: they are downloaded by the first job{fallback}"
    if recipe.backbone is not None:
        return f"{says}. Where there is no network, copy the *_no_top* file there."
    return says


def _look_at_file(path: Path) -> str:
    if path.is_file():
        return f"{path} is there"
    raise Wrong(f"The recipe's weights {path} are not there.", "Copy the file there, or change RIPEN_RECIPE.")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else closed connections keep it for a minute
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _is_ours(settings: Settings) -> bool:
    host = ANY_ADDRESS.get(settings.host, settings.host)
    connection = http.client.HTTPConnection(host, settings.rest_port, timeout=TIMEOUT_S)
    if settings.tls_cert is not None:
        anybody = ssl._create_unverified_context()  # noqa: S323  # nothing secret is sent: who answers is all that is asked
        connection = http.client.HTTPSConnection(host, settings.rest_port, timeout=TIMEOUT_S, context=anybody)
    with closing(connection):
        try:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            return answer.status == 200 and answer.getheader("x-request-id") is not None
        except (OSError, http.client.HTTPException):
            return False
