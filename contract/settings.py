"""Frozen settings from the environment; a bad value names itself, its value and the wanted form. Both lines."""

# ruff: noqa: RUF009  # the functions that Settings calls for its fields make fields
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from contract.errors import InvalidRequest, InvalidSetting
from contract.recipe import BEST, Recipe, change_recipe
from contract.records import GatePolicy, PrecisionChoice, RuntimeChoice, SwapChoice

T = TypeVar("T")
PREFIX = "RIPEN_"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
NO_SETTINGS = ("RIPEN_LIFELINE", "RIPEN_API_KEY", "RIPEN_CA_FILE")  # of a parent's, and of the client's


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


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _recipe(text: str) -> Recipe:
    return change_recipe(BEST, msgspec.json.decode(text, type=dict[str, object]))


def _text(default: str, parse: Callable[[str], object], wanted: str) -> Any:
    """A field that is read from text: `default` is text too, and `wanted` completes the error's "expected ..."."""
    return field(metadata={"default": default, "parse": parse, "wanted": wanted})


def _whole(default: int, low: int, high: int) -> Any:
    return _text(str(default), lambda text: _within(int(text), low, high), f"an integer {low}-{high}")


def _real(default: float, low: float, high: float) -> Any:
    return _text(str(default), lambda text: _within(float(text), low, high), f"a number {low}-{high}")


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
        swap: where two versions do not fit into the budget, `parallel` refuses the new one, `serial` stops the old one.
        watch_s: how long a version that took over is watched; 0: not at all. Needs keep_previous.
        watch_error_share: share of its answers that may be its own failures before the previous one takes over again.
        watch_slowdown: how many times the previous version's time per image it may take.
        max_batch_size: images per inference, 1-256.
        queue_size: images that may wait per version before requests are refused, 1-100000.
        batching_parameters_file: TensorFlow Serving's; its limits go before max_batch_size and queue_size.
        queue_wait_s: how long an image may have to wait, once 32 are under way, before requests are refused.
        request_timeout_s: cap on a request's time, and the time of one that names none.
        drain_timeout_s: how long a stopping service waits for its requests; a version waits request_timeout_s at least.
        load_timeout_s: how long a version may take to load and warm up.
        poll_interval_s: how often the service looks which version should be live.
        max_image_bytes, max_image_pixels: limits per image, checked before decoding.
        max_request_bytes: limit per request body or message.
        max_import_bytes: limit per imported zip file, packed and unpacked, up to 4 GiB.
        runtime: `tensorflow` or `openvino` forces one; `auto` takes OpenVINO on a CPU for versions that have it.
        precision: `f32`, `bf16` or `int8` forces one of OpenVINO's; `auto` takes the fastest whose parity passes.
        parity_flipped_share, parity_flip_distance, parity_accuracy_errors: what `auto` accepts; see docs/operations.md.
        keep_images_bytes: what the images of recent predictions may take in memory for feedback, 0 keeps none.
        engine_threads, train_threads: CPU threads of an engine (0: one per core), of a training (0: all cores but one).
        feature_cache_bytes: what the activations of frozen layers may take in `home`, 0 caches nothing.
        untrusted_share: the most of what a version learns from that may be of one contributor who is not trusted.
        lease_s: how long a claimed job stays claimed without a heartbeat.
        job_attempts: how often a job is claimed before it counts as failed.
        recipe: JSON object of recipe fields that differ from those of `best`; the default of `retrain`.
        gate_policy: `cautious`, `balanced` or `always` (docs/gate.md); the default of `retrain`.
        gate_significance: how often chance alone may look like a difference, in any of the gate's tests.
        gate_margin: share of the hold-out by which a version that counts as not inferior may be worse.
        gate_protected: slices on which no version may be worse, separated by commas; `*` stands for any text.
        gate_slice_margin: by how much a version may be worse there, for which `cautious` wants proof.
        gate_least_holdout, gate_least_slice: images from which on the hold-out, a slice is judged.
        gate_small_holdout: images below which `balanced` needs no proof that accuracy is not inferior.
        gate_resamples: of the paired bootstrap.
    """

    home: Path = _text("var", _path, "a folder")
    database_url: str = _text("sqlite:///{home}/ripen.db", str, "an SQLAlchemy URL")
    storage_url: str = _text("{home_uri}/storage", str, "a storage URL")
    host: str = _text("127.0.0.1", _host, "an IP address or localhost")
    rest_port: int = _whole(8501, 1, 65535)
    grpc_port: int = _whole(8500, 1, 65535)
    tls_cert: Path | None = _text("", _optional_path, "a PEM file")
    tls_key: Path | None = _text("", _optional_path, "a PEM file")
    behind_proxy: bool = _text("false", _boolean, "true or false")
    insecure: bool = _text("false", _boolean, "true or false")
    max_connections: int = _whole(2048, 16, 65536)
    drain_delay_s: float = _real(0.0, 0, 3600)
    keep_versions: int = _whole(10, 1, 10_000)
    memory_budget_bytes: int = _whole(0, 0, 2**50)
    keep_previous: int = _whole(1, 0, 1)
    swap: SwapChoice = _text("parallel", SwapChoice, "`parallel` or `serial`")
    watch_s: float = _real(60.0, 0, 86_400)
    watch_error_share: float = _real(0.05, 0, 1)
    watch_slowdown: float = _real(3.0, 1, 1000)
    max_batch_size: int = _whole(32, 1, 256)
    queue_size: int = _whole(512, 1, 100_000)
    queue_wait_s: float = _real(0.15, 0.01, 3600)
    batching_parameters_file: Path | None = _text("", _optional_path, "a file")
    request_timeout_s: float = _real(30.0, 0.1, 3600)
    drain_timeout_s: float = _real(20.0, 0, 3600)
    load_timeout_s: float = _real(120.0, 1, 3600)
    poll_interval_s: float = _real(0.25, 0.01, 60)
    max_image_bytes: int = _whole(10 * 2**20, 1024, 2**30)
    max_image_pixels: int = _whole(25_000_000, 1024, 2**30)
    max_request_bytes: int = _whole(64 * 2**20, 1024, 2**31 - 1)
    max_import_bytes: int = _whole(2**30, 1024, 2**32 - 1)
    runtime: RuntimeChoice = _text("auto", RuntimeChoice, "`auto`, `tensorflow` or `openvino`")
    precision: PrecisionChoice = _text("auto", PrecisionChoice, "`auto`, `f32`, `bf16` or `int8`")
    parity_flipped_share: float = _real(0.005, 0, 1)
    parity_flip_distance: float = _real(0.1, 0, 1)
    parity_accuracy_errors: float = _real(1.0, 0, 100)
    keep_images_bytes: int = _whole(64 * 2**20, 0, 2**40)
    engine_threads: int = _whole(0, 0, 1024)
    train_threads: int = _whole(0, 0, 1024)
    feature_cache_bytes: int = _whole(8 * 2**30, 0, 2**50)
    untrusted_share: float = _real(0.3, 0, 1)
    lease_s: float = _real(10.0, 0.5, 3600)
    job_attempts: int = _whole(3, 1, 100)
    recipe: Recipe = _text("{{}}", _recipe, "a JSON object of recipe fields")
    gate_policy: GatePolicy = _text("balanced", GatePolicy, "`cautious`, `balanced` or `always`")
    gate_significance: float = _real(0.05, 0.0001, 0.5)
    gate_margin: float = _real(0.02, 0, 0.5)
    gate_protected: tuple[str, ...] = _text("class:*", _names, "names separated by commas")
    gate_slice_margin: float = _real(0.1, 0, 0.5)
    gate_least_holdout: int = _whole(20, 1, 1_000_000)
    gate_least_slice: int = _whole(30, 1, 1_000_000)
    gate_small_holdout: int = _whole(1000, 1, 1_000_000)
    gate_resamples: int = _whole(2000, 100, 100_000)

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
        home = read.value("home", cls.__dataclass_fields__["home"].metadata, {})
        places = {"home": str(home), "home_uri": home.as_uri()}
        values = {one.name: read.value(one.name, one.metadata, places) for one in fields(cls)}
        read.refuse_unknown()
        settings = cls(**values)
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

    def value(self, name: str, how: Mapping[str, Any], places: Mapping[str, str]) -> Any:
        """Parse `RIPEN_<NAME>`, or its default, in which `places` may stand for folders.

        Raises:
            InvalidSetting: the value is not of the form that `how` says.
        """
        variable = PREFIX + name.upper()
        self._known.add(variable)
        text = self._environment.get(variable)
        try:
            return how["parse"](how["default"].format(**places) if text is None else text)
        except (ValueError, KeyError, InvalidRequest) as error:
            because = "" if isinstance(error, KeyError) or not str(error) else f" ({error})"
            raise InvalidSetting(f"{variable} is {text!r}; expected {how['wanted']}.{because}") from error

    def refuse_unknown(self) -> None:
        unknown = sorted(name for name in self._environment if name.startswith(PREFIX) and name not in self._known)
        unknown = [name for name in unknown if name not in NO_SETTINGS]
        if unknown:
            raise InvalidSetting(f"{unknown[0]} is not a setting; known are {', '.join(sorted(self._known))}.")
