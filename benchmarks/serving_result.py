"""What the serving benchmark measured, as rows, and which of the promised lines hold. Pure: values in, verdicts out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from contract.openvino_model import Precision
from contract.records import RuntimeChoice

LIMIT, RIPEN = "limit", "Ripen"
PLAIN = "fastapi"
REST, GRPC, TF_SERVING = "REST", "ripen.v1", "TF Serving gRPC"
OF_LIMIT = {REST: 0.85, GRPC: 0.70, TF_SERVING: 0.65}  # at concurrency 32
OF_LIMIT_AT_8 = 0.8
OVER_TENSORFLOW = {Precision.BF16: 3.5, Precision.F32: 2.0}
OVER_FRAMEWORKS = 1.2
OVER_PLAIN = 1.0
ALONE_MS = 1.0
START_S, ENGINE_MB, FRONT_MB = 3.0, 350.0, 150.0


@dataclass(frozen=True)
class Case:
    """What a row measures. `concurrency` is 0 for the limit at its best, 1 for one image at a time."""

    backbone: str
    server: str
    protocol: str
    runtime: RuntimeChoice
    precision: Precision
    concurrency: int


@dataclass(frozen=True)
class Sample:
    """One round of a case. `wrong` counts errors and answers that version 1 does not give."""

    images_per_s: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    wrong: int


@dataclass(frozen=True)
class Row:
    """A case's rounds: medians, and the lowest and highest throughput."""

    case: Case
    images_per_s: float
    lowest: float
    highest: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    wrong: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Start:
    """One start of the service: seconds until ready, resident MB of both processes after the load."""

    backbone: str
    precision: Precision
    start_s: float
    front_mb: float
    engine_mb: float


@dataclass(frozen=True)
class Verdict:
    """One promised line beside its figure. `at_least` tells which side of `wanted` is good."""

    line: str
    figure: float
    wanted: float
    at_least: bool = True

    @property
    def holds(self) -> bool:
        return self.figure >= self.wanted if self.at_least else self.figure <= self.wanted


def summarize(samples: dict[Case, list[Sample]]) -> list[Row]:
    """One row per case, in their order."""
    rows = []
    for case, rounds in samples.items():
        rates = [sample.images_per_s for sample in rounds]
        rows.append(
            Row(
                case,
                median(rates),
                min(rates),
                max(rates),
                median(sample.cpu_ms for sample in rounds),
                median(sample.p50_ms for sample in rounds),
                median(sample.p99_ms for sample in rounds),
                sum(sample.wrong for sample in rounds),
                tuple(rounds),
            )
        )
    return rows


def judge(rows: Sequence[Row], starts: Sequence[Start], frameworks: Iterable[str]) -> list[Verdict]:
    """Every promised line for which there are figures.

    Args:
        rows: see `summarize`.
        starts: of the service.
        frameworks: the peers that are serving frameworks; plain FastAPI is none.
    """
    table = {row.case: row for row in rows}
    verdicts = [verdict for case, row in table.items() for verdict in _beside_limit(row, _limit(table, case, 0), table)]
    for backbone in dict.fromkeys(case.backbone for case in table):
        verdicts += _beside_peers([row for row in rows if row.case.backbone == backbone], set(frameworks))
    if mobile := [start for start in starts if start.backbone == "MobileNetV2"]:
        verdicts += [
            Verdict("from start to ready, s", median(one.start_s for one in mobile), START_S, at_least=False),
            Verdict("engine, resident MB", median(one.engine_mb for one in mobile), ENGINE_MB, at_least=False),
            Verdict("front, resident MB", median(one.front_mb for one in mobile), FRONT_MB, at_least=False),
        ]
    verdicts.append(Verdict("errors and wrong answers of Ripen", _wrong(rows), 0, at_least=False))
    return verdicts


def paired_ratio(row: Row, beside: Row) -> float:
    """The median over the rounds of what both gave in the same round."""
    return median(a.images_per_s / b.images_per_s for a, b in zip(row.samples, beside.samples, strict=False))


def _paired_ms(row: Row, beside: Row) -> float:
    """The median of how much later the one answered than the other, which took turns."""
    return median(a.p50_ms - b.p50_ms for a, b in zip(row.samples, beside.samples, strict=False))


def _beside_limit(row: Row, limit: Row | None, table: dict[Case, Row]) -> list[Verdict]:
    case = row.case
    if limit is None or case.server != RIPEN or case.runtime is RuntimeChoice.TENSORFLOW:
        return []
    what = f"{case.backbone} {case.precision}, {case.protocol}"
    if case.concurrency == 32:
        return [Verdict(f"{what}, 32 at once: of the limit", paired_ratio(row, limit), OF_LIMIT[case.protocol])]
    if case.protocol != REST:
        return []
    if case.concurrency == 8:
        return [Verdict(f"{what}, 8 at once: of the limit", paired_ratio(row, limit), OF_LIMIT_AT_8)]
    alone = _limit(table, case, 1)
    if alone is None:
        return []
    return [Verdict(f"{what}, 1 at once: ms above in process", _paired_ms(row, alone), ALONE_MS, at_least=False)]


def _beside_peers(rows: Sequence[Row], frameworks: set[str]) -> list[Verdict]:
    """Ripen's REST at concurrency 32 beside each peer's best concurrency."""
    verdicts = []
    peers = [row for row in rows if row.case.server not in (LIMIT, RIPEN)]
    for row in rows:
        case = row.case
        if (case.server, case.protocol, case.concurrency) != (RIPEN, REST, 32):
            continue
        if case.runtime is RuntimeChoice.TENSORFLOW:
            continue
        name = f"{case.backbone} {case.precision}: times "
        on_tensorflow = [peer for peer in peers if peer.case.runtime is RuntimeChoice.TENSORFLOW]
        if case.precision in OVER_TENSORFLOW and (best := _best(on_tensorflow)):
            verdicts.append(_times(row, best, name, OVER_TENSORFLOW[case.precision]))
        equal = [peer for peer in peers if (peer.case.runtime, peer.case.precision) == (case.runtime, case.precision)]
        if best_framework := _best([peer for peer in equal if peer.case.server in frameworks]):
            verdicts.append(_times(row, best_framework, name, OVER_FRAMEWORKS))
        if plain := _best([peer for peer in equal if peer.case.server == PLAIN]):
            verdicts.append(_times(row, plain, name, OVER_PLAIN))
    return verdicts


def _times(row: Row, peer: Row, name: str, wanted: float) -> Verdict:
    told = f"{name}{peer.case.server} on {peer.case.runtime}"
    return Verdict(told, row.images_per_s / peer.images_per_s, wanted)


def _best(rows: Sequence[Row]) -> Row | None:
    return max((row for row in rows if row.images_per_s), key=lambda row: row.images_per_s, default=None)


def _limit(table: dict[Case, Row], case: Case, concurrency: int) -> Row | None:
    return table.get(Case(case.backbone, LIMIT, "", case.runtime, case.precision, concurrency))


def _wrong(rows: Sequence[Row]) -> int:
    return sum(row.wrong for row in rows if row.case.server == RIPEN)
