"""A trained network becomes a version: stage, verify, convert, manifest last, rename, record. LINE B step 4.

A reader sees all of a version or nothing, and a version that no row names is withdrawn.
"""

import importlib.metadata
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract import artifact
from contract.artifact import Golden, Manifest
from contract.errors import DatabaseUnavailable, GoldenMismatch
from contract.images import ImageLimits, decode_resized
from contract.ports import Database, Storage
from contract.records import Job, Model, Verdict, Version
from contract.training import Calibration, Operating
from retrain import golden, keras_training, tf_export
from retrain.conversion import CALIBRATION_IMAGES, COMPARED_IMAGES, Converted, Converter, Samples
from retrain.dataset import Dataset
from retrain.evaluation import Probabilities
from retrain.keras_training import Trained
from retrain.progress import Reporter
from retrain.report import draw_curves
from retrain.workplace import Workplace, withdraw

EXPORT_TOLERANCE = 1e-4  # the exported network against the trained one
VERIFIED_IMAGES = 32  # of the hold-out, by both networks
GOLDEN_IMAGES = 16
WARMUP_IMAGES = 4
LIMITS = ImageLimits()  # for our own pictures, whatever the service takes
PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "opencv-python-headless")
NOT_WANTED = "RIPEN_RUNTIME of the worker is `tensorflow`."


@dataclass(frozen=True)
class Made:
    """A trained network, how its logits were scaled and its threshold chosen, and answers for the hold-out.

    `probabilities` are its own, (N,); `probe`, the linear probe's, where there is one.
    """

    trained: Trained
    calibration: Calibration | None
    operating: Operating
    probabilities: Probabilities
    probe: Probabilities | None = None


@dataclass(frozen=True)
class Candidate:
    """A judged network with all that its manifest says of it."""

    job: Job
    model: Model
    dataset: Dataset
    made: Made
    verdict: Verdict

    @property
    def answering(self) -> tf_export.Answering:
        """What the exported signatures need to know."""
        _, height, width, _ = self.dataset.holdout.pixels.shape
        return tf_export.Answering(self.dataset.classes, self.made.operating.threshold, (height, width))


