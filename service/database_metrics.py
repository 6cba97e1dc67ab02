"""What Prometheus sees of the database: examples, jobs, measured versions. LINE B, read at every scrape.

Read when scraped and not counted along, because the retrain worker changes the same rows from another process.
"""

import logging
from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contract.errors import RipenError
from contract.ports import Database
from contract.records import Version

NEWEST_VERSIONS = 20
MEASURES = ("accuracy", "auc", "log_loss")
logger = logging.getLogger(__name__)


class DatabaseMetrics(Collector):
    """A collector over the Database port. A database that fails costs these series, never the scrape."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families, or none where the database fails."""
        try:
            families = [self._examples(), self._jobs(), *self._versions()]
        except RipenError as error:
            logger.warning("Metrics of the database are left out: %s", error)
            return
        yield from families

    def _examples(self) -> Metric:
        family = GaugeMetricFamily("ripen_examples", "Stored examples.", labels=["model", "label", "bucket"])
        for row in self._database.count_examples():
            family.add_metric([row.model, row.label, row.bucket.value], row.count)
        return family

    def _jobs(self) -> Metric:
        family = GaugeMetricFamily("ripen_jobs", "Retraining jobs.", labels=["model", "state"])
        for (model, state), count in self._database.count_jobs().items():
            family.add_metric([model, state.value], count)
        return family

    def _versions(self) -> list[Metric]:
        which = ["model", "version"]
        seconds = GaugeMetricFamily("ripen_training_seconds", "Training time of a version.", labels=which)
        measures = {
            name: GaugeMetricFamily(f"ripen_holdout_{name}", f"Hold-out {name} of a version.", labels=which)
            for name in MEASURES
        }
        for version in self._newest():
            labels = [version.model, str(version.number)]
            seconds.add_metric(labels, version.training_seconds)
            for name, family in measures.items():
                value = getattr(version.metrics, name)
                if value is not None:
                    family.add_metric(labels, value)
        return [seconds, *measures.values()]

    def _newest(self) -> Iterator[Version]:
        for model in self._database.list_models():
            yield from self._database.list_versions(model.name)[:NEWEST_VERSIONS]
