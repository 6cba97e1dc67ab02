"""`ripen doctor`: looks at all that an installation stands on, changes nothing. Neither line.

Works with and without a running service. Each check says what it found, and what to do if that is wrong.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from contract.errors import RipenError
from service import doctor_data, doctor_machine
from service.administration import Place, say
from service.diagnosis import Wrong

WRONG = 1


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    ok: bool
    says: str
    advice: str = ""


def doctor(place: Place, arguments: Sequence[str]) -> int:
    """Print a finding per check; 1 if anything is wrong. `--deep` reads every image."""
    wrong = 0
    for finding in examine(place, deep="--deep" in arguments):
        say(finding)
        wrong += not finding.ok
    return WRONG if wrong else 0


def examine(place: Place, *, deep: bool) -> Iterator[Finding]:
    """All checks, cheap ones first."""
    settings, database, storage = place.settings, place.database, place.storage
    yield Finding("settings", ok=True, says=f"can be used; home is {settings.home}")
    yield _look("home", partial(doctor_machine.look_at_home, settings.home))
    yield _look("disk", partial(doctor_machine.look_at_disk, settings.home, storage))
    yield _look("ports", partial(doctor_machine.look_at_ports, settings))
    yield _look("weights", partial(doctor_machine.look_at_weights, settings.recipe))
    database_works = _look("database", partial(doctor_data.look_at_database, database))
    storage_works = _look("storage", partial(doctor_data.look_at_storage, storage))
    yield from (database_works, storage_works)
    if not (database_works.ok and storage_works.ok):
        return
    yield _look("clock", partial(doctor_data.look_at_clock, database))
    yield _look("audit log", partial(doctor_data.look_at_audit_log, database))
    yield _look("images", partial(doctor_data.look_at_images, database, storage, deep=deep))
    yield _look("versions", partial(doctor_data.look_at_versions, database, storage))
    yield _look("leftovers", partial(doctor_data.look_at_leftovers, database, storage))


def _look(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, ok=True, says=look())
    except Wrong as wrong:
        return Finding(check, ok=False, says=wrong.says, advice=wrong.advice)
    except RipenError as error:
        return Finding(check, ok=False, says=str(error))
