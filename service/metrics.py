"""What Prometheus sees of the service. Both lines: every step of LINE A and the swap of LINE B leave a number here.

Label values are bounded: callers pass models and codes from closed sets. Histograms have fixed buckets, because online
quantiles cost a third of the throughput elsewhere (Triton server issue 8561).
"""

import platform
from collections.abc import Callable
from importlib.metadata import version as package_version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from contract.ports import Database
from contract.records import VersionState
from service.database_metrics import DatabaseMetrics
from service.histograms import LoopHistogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LOAD_SECONDS = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
COUNTED_VERSIONS = 20  # unloaded versions whose requests are still counted
SCORES = tuple(step / 20 for step in range(1, 21))


class Metrics:
    """All metrics, on a registry of their own.

    Args:
        database: asked for examples, jobs and versions at every scrape; None leaves those out.
    """

    def __init__(self, database: Database | None = None) -> None:
        self._registry = registry = CollectorRegistry()
        self._unloaded: dict[tuple[str, str], None] = {}  # model and version, the one unloaded last at the end
        self._define_requests(registry)
        self._define_versions(registry)
        self._define_engines(registry)
        self._request_series: dict[tuple[str, ...], Counter] = {}  # found again: the library's look-up costs more
        self._define_feedback(registry)
        build = Gauge("ripen_build_info", "Constant 1.", ["version", "python"], registry=registry)
        build.labels(package_version("ripen"), platform.python_version()).set(1)
        ProcessCollector(registry=registry)  # processor time, memory and open files of the front process
        if database is not None:
            registry.register(DatabaseMetrics(database))

    def _define_requests(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "ripen_requests_total",
            "Requests answered.",
            ["protocol", "method", "model", "version", "code"],
            registry=registry,
        )
        self._request_seconds = LoopHistogram(
            "ripen_request_seconds",
            "Whole time of a request, failed ones too.",
            ["protocol", "method"],
            buckets=SECONDS,
            registry=registry,
        )
        self._phase_seconds = LoopHistogram(
            "ripen_phase_seconds",
            "Time of one phase: queue per image, decode and infer per batch.",
            ["phase"],
            buckets=SECONDS,
            registry=registry,
        )
        self._batch_size = LoopHistogram(
            "ripen_batch_size", "Images per batch.", [], buckets=BATCH_SIZES, registry=registry
        )
        self._in_flight = Gauge("ripen_requests_in_flight", "Predictions that are being made.", registry=registry)
        self._rejected = Counter(
            "ripen_rejected_total", "Requests given up, by error code.", ["reason"], registry=registry
        )

    def _define_engines(self, registry: CollectorRegistry) -> None:
        which = ["model", "version"]
        self._memory_budget = Gauge(
            "ripen_memory_budget_bytes", "What all engines together may take.", registry=registry
        )
        self._engine_memory = Gauge(
            "ripen_engine_memory_bytes", "Memory of an engine's own; none: it sleeps.", which, registry=registry
        )
        self._engine_shared_memory = Gauge(
            "ripen_engine_shared_memory_bytes", "Code that all engines share.", registry=registry
        )
        self._engine_runtime = Gauge(
            "ripen_engine_runtime", "1 for what the version's engine runs on.", [*which, "runtime"], registry=registry
        )
        self._engine_sleeps = Counter(
            "ripen_engine_sleeps_total", "Engines stopped to save memory.", ["model"], registry=registry
        )

    def _define_versions(self, registry: CollectorRegistry) -> None:
        which = ["model", "version"]
        self._queue_depth = Gauge("ripen_queue_depth", "Images that wait for the engine.", which, registry=registry)
        self._version_state = Gauge(
            "ripen_version_state", "1 for the state that a version is in.", [*which, "state"], registry=registry
        )
        self._live_version = Gauge("ripen_live_version", "The version that answers.", ["model"], registry=registry)
        self._swaps = Counter("ripen_swaps_total", "Live versions replaced.", ["model"], registry=registry)
        self._serial_swaps = Counter(
            "ripen_serial_swaps_total",
            "Live versions stopped before the next one was loaded, for lack of memory.",
            ["model"],
            registry=registry,
        )
        self._automatic_rollbacks = Counter(
            "ripen_automatic_rollbacks_total",
            "New live versions that the service itself replaced by the one before.",
            ["model"],
            registry=registry,
        )
        self._load_seconds = Histogram(
            "ripen_load_seconds",
            "Time from start to available of a version that loaded.",
            buckets=LOAD_SECONDS,
            registry=registry,
        )
        self._engine_restarts = Counter(
            "ripen_engine_restarts_total", "Engine processes that ended unasked.", which, registry=registry
        )
        self._score = LoopHistogram("ripen_score", "Answered probabilities.", which, buckets=SCORES, registry=registry)

    def _define_feedback(self, registry: CollectorRegistry) -> None:
        self._kept_images = Gauge("ripen_kept_images", "Images of recent predictions in memory.", registry=registry)
        self._kept_bytes = Gauge("ripen_kept_images_bytes", "What they take.", registry=registry)
        self._feedback = Counter(
            "ripen_feedback_total",
            "Predictions that people have judged; said: confirmed or corrected.",
            ["model", "said"],
            registry=registry,
        )

    def expose(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def observe_request(
        self, *, protocol: str, method: str, model: str, version: int | None, code: str, seconds: float
    ) -> None:
        """Count one answered request. Called once per request by its protocol.

        Args:
            protocol, method, code: from closed sets.
            model: a known model, or `unknown`.
            version: the version that answered; None where none did.
            seconds: from the first byte to the answer.
        """
        labels = (protocol, method, model, "" if version is None else str(version), code)
        series = self._request_series.get(labels)
        if series is None:
            series = self._request_series[labels] = self._requests.labels(*labels)
        series.inc()
        self._request_seconds.of(protocol, method).observe(seconds)

    def observe_phase(self, phase: str, seconds: float) -> None:
        """`phase` is queue, decode or infer."""
        self._phase_seconds.of(phase).observe(seconds)

    def observe_batch(self, size: int) -> None:
        """Count a batch by how many of its images reached the runtime, if any did."""
        if size:
            self._batch_size.of().observe(size)

    def observe_score(self, model: str, version: int, probability: float) -> None:
        self._score.of(model, str(version)).observe(probability)

    def observe_load(self, seconds: float) -> None:
        self._load_seconds.observe(seconds)

    def watch_queue_depth(self, model: str, version: int, images: Callable[[], float]) -> None:
        """Ask for a queue's length at every scrape, instead of being told of every change."""
        self._queue_depth.labels(model, str(version)).set_function(images)

    def watch_in_flight(self, requests: Callable[[], float]) -> None:
        """Ask at every scrape how many predictions are being made."""
        self._in_flight.set_function(requests)

    def watch_kept_images(self, count: Callable[[], float], size_bytes: Callable[[], float]) -> None:
        """Ask at every scrape how many images of predictions are kept, and how large they are together."""
        self._kept_images.set_function(count)
        self._kept_bytes.set_function(size_bytes)

    def count_feedback(self, model: str, *, confirmed: bool) -> None:
        """`model` is known; `confirmed`: the prediction was right."""
        self._feedback.labels(model, "confirmed" if confirmed else "corrected").inc()

    def count_rejection(self, reason: str) -> None:
        """`reason` is the code of an error class."""
        self._rejected.labels(reason).inc()

    def count_engine_restart(self, model: str, version: int) -> None:
        self._engine_restarts.labels(model, str(version)).inc()

    def set_engine_runtime(self, model: str, version: int, runtime: str) -> None:
        """`runtime` is `<runtime>-<precision>`."""
        self._engine_runtime.remove_by_labels({"model": model, "version": str(version)})
        self._engine_runtime.labels(model, str(version), runtime).set(1)

    def set_memory_budget(self, size_bytes: int) -> None:
        self._memory_budget.set(size_bytes)

    def set_engine_memory(self, model: str, version: int, size_bytes: int | None) -> None:
        """None: the version has no engine now."""
        if size_bytes is None:
            self._engine_memory.remove(model, str(version))
        else:
            self._engine_memory.labels(model, str(version)).set(size_bytes)

    def set_engine_shared_memory(self, size_bytes: int) -> None:
        self._engine_shared_memory.set(size_bytes)

    def count_engine_sleep(self, model: str) -> None:
        self._engine_sleeps.labels(model).inc()

    def set_version_state(self, model: str, version: int, state: VersionState) -> None:
        """Set the version's series: 1 for `state`, 0 for the others."""
        for each in VersionState:
            self._version_state.labels(model, str(version), each.value).set(each is state)

    def set_live_version(self, model: str, version: int | None, *, swapped: bool) -> None:
        """Say which version answers now; `swapped` counts it as taking over from another."""
        if version is None:
            self._live_version.remove(model)
        else:
            self._live_version.labels(model).set(version)
        if swapped:
            self._swaps.labels(model).inc()

    def count_serial_swap(self, model: str) -> None:
        self._serial_swaps.labels(model).inc()

    def count_automatic_rollback(self, model: str) -> None:
        self._automatic_rollbacks.labels(model).inc()

    def forget_version(self, model: str, version: int, *, keep_state: bool) -> None:
        """Drop the series of a version that is no longer loaded; `keep_state` keeps why it is not."""
        self._queue_depth.remove(model, str(version))
        self._engine_runtime.remove_by_labels({"model": model, "version": str(version)})
        self._score.remove(model, str(version))
        self._forget_oldest_counts((model, str(version)))
        self._request_series.clear()
        if not keep_state:
            for state in VersionState:
                self._version_state.remove(model, str(version), state.value)

    def forget_model(self, model: str) -> None:
        """Drop every series of a model that was deleted."""
        self._unloaded = {key: None for key in self._unloaded if key[0] != model}
        for metric in (
            *(
                self._requests,
                self._queue_depth,
                self._engine_runtime,
                self._version_state,
                self._live_version,
                self._swaps,
            ),
            *(self._engine_restarts, self._engine_memory, self._engine_sleeps, self._score),
            *(self._serial_swaps, self._automatic_rollbacks, self._feedback),
        ):
            metric.remove_by_labels({"model": model})
        self._request_series.clear()

    def _forget_oldest_counts(self, unloaded: tuple[str, str]) -> None:
        """Keep the counts of the versions unloaded last: they are the story; of all versions ever, they are a leak."""
        self._unloaded.pop(unloaded, None)
        self._unloaded[unloaded] = None
        if len(self._unloaded) > COUNTED_VERSIONS:
            model, version = next(iter(self._unloaded))
            del self._unloaded[model, version]
            self._engine_restarts.remove(model, version)
            self._requests.remove_by_labels({"model": model, "version": version})
