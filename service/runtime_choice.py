"""Which runtimes may serve a version here, and in which order they are tried. LINE B step 5: pure.

On a GPU TensorFlow; on a CPU OpenVINO at the fastest precision whose parity passes the policy, then TensorFlow.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from contract.openvino_model import Precision, runtime_name
from contract.parity import Parity, ParityPolicy, objections
from contract.records import PrecisionChoice, RuntimeChoice

TENSORFLOW = "tensorflow-f32"


@dataclass(frozen=True)
class Wish:
    """What the settings ask for."""

    runtime: RuntimeChoice = RuntimeChoice.AUTO
    precision: PrecisionChoice = PrecisionChoice.AUTO
    policy: ParityPolicy = field(default_factory=ParityPolicy)


@dataclass(frozen=True)
class Here:
    """What this machine and the version's folder offer: precisions of the processor, and those that the folder has."""

    gpu: bool
    computed: Collection[Precision]
    stored: Collection[Precision]


@dataclass(frozen=True)
class Choice:
    """What to try in this order; None is TensorFlow. `notes` say why others are not among them."""

    precisions: tuple[Precision | None, ...]
    notes: tuple[str, ...] = ()


def name_of(precision: Precision | None) -> str:
    """The runtime's key in the manifest."""
    return TENSORFLOW if precision is None else runtime_name(precision)


def choose(wish: Wish, here: Here, parity: Mapping[str, Parity]) -> Choice:
    """Choose what to try.

    Args:
        wish: a forced runtime is tried alone; a forced precision needs no parity.
        here: what is there.
        parity: the manifest's.

    Returns:
        No precision at all where what is forced is not there; the notes say why.
    """
    if wish.runtime is RuntimeChoice.TENSORFLOW:
        return Choice((None,))
    if wish.runtime is RuntimeChoice.AUTO and here.gpu:
        return Choice((None,), ("OpenVINO: this machine has a GPU",))
    last: tuple[None, ...] = (None,) if wish.runtime is RuntimeChoice.AUTO else ()
    if not here.stored:
        return Choice(last, ("OpenVINO: the version has no network for it",))
    if wish.precision is not PrecisionChoice.AUTO:
        forced = Precision(wish.precision)
        missing = _missing(forced, here)
        return Choice((forced,)) if not missing else Choice((), tuple(missing))
    found: list[Precision] = []
    notes: list[str] = []
    for precision in Precision:
        against = _missing(precision, here) or _objections(precision, wish.policy, parity)
        notes += against
        if not against:
            found.append(precision)
    return Choice((*found, *last), tuple(notes))


def _missing(precision: Precision, here: Here) -> list[str]:
    if precision not in here.stored:
        return [f"{runtime_name(precision)}: the version has none"]
    if precision not in here.computed:
        return [f"{runtime_name(precision)}: this processor has no {precision}"]
    return []


def _objections(precision: Precision, policy: ParityPolicy, parity: Mapping[str, Parity]) -> Sequence[str]:
    measured = parity.get(runtime_name(precision))
    if measured is None:
        return [f"{runtime_name(precision)}: its parity was not measured"]
    return [f"{runtime_name(precision)}: {one}" for one in objections(measured, policy)]
