"""What came of a load: every request as arrays, and the figures that are read off them. Neither line."""

import time
from array import array
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ripen.bench_plan import Answer, OpenLoop, Plan

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Latency:
    """Latencies of right answers, in milliseconds."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True)
class Samples:
    """Requests in the order of their answers, warm-up included: each field is (N,).

    Attributes:
        start_s: when a request was due, from the begin of what is measured; negative in the warm-up.
        sent_s: when it was sent; later than `start_s` by what the generator was late.
        latency_s: from `start_s` to the answer.
        image: which of the images.
        version: that answered; 0 where none did, or is named.
        probability: NaN where there is none.
        code: index into `LoadResult.codes`; 0 is a right answer.
    """

    start_s: Floats
    sent_s: Floats
    latency_s: Floats
    image: Integers
    version: Integers
    probability: Floats
    code: Integers

    def __len__(self) -> int:
        return len(self.start_s)

    @property
    def right(self) -> Mask:
        right: Mask = self.code == 0
        return right

    def where(self, chosen: Mask) -> "Samples":
        """Some of them."""
        fields = {name: values[chosen] for name, values in vars(self).items()}
        return Samples(**fields)

    def under_way(self, begin_s: float, end_s: float) -> Mask:
        """Which of them were so at some moment of a time."""
        touches: Mask = (self.start_s < end_s) & (self.start_s + self.latency_s > begin_s)
        return touches

    def latency(self) -> Latency | None:
        """The figures of the right answers; None where there is none."""
        values_ms = self.latency_s[self.right] * 1000
        if not len(values_ms):
            return None
        percentiles = np.percentile(values_ms, (50, 90, 95, 99, 99.9, 100))
        return Latency(float(values_ms.mean()), *(float(value) for value in percentiles))

    def versions(self) -> dict[int, int]:
        """How many right answers each version gave."""
        return dict(sorted(Counter(self.version[self.right].tolist()).items()))


@dataclass(frozen=True)
class Summary:
    """A load in figures, as `--json` prints them. Everything is about requests that were due after the warm-up.

    Attributes:
        concurrency, rate: one of them is None.
        seconds: that were measured.
        requests: that were due, also those that got no right answer.
        throughput: right answers per second.
        latency: of right answers; of an open loop from the moment a request was due.
        errors: how often each code came.
        late_p99_ms: how late the generator itself was, in the worst of a hundred cases.
        generator_ms: of processor time that the generator took per request.
    """

    concurrency: int | None
    rate: float | None
    seconds: float
    requests: int
    throughput: float
    latency: Latency | None
    errors: dict[str, int]
    versions: dict[int, int]
    late_p99_ms: float
    generator_ms: float


@dataclass(frozen=True)
class LoadResult:
    """What came of one load.

    Attributes:
        began_s: of `time.perf_counter`, when what is measured began.
        seconds: that were measured.
        codes: of answers; the first one, which is empty, is that of right ones.
        messages: code -> what came with the first answer of that code.
        generator_s: processor time of this process while it was measured.
    """

    plan: Plan
    began_s: float
    seconds: float
    samples: Samples
    codes: tuple[str, ...]
    messages: dict[str, str]
    generator_s: float

    @property
    def measured(self) -> Samples:
        """Without the warm-up."""
        return self.samples.where(self.samples.start_s >= 0)

    def errors(self, samples: Samples) -> dict[str, int]:
        """How often each code came among some samples."""
        counts = Counter(samples.code[~samples.right].tolist())
        return {self.codes[code]: count for code, count in counts.most_common()}

    def summary(self) -> Summary:
        """The figures."""
        samples = self.measured
        ended_s = self.samples.start_s + self.samples.latency_s
        within = self.samples.right & (ended_s >= 0) & (ended_s <= self.seconds)
        late_ms = (samples.sent_s - samples.start_s) * 1000
        is_open = isinstance(self.plan, OpenLoop)
        return Summary(
            concurrency=None if isinstance(self.plan, OpenLoop) else self.plan.concurrency,
            rate=self.plan.rate if isinstance(self.plan, OpenLoop) else None,
            seconds=self.seconds,
            requests=len(samples),
            throughput=float(within.sum()) / self.seconds if self.seconds > 0 else 0.0,
            latency=samples.latency(),
            errors=self.errors(samples),
            versions=samples.versions(),
            late_p99_ms=float(np.percentile(late_ms, 99)) if is_open and len(samples) else 0.0,
            generator_ms=1000 * self.generator_s / max(1, len(samples)),
        )


class Record:
    """Keeps answers as they come, in 56 bytes each.

    Args:
        begin_s: of `time.perf_counter`, when the warm-up is over.
        duration_s: what is measured.
    """

    def __init__(self, begin_s: float, duration_s: float) -> None:
        self.begin_s = begin_s
        self.end_s = begin_s + duration_s
        self._floats = tuple(array("d") for _ in range(4))
        self._integers = tuple(array("q") for _ in range(3))
        self._codes = {"": 0}
        self._messages: dict[str, str] = {}
        self._cpu_s: float | None = None

    def add(self, image: int, due_s: float, sent_s: float, answer: Answer) -> None:
        """One answer that has just come, or a request that was not sent."""
        now_s = time.perf_counter()
        if self._cpu_s is None and now_s >= self.begin_s:
            self._cpu_s = time.process_time()
        version, probability, code, message = answer
        number = self._codes.get(code)
        if number is None:
            number = self._codes[code] = len(self._codes)
            self._messages[code] = message
        starts, sents, latencies, probabilities = self._floats
        images, versions, codes = self._integers
        starts.append(due_s - self.begin_s)
        sents.append(sent_s - self.begin_s)
        latencies.append(now_s - due_s)
        probabilities.append(probability)
        images.append(image)
        versions.append(version)
        codes.append(number)

    def result(self, plan: Plan, *, ended_s: float) -> LoadResult:
        """All of it; `ended_s` is of `time.perf_counter`."""
        starts, sents, latencies, probabilities = (np.array(values, np.float64) for values in self._floats)
        images, versions, codes = (np.array(values, np.int64) for values in self._integers)
        cpu_s = 0.0 if self._cpu_s is None else time.process_time() - self._cpu_s
        return LoadResult(
            plan=plan,
            began_s=self.begin_s,
            seconds=max(0.0, min(ended_s, self.end_s) - self.begin_s),
            samples=Samples(starts, sents, latencies, images, versions, probabilities, codes),
            codes=tuple(self._codes),
            messages=self._messages,
            generator_s=cpu_s,
        )
