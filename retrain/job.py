"""LINE B in one screenful: collect, split, cache, train, calibrate, judge, publish, aspire. One job in its process."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contract import artifact
from contract.artifact import Manifest
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
from contract.records import Decision, Example, Failure, Job, JobState, Model, Verdict
from retrain import dataset as datasets
from retrain import keras_network, label_errors, settling, tf_export, threshold
from retrain.conversion import Converter
from retrain.dataset import Collection, Dataset, join
from retrain.features import FeatureCache
from retrain.gate import Unmeasured, judge, refuse_degenerate, rehearse
from retrain.holdout import DEFAULTS, Mask, Scored, Thresholds, slice_holdout
from retrain.keras_recipes import Course
from retrain.progress import Reporter
from retrain.publish import Candidate, Made, Publisher
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
        thresholds: the gate's.
    """

    database: Database
    storage: Storage
    home: Path
    limits: ImageLimits
    untrusted_share: float = 1.0
    converter: Converter | None = None
    features: FeatureCache | None = None
    thresholds: Thresholds = DEFAULTS


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
    dataset = load_dataset(job, collection, network.image_size, around, report)

    report.step("cache", "computing what the frozen layers make of new images")
    course = Course(job.recipe, network, around.features, dataset, find_live(job.model, around))
    course.fill(report)
    report.warn(*course.notes)

    report.step("train", f"{network.start.backbone.name} on {len(dataset.train)} images")
    trained = course.train(report)
    report.warn(*label_errors.describe(trained.suspects))
    report.step("calibrate", f"on {len(dataset.calibrate)} images that nothing was trained or chosen on")
    calibration = course.calibrate() if job.recipe.calibrate else None
    chosen_by = join(dataset.tune, dataset.calibrate)
    operating = threshold.choose(job.recipe, chosen_by.labels, course.predict(chosen_by))

    report.step("judge", f"on {len(dataset.holdout)} hold-out images")
    refuse_degenerate(probabilities := course.predict(dataset.holdout))
    made = Made(trained, calibration, operating, probabilities, course.ask_probe(dataset.holdout))
    model = around.database.get_model(job.model)  # now: a person may have changed what is live during the training
    live = score_live(model, dataset, around, report)
    verdict = decide(made, live, job=job, model=model, dataset=dataset, around=around)

    report.step("publish", f"{verdict.decision}: {' '.join(verdict.reasons)}")
    publisher = Publisher(around.database, around.storage, workplace, around.converter)
    version = publisher.stage(Candidate(job, model, dataset, made, verdict), report)

    goes_live = verdict.decision is Decision.PROMOTE and not job.dry_run
    report.step("aspire", "publishing" if goes_live else "publishing without going live")
    return publisher.release(version, job, promote=goes_live)


def load_dataset(
    job: Job, collection: Collection, size: tuple[int, int], around: Surroundings, report: Reporter
) -> Dataset:
    """Decode every image at (height, width), and settle those that no job has read before."""
    decoded = datasets.load(collection, around.storage, size, around.limits)
    report.say(f"comparing {len(decoded.examples)} images")
    settlement = settling.settle_newcomers(decoded)
    report.warn(*settling.describe(settlement))  # first: it may be why a bucket is empty
    dataset = datasets.divide(decoded, settlement)  # then: what cannot be trained on settles nothing
    newcomers = settling.newcomers(decoded, settlement)
    around.database.settle_examples(job.id, attempt=job.attempt, examples=newcomers)
    report.warn(*dataset.warnings)
    return dataset


def score_live(model: Model, dataset: Dataset, around: Surroundings, report: Reporter) -> Scored | Unmeasured | None:
    """The live version's probabilities for the same hold-out, or why it cannot be read; None where nothing is live."""
    if model.live_version is None:
        return None
    try:
        folder, manifest = open_version(model.name, model.live_version, around)
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


def find_live(name: str, around: Surroundings) -> tuple[Path, Manifest] | None:
    """The folder and manifest of the live version; None where nothing is live, or it is broken."""
    number = around.database.get_model(name).live_version
    try:
        return None if number is None else open_version(name, number, around)
    except (BrokenVersion, UnknownVersion):
        return None  # `score_live` says so


def open_version(name: str, number: int, around: Surroundings) -> tuple[Path, Manifest]:
    """A version's verified folder and its manifest; see `artifact.verify` for what is raised."""
    version = around.database.get_version(name, number)
    folder = around.storage.local_folder(version.storage_key)
    return folder, artifact.verify(folder, version.manifest_sha256)


def decide(
    made: Made,
    live: Scored | Unmeasured | None,
    *,
    job: Job,
    model: Model,
    dataset: Dataset,
    around: Surroundings,
) -> Verdict:
    """The gate's verdict, on the hold-out and its slices."""
    fresh = find_fresh(model, dataset.holdout.examples, around.database) if isinstance(live, Scored) else None
    holdout = slice_holdout(dataset.holdout.labels, dataset.classes, fresh)
    candidate = Scored(made.probabilities, made.operating.threshold)
    probe = None if made.probe is None else Scored(made.probe, threshold.USUAL)
    verdict = judge(holdout, candidate, live=live, policy=job.gate_policy, thresholds=around.thresholds, probe=probe)
    return rehearse(verdict) if job.dry_run else verdict


def find_fresh(model: Model, examples: Sequence[Example], database: Database) -> Mask | None:
    """Which images are newer than all that the live version was made from, (N,) bool; None where nobody knows."""
    if model.live_version is None:
        return None
    last = database.get_version(model.name, model.live_version).last_example
    return None if last is None else np.array([example.id > last for example in examples], np.bool_)
