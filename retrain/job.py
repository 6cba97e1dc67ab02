"""LINE B in one screenful: collect -> split -> cache -> train -> judge -> publish -> aspire. One job in its process."""

import logging
from dataclasses import dataclass
from pathlib import Path

from contract import artifact
from contract.errors import (
    BrokenVersion,
    DatabaseUnavailable,
    LeaseLost,
    RipenError,
    StorageUnavailable,
    UnknownVersion,
)
from contract.images import ImageLimits
from contract.ports import Database, Storage
from contract.records import Decision, Failure, Job, JobState, Model
from retrain import dataset as datasets
from retrain import keras_features, keras_network, keras_training, tf_export
from retrain.conversion import Converter
from retrain.dataset import Dataset
from retrain.features import FeatureCache
from retrain.gate import Scored, Unmeasured, judge, refuse_degenerate
from retrain.progress import Reporter
from retrain.publish import Candidate, Publisher
from retrain.workplace import Workplace

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What a job works with.

    Attributes:
        home: holds its staging.
        limits: those of the service.
        untrusted_share: the most of the train bucket that one contributor who is not trusted may supply.
        converter: None converts nothing.
        features: None caches nothing.
    """

    database: Database
    storage: Storage
    home: Path
    limits: ImageLimits
    untrusted_share: float = 1.0
    converter: Converter | None = None
    features: FeatureCache | None = None


def run(job: Job, around: Surroundings) -> JobState:
    """Do one claimed job and record its end; errors end the job, not the process.

    Raises:
        LeaseLost: another worker owns the job, or its cancellation won; nothing was changed since.
        DatabaseUnavailable, StorageUnavailable: not the job's fault; it is claimed again once its lease has expired.
    """
    try:
        return make_version(job, around).state
    except (LeaseLost, DatabaseUnavailable, StorageUnavailable):
        raise
    except RipenError as error:
        LOG.warning("job %s failed: %s: %s", job.id, error.code, error)
        failure = Failure(error.code, error.message)
    except Exception as error:  # a defect of ours or of a library: the client gets one line, the log all of it
        LOG.exception("job %s failed", job.id)
        failure = Failure("internal", f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    return around.database.end_job(job.id, attempt=job.attempt, state=JobState.FAILED, failure=failure).state


def make_version(job: Job, around: Surroundings) -> Job:
    """LINE B."""
    report = Reporter(around.database, job)
    workplace = Workplace(around.home, job.id)
    workplace.open(job.model)
    workplace.withdraw_unrecorded(around.database, around.storage)

    report.step("collect", "reading what is stored")
    collection = datasets.collect(around.database, job.model, around.untrusted_share)

    report.step("split", "building the network and decoding the images")
    network = keras_network.build(job.recipe)
    report.warn(*network.start.warnings)
    dataset = datasets.load(collection, around.storage, network.image_size, around.limits)
    report.warn(*dataset.warnings)

    buckets = (dataset.train, dataset.tune, dataset.holdout)
    parts = keras_features.Parts(job.recipe, network, around.features, sum(map(len, buckets)))
    report.step("cache", "computing what the frozen layers make of new images")
    parts.fill(buckets, report)
    report.warn(*parts.notes)

    report.step("train", f"{network.start.backbone.name} on {len(dataset.train)} images")
    trained = keras_training.Training(job.recipe, network, parts, report).run(dataset.train, dataset.tune)

    report.step("judge", f"on {len(dataset.holdout)} hold-out images")
    probabilities = keras_training.predict(parts, dataset.holdout)
    refuse_degenerate(probabilities)
    candidate = Scored(probabilities, job.recipe.threshold)
    model = around.database.get_model(job.model)  # now: a person may have changed what is live during the training
    live = score_live(model, dataset, around, report)
    verdict = judge(dataset.holdout.labels, candidate, live=live, policy=job.gate_policy)

    report.step("publish", f"{verdict.decision}: {' '.join(verdict.reasons)}")
    publisher = Publisher(around.database, around.storage, workplace, around.converter)
    version = publisher.stage(Candidate(job, model, dataset, trained, probabilities, verdict), report)

    report.step("aspire", "publishing" if verdict.decision is Decision.PROMOTE else "publishing without going live")
    return publisher.release(version, job)


def score_live(model: Model, dataset: Dataset, around: Surroundings, report: Reporter) -> Scored | Unmeasured | None:
    """The live version's probabilities for the same hold-out, or why it cannot be read; None where nothing is live."""
    if model.live_version is None:
        return None
    try:
        version = around.database.get_version(model.name, model.live_version)
        folder = around.storage.local_folder(version.storage_key)
        manifest = artifact.verify(folder, version.manifest_sha256)
        published = tf_export.Published(folder, manifest.image_size)
    except (BrokenVersion, UnknownVersion) as error:
        report.warn(f"The live version {model.live_version} cannot be measured beside the new one: {error}")
        return Unmeasured(model.live_version, str(error))
    if manifest.image_size == dataset.holdout.pixels.shape[1:3]:
        probabilities = published.score_pixels(dataset.holdout.pixels)
    else:
        encoded = datasets.read_encoded(around.storage, dataset.holdout.examples)
        probabilities = published.score(encoded, around.limits)
    return Scored(probabilities, manifest.threshold, model.live_version)