class Publisher:
    """Publishes what one job made; without a converter for TensorFlow alone."""

    def __init__(
        self, database: Database, storage: Storage, workplace: Workplace, converter: Converter | None = None
    ) -> None:
        self._database = database
        self._storage = storage
        self._workplace = workplace
        self._converter = converter

    def stage(self, candidate: Candidate, report: Reporter) -> Version:
        """Write the version's folder into staging, verify it, and write its manifest.

        Raises:
            LeaseLost: another worker has the job now.
            GoldenMismatch: the exported network does not answer as the trained one.
        """
        folder, dataset = self._workplace.staging(candidate.job.attempt), candidate.dataset
        tf_export.export(candidate.made.trained.model, folder, candidate.answering)
        keras_training.save(candidate.made.trained.model, str(folder / "model.keras"))
        draw_curves(
            folder / "curves.png",
            candidate.made.trained.history,
            kept_epoch=candidate.made.trained.network.kept_epoch,
            metrics=candidate.verdict.candidate,
            classes=dataset.classes,
        )
        published = self._verify(candidate, folder)
        kept = self._draw_golden(candidate, folder, published)
        converted = self._convert(candidate, folder, published, kept, report)
        number = self._database.allocate_version(candidate.job.id, attempt=candidate.job.attempt)
        manifest = describe(candidate, number, kept, converted, self._database.now().isoformat())
        digest = artifact.write_manifest(folder, manifest)
        artifact.verify(folder, digest)
        return self._version(candidate, number, digest)

    def release(self, version: Version, job: Job, *, promote: bool) -> Job:
        """Publish the staged folder and record it; with `promote` it is what should be live from then on.

        Raises:
            LeaseLost: another worker has the job now; nothing of this attempt stays behind.
        """
        self._workplace.remember(version.number)
        self._storage.publish_folder(self._workplace.staging(job.attempt), version.storage_key)
        try:
            return self._database.record_version(version, attempt=job.attempt, promote=promote)
        except DatabaseUnavailable:
            raise  # it may be recorded all the same: whoever removes the workplace asks the database again
        except Exception:
            withdraw(self._database, self._storage, version.model, version.number)
            raise

    def _verify(self, candidate: Candidate, folder: Path) -> tf_export.Published:
        """Read the SavedModel back: it must answer as the trained network."""
        published = tf_export.Published(folder, candidate.answering.image_size)
        pixels = candidate.dataset.holdout.pixels
        compared = _spread(len(pixels), VERIFIED_IMAGES)
        worst = float(np.max(np.abs(published.score_pixels(pixels[compared]) - candidate.made.probabilities[compared])))
        if not worst <= EXPORT_TOLERANCE:
            raise GoldenMismatch(
                f"The exported network differs from the trained one by {worst:.2g} on hold-out images; at most "
                f"{EXPORT_TOLERANCE} is accepted. Nothing was published."
            )
        return published

    def _draw_golden(self, candidate: Candidate, folder: Path, published: tf_export.Published) -> Golden:
        """Write golden images and warm-up requests: drawn ones, so that no user's image is in a version's folder."""
        pool = golden.draw_pool()
        probabilities = published.score((drawing.data for drawing in pool), LIMITS)
        chosen = golden.choose_spread(probabilities, GOLDEN_IMAGES)
        drawings = [pool[place] for place in chosen]
        images = [decode_resized(one.data, *candidate.answering.image_size, LIMITS) for one in drawings[:WARMUP_IMAGES]]
        tf_export.write_warmup(folder, candidate.job.model, np.stack(images))
        files = golden.write(folder, drawings)
        return Golden(files, {tf_export.RUNTIME: tuple(float(value) for value in probabilities[chosen])})

    def _convert(
        self, candidate: Candidate, folder: Path, published: tf_export.Published, kept: Golden, report: Reporter
    ) -> Converted:
        """Let OpenVINO have it too, where that works; a version without is served by TensorFlow."""
        if self._converter is None:
            return Converted(failure=NOT_WANTED)
        converted = self._converter.convert(folder, _sample(candidate, folder, published, kept), report.say)
        if converted.failure:
            report.warn(converted.failure)
        return converted

    def _version(self, candidate: Candidate, number: int, manifest_sha256: str) -> Version:
        return Version(
            model=candidate.job.model,
            number=number,
            job_id=candidate.job.id,
            parent=candidate.model.live_version,
            metrics=candidate.verdict.candidate,
            verdict=candidate.verdict,
            training_seconds=candidate.made.trained.seconds,
            manifest_sha256=manifest_sha256,
            created_at=self._database.now(),
            last_example=candidate.dataset.last_example,
        )


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Places of at most so many of `count` images, evenly spread: (N,) int64."""
    return np.linspace(0, count - 1, min(most, count), dtype=np.int64)


def _sample(candidate: Candidate, folder: Path, published: tf_export.Published, kept: Golden) -> Samples:
    """Images for OpenVINO, with TensorFlow's answers."""
    train, holdout = candidate.dataset.train, candidate.dataset.holdout
    compared = _spread(len(holdout), COMPARED_IMAGES)
    golden_files = [(folder / file).read_bytes() for file in kept.files]
    return Samples(
        calibration=train.pixels[_spread(len(train), CALIBRATION_IMAGES)],
        golden=np.stack([decode_resized(data, *candidate.answering.image_size, LIMITS) for data in golden_files]),
        golden_reference=np.array(kept.probabilities[tf_export.RUNTIME], np.float32),
        holdout=holdout.pixels[compared],
        reference=published.score_pixels(holdout.pixels[compared]),
        labels=holdout.labels[compared],
        threshold=candidate.answering.threshold,
    )


def describe(candidate: Candidate, number: int, kept: Golden, converted: Converted, created_at: str) -> Manifest:
    """Everything that a version's manifest says, except its files' digests."""
    job, dataset, trained = candidate.job, candidate.dataset, candidate.made.trained
    return Manifest(
        model=job.model,
        version=number,
        classes=dataset.classes,
        image_size=candidate.answering.image_size,
        preprocessing=job.recipe.preprocessing,
        threshold=candidate.made.operating.threshold,
        metrics=candidate.verdict.candidate,
        parent=candidate.model.live_version,
        job_id=job.id,
        created_at=created_at,
        recipe=job.recipe,
        network=trained.network,
        history=trained.history,
        training_seconds=trained.seconds,
        seeds={"training": job.recipe.seed},
        data_digest=dataset.digest,
        examples=dataset.counts,
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        golden=replace(kept, probabilities={**kept.probabilities, **converted.golden}),
        decoder_differences=tf_export.DECODER_DIFFERENCES,
        parity=converted.parity,
        conversion=converted.failure,
        trials=trained.trials,
        suspects=trained.suspects,
        calibration=candidate.made.calibration,
        operating=candidate.made.operating,
        leaks=dataset.leaks,
    )
