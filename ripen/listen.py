"""Where `ripen up` lets the service listen, and how it reaches it there itself. Neither line."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from ssl import SSLContext
from typing import ParamSpec, TypeVar

import click

from ripen.credentials import KEY_VARIABLE, trust_only
from ripen.errors import CannotStart

P = ParamSpec("P")
R = TypeVar("R")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # read here, bound by the service
NEEDED_ROLES = ("admin", "label", "observe", "train")  # by the first start; later ones read only
PORT = click.IntRange(1, 65535)
PEM = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)


@dataclass(frozen=True)
class Listen:
    """The options of `ripen up` that are settings of the service."""

    host: str
    rest_port: int
    grpc_port: int
    tls_cert: Path | None
    tls_key: Path | None
    behind_proxy: bool
    insecure: bool

    @property
    def settings(self) -> dict[str, str]:
        """As the service reads them from its environment."""
        files = {"RIPEN_TLS_CERT": self.tls_cert, "RIPEN_TLS_KEY": self.tls_key}
        return {
            "RIPEN_HOST": self.host,
            "RIPEN_REST_PORT": str(self.rest_port),
            "RIPEN_GRPC_PORT": str(self.grpc_port),
            "RIPEN_BEHIND_PROXY": str(self.behind_proxy).lower(),
            "RIPEN_INSECURE": str(self.insecure).lower(),
            **{name: str(file) for name, file in files.items() if file is not None},
        }

    @property
    def own_host(self) -> str:
        """Where this machine reaches it."""
        return EVERYWHERE.get(self.host, self.host)

    @property
    def rest_url(self) -> str:
        return f"{'https' if self.tls_cert else 'http'}://{self._bracketed}:{self.rest_port}"

    @property
    def grpc_address(self) -> str:
        return f"{self._bracketed}:{self.grpc_port}"

    @property
    def wants_keys(self) -> bool:
        """Whether the service asks for API keys there."""
        return not self.insecure and (self.behind_proxy or self.host not in LOOPBACK)

    @property
    def trust(self) -> SSLContext | None:
        """Exactly the service's own certificate, which need not name the address that `up` asks."""
        return trust_only(self.tls_cert) if self.tls_cert else None

    @property
    def _bracketed(self) -> str:
        return f"[{self.own_host}]" if ":" in self.own_host else self.own_host

    def check_key(self, home: Path) -> None:
        """Refuse to start where the service will ask for a key and there is none for `up` itself.

        Raises:
            CannotStart: says how to make one.
        """
        may_start = self.tls_cert is not None or self.behind_proxy  # else the service refuses, and says why
        if self.wants_keys and may_start and not os.environ.get(KEY_VARIABLE):
            roles = " ".join(f"--role {role}" for role in NEEDED_ROLES)
            raise CannotStart(
                f"The service will ask for API keys, and {KEY_VARIABLE} has none for `ripen up` itself; "
                f"make one with: export {KEY_VARIABLE}=$(ripen keys add --home {home} --client up {roles})"
            )

    def refuse_taken_port(self) -> None:
        """Refuse to go on where something answers already: it would be taken for the service that is being started.

        Raises:
            CannotStart: names the port.
        """
        with suppress(OSError), socket.create_connection((self.own_host, self.rest_port), timeout=1):
            raise CannotStart(
                f"Port {self.rest_port} is taken by another process; stop that one, "
                "or choose another port with --rest-port (RIPEN_REST_PORT)."
            )


OPTIONS = (
    click.option("--host", default="127.0.0.1", envvar="RIPEN_HOST", show_default=True, help="Address to listen on."),
    click.option("--rest-port", type=PORT, default=8501, envvar="RIPEN_REST_PORT", show_default=True),
    click.option("--grpc-port", type=PORT, default=8500, envvar="RIPEN_GRPC_PORT", show_default=True),
    click.option("--tls-cert", type=PEM, envvar="RIPEN_TLS_CERT", help="Certificate for both ports, in PEM."),
    click.option("--tls-key", type=PEM, envvar="RIPEN_TLS_KEY", help="Its key, in PEM."),
    click.option("--behind-proxy", is_flag=True, envvar="RIPEN_BEHIND_PROXY", help="A proxy in front ends TLS."),
    click.option("--insecure", is_flag=True, envvar="RIPEN_INSECURE", help="Neither keys nor TLS, on any address."),
)


def listen_options(command: Callable[P, R]) -> Callable[P, R]:
    """Add the options; the command gets them as one, `listen`."""

    @wraps(command)
    def wrapped(*arguments: P.args, **options: P.kwargs) -> R:
        options["listen"] = Listen(**{name: options.pop(name) for name in Listen.__dataclass_fields__})  # type: ignore[arg-type]  # click has checked them
        return command(*arguments, **options)

    for option in reversed(OPTIONS):
        wrapped = option(wrapped)
    return wrapped
