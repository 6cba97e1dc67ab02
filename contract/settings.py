"""Frozen settings from the environment; a bad value names itself, its value and the wanted form. Both lines."""

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from contract.errors import InvalidRequest, InvalidSetting
from contract.recipe import Recipe, change_recipe
from contract.records import GatePolicy

T = TypeVar("T")
PREFIX = "RIPEN_"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
NO_SETTINGS = ("RIPEN_LIFELINE", "RIPEN_API_KEY", "RIPEN_CA_FILE")  # of a parent's, and of the client's


@dataclass(frozen=True)
class Settings:
    """Everything that may be set. Each field is read from `RIPEN_<FIELD>`; README lists them.

    Attributes:
        home: folder that holds all state of the embedded defaults.
        database_url: SQLAlchemy URL; default SQLite in `home`.
        storage_url: object storage URL (`file:///...`, `s3://...`, `gs://...`, `az://...`); default a folder in `home`.
        host: address to listen on; any other than loopback needs keys and TLS, or a proxy in front, or `insecure`.
        rest_port, grpc_port: 1-65535.
        tls_cert, tls_key: PEM files for both ports, read again when they change; both or none.
        behind_proxy: a proxy in front ends TLS and is the only one that reaches the ports; keys are asked for.
        insecure: neither keys nor TLS, on any address.
        max_connections: open connections per port, 16-65536; above it the REST port closes the longest idle one.
        drain_delay_s: how long a stopping service that already says "not ready" still takes new requests.
        keep_versions: newest versions per model whose files stay, 1-10000; live, previous and pinned ones stay anyway.
        memory_budget_bytes: what all engines together may take (0: three quarters of this machine's or container's).
        keep_previous: how many earlier live versions stay warm, 0 or 1.
        max_batch_size: images per inference, 1-256.
        queue_size: images that may wait per version before requests are refused, 1-100000.
        request_timeout_s: cap on a request's time, and the time of one that names none.
        drain_timeout_s: how long a stopping service waits for its requests; a version waits request_timeout_s at least.
        load_timeout_s: how long a version may take to load and warm up.
        poll_interval_s: how often the service looks which version should be live.
        max_image_bytes, max_image_pixels: limits per image, checked before decoding.
        max_request_bytes: limit per request body or message.
        max_import_bytes: limit per imported zip file, packed and unpacked, up to 4 GiB.
        engine_threads, train_threads: CPU threads of an engine (0: one per core), of a training (0: all cores but one).
        lease_s: how long a claimed job stays claimed without a heartbeat.
        job_attempts: how often a job is claimed before it counts as failed.
        recipe: JSON object of recipe fields that differ from the guide's; the default of `retrain`.
        gate_policy: `not_worse` or `always`; the default of `retrain`.
    """

    home: Path
    database_url: str
    storage_url: str
    host: str
    rest_port: int
    grpc_port: int
    tls_cert: Path | None
    tls_key: Path | None
    behind_proxy: bool
    insecure: bool
    max_connections: int
    drain_delay_s: float
    keep_versions: int
    memory_budget_bytes: int
    keep_previous: int
    max_batch_size: int
    queue_size: int
    request_timeout_s: float
    drain_timeout_s: float
    load_timeout_s: float
    poll_interval_s: float
    max_image_bytes: int
    max_image_pixels: int
    max_request_bytes: int
    max_import_bytes: int
    engine_threads: int
    train_threads: int
    lease_s: float
    job_attempts: int
    recipe: Recipe
    gate_policy: GatePolicy

    @property
    def open(self) -> bool:
        """Whether everybody who reaches the ports may do everything: on loopback without a proxy, or by `insecure`."""
        return self.insecure or (self.host in LOOPBACK and not self.behind_proxy)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read and check every setting.

        Raises:
            InvalidSetting: a value that cannot be used, or an unknown `RIPEN_` variable.
        """
        read = _Reader(environment)
        home = read.value("HOME", "var", _path, "a folder")
        settings = cls(
            home=home,
            database_url=read.value("DATABASE_URL", f"sqlite:///{home}/ripen.db", str, "an SQLAlchemy URL"),
            storage_url=read.value("STORAGE_URL", (home / "storage").as_uri(), str, "a storage URL"),
            host=read.value("HOST", "127.0.0.1", _host, "an IP address or localhost"),
            rest_port=read.whole("REST_PORT", 8501, 1, 65535),
            grpc_port=read.whole("GRPC_PORT", 8500, 1, 65535),
            tls_cert=read.value("TLS_CERT", "", _optional_path, "a PEM file"),
            tls_key=read.value("TLS_KEY", "", _optional_path, "a PEM file"),
            behind_proxy=read.value("BEHIND_PROXY", "false", _boolean, "true or false"),
            insecure=read.value("INSECURE", "false", _boolean, "true or false"),
            max_connections=read.whole("MAX_CONNECTIONS", 2048, 16, 65536),
            drain_delay_s=read.real("DRAIN_DELAY_S", 0.0, 0, 3600),
            keep_versions=read.whole("KEEP_VERSIONS", 10, 1, 10_000),
            memory_budget_bytes=read.whole("MEMORY_BUDGET_BYTES", 0, 0, 2**50),
            keep_previous=read.whole("KEEP_PREVIOUS", 1, 0, 1),
            max_batch_size=read.whole("MAX_BATCH_SIZE", 32, 1, 256),
            queue_size=read.whole("QUEUE_SIZE", 512, 1, 100_000),
            request_timeout_s=read.real("REQUEST_TIMEOUT_S", 30.0, 0.1, 3600),
            drain_timeout_s=read.real("DRAIN_TIMEOUT_S", 20.0, 0, 3600),
            load_timeout_s=read.real("LOAD_TIMEOUT_S", 120.0, 1, 3600),
            poll_interval_s=read.real("POLL_INTERVAL_S", 0.25, 0.01, 60),
            max_image_bytes=read.whole("MAX_IMAGE_BYTES", 10 * 2**20, 1024, 2**30),
            max_image_pixels=read.whole("MAX_IMAGE_PIXELS", 25_000_000, 1024, 2**30),
            max_request_bytes=read.whole("MAX_REQUEST_BYTES", 64 * 2**20, 1024, 2**31 - 1),
            max_import_bytes=read.whole("MAX_IMPORT_BYTES", 2**30, 1024, 2**32 - 1),
            engine_threads=read.whole("ENGINE_THREADS", 0, 0, 1024),
            train_threads=read.whole("TRAIN_THREADS", 0, 0, 1024),
            lease_s=read.real("LEASE_S", 10.0, 0.5, 3600),
            job_attempts=read.whole("JOB_ATTEMPTS", 3, 1, 100),
            recipe=read.value("RECIPE", "{}", _recipe, "a JSON object of recipe fields"),
            gate_policy=read.value("GATE_POLICY", "not_worse", GatePolicy, "`not_worse` or `always`"),
        )
        read.refuse_unknown()
        settings._check_together()
        return settings

    def _check_together(self) -> None:
        if self.rest_port == self.grpc_port:
            raise InvalidSetting(f"RIPEN_REST_PORT and RIPEN_GRPC_PORT are both {self.rest_port}; expected two.")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidSetting("Only one of RIPEN_TLS_CERT and RIPEN_TLS_KEY is set; expected both or none.")


class _Reader:
    """Takes values out of the environment and remembers which names are known."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._known: set[str] = set()

    def value(self, name: str, default: str, parse: Callable[[str], T], wanted: str) -> T:
        """Parse `RIPEN_<name>`, or its default; `wanted` completes the error's "expected ...".

        Raises:
            InvalidSetting: `parse` raised.
        """
        self._known.add(PREFIX + name)
        text = self._environment.get(PREFIX + name, default)
        try:
            return parse(text)
        except (ValueError, KeyError, InvalidRequest) as error:
            because = "" if isinstance(error, KeyError) or not str(error) else f" ({error})"
            raise InvalidSetting(f"{PREFIX}{name} is {text!r}; expected {wanted}.{because}") from error

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        return self.value(name, str(default), lambda text: _within(int(text), low, high), f"an integer {low}-{high}")

    def real(self, name: str, default: float, low: float, high: float) -> float:
        return self.value(name, str(default), lambda text: _within(float(text), low, high), f"a number {low}-{high}")

    def refuse_unknown(self) -> None:
        unknown = sorted(name for name in self._environment if name.startswith(PREFIX) and name not in self._known)
        unknown = [name for name in unknown if name not in NO_SETTINGS]
        if unknown:
            raise InvalidSetting(f"{unknown[0]} is not a setting; known are {', '.join(sorted(self._known))}.")


def _within(number: T, low: float, high: float) -> T:
    if not low <= number <= high:  # type: ignore[operator]  # T is int or float here; NaN fails the comparison too
        raise ValueError
    return number


def _path(text: str) -> Path:
    if not text:
        raise ValueError
    return Path(text).expanduser().resolve()


def _optional_path(text: str) -> Path | None:
    return _path(text) if text else None


def _boolean(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _host(text: str) -> str:
    return text if text in LOOPBACK else str(ipaddress.ip_address(text))


def _recipe(text: str) -> Recipe:
    return change_recipe(Recipe(), msgspec.json.decode(text, type=dict[str, object]))
