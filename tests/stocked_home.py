"""A home with images, tiny versions and no running process: what backup, restore, doctor and retention work on."""

from dataclasses import dataclass
from pathlib import Path

import orchard
import service_process
from orchard import Orchard

from backends.database import SqlDatabase
from backends.storage import ObjectStorage
from contract.records import Bucket
from contract.settings import Settings
from service.administration import Place

COUNTS = {Bucket.TRAIN: 3, Bucket.HOLDOUT: 2}  # per class


@dataclass(frozen=True)
class StockedHome:
    """`planted` opens its database and storage; `answers` says what each version answers for picture 1."""

    home: Path
    planted: Orchard
    answers: dict[int, float]

    @property
    def place(self) -> Place:
        return place(self.home)


def stock(home: Path, *, versions: int = 2) -> StockedHome:
    """Make a home; its last version is live."""
    home.mkdir(parents=True)
    planted = orchard.plant(home, COUNTS)
    answers = {number: service_process.publish(home, number, bias=0.5 * number) for number in range(1, versions + 1)}
    return StockedHome(home, planted, answers)


def place(home: Path) -> Place:
    """What a command would be given."""
    settings = Settings.from_environment({"RIPEN_HOME": str(home)})
    storage = ObjectStorage(settings.storage_url, cache=home / "cache")
    return Place(settings, SqlDatabase(settings.database_url), storage)
