"""May the service listen, and keep its database, where its settings say? Before LINE A: refused at the start."""

import logging
from pathlib import Path

from contract.errors import InvalidSetting
from contract.settings import LOOPBACK, Settings
from service.keys import Keys

SQLITE = "sqlite:///"
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "afs", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs")
MOUNTS = Path("/proc/self/mounts")
logger = logging.getLogger(__name__)


def check_address(settings: Settings) -> None:
    """Refuse an address that others can reach without TLS, unless a proxy has it or nobody minds.

    Raises:
        InvalidSetting: says what to set.
    """
    reachable = settings.host not in LOOPBACK
    if reachable and settings.insecure:
        logger.warning(
            "RIPEN_INSECURE is on: whoever reaches %s may do everything, and everybody on the way reads it.",
            settings.host,
        )
    elif reachable and settings.tls_cert is None and not settings.behind_proxy:
        raise InvalidSetting(
            f"RIPEN_HOST is {settings.host}, which other machines can reach; expected TLS too: set RIPEN_TLS_CERT and "
            "RIPEN_TLS_KEY (--tls-cert, --tls-key), or RIPEN_BEHIND_PROXY=true (--behind-proxy) where a proxy ends TLS "
            "and alone reaches it. RIPEN_INSECURE=true (--insecure) does without TLS and without keys."
        )


def check_keys(settings: Settings, keys: Keys) -> None:
    """Refuse to start where keys are asked for and nobody has one.

    Raises:
        InvalidSetting: says how to make one.
    """
    if not settings.open and not keys.any_live():
        why = "RIPEN_BEHIND_PROXY is true" if settings.behind_proxy else f"RIPEN_HOST is {settings.host}"
        raise InvalidSetting(
            f"{why}, so every request needs an API key, and no live key exists; make one with "
            f"`ripen keys add --home {settings.home} --client NAME --role predict`."
        )


def check_database_place(settings: Settings, mounts: str) -> None:
    """Refuse SQLite on a network file system, whose locks do not hold what SQLite builds on: it would be corrupted.

    Args:
        mounts: what is mounted where, as Linux tells it in /proc/self/mounts.

    Raises:
        InvalidSetting: says what to set. Source: https://www.sqlite.org/howtocorrupt.html
    """
    if not settings.database_url.startswith(SQLITE):
        return
    file = Path(settings.database_url.removeprefix(SQLITE)).absolute()
    kinds = dict(line.split(" ")[1:3] for line in mounts.splitlines())
    folders = {place.replace("\\040", " "): kind for place, kind in kinds.items()}
    kind = next((folders[str(folder)] for folder in file.parents if str(folder) in folders), "")
    if kind in NETWORK_FILE_SYSTEMS:
        raise InvalidSetting(
            f"The SQLite database {file} would lie on a network file system ({kind}), where it would be corrupted; "
            "set RIPEN_HOME to a local disk, or RIPEN_DATABASE_URL to a PostgreSQL."
        )
