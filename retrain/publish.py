"""A trained network becomes a version: staging -> verify -> manifest last -> rename -> record. LINE B step 4.

A reader sees all of a version or nothing, and a version that no row names is withdrawn.
"""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contract import artifact
from contract.artifact import Golden, Manifest
from contract.errors import GoldenMismatch
from contract.images import ImageLimits
from contract.ports import Database, Storage
from contract.records import Decision, Example, Job, Model, Verdict, Version
from retrain import keras_training, tf_export
from retrain.dataset import Dataset, LabelledImages, read_encoded
from retrain.evaluation import Probabilities
from retrain.keras_training import Trained
from retrain.report import draw_curves
from retrain.workplace import Workplace, withdraw

EXPORT_TOLERANCE = 1e-4  # the exported network against the trained one
GOLDEN_IMAGES = 16
WARMUP_IMAGES = 4
PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "opencv-python-headless")
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


@dataclass(frozen=True)
class Candidate:
    """A judged network with all that its manifest says of it; `probabilities` are its own for the hold-out."""

    job: Job
    model: Model
    dataset: Dataset
    trained: Trained
    probabilities: Probabilities
    verdict: Verdict

    @property
    def answering(self) -> tf_export.Answering:
        """What the exported signatures need to know."""
        _, height, width, _ = self.dataset.holdout.pixels.shape
        return tf_export.Answering(self.dataset.classes, self.job.recipe.threshold, (height, width))


class Publisher:
    """Publishes what one job made."""

    def __init__(self, database: Database, storage: Storage, workplace: Workplace, limits: ImageLimits) -> None:
        self._database = database
        self._storage = storage
        self._workplace = workplace
        self._limits = limits

    def stage(self, candidate: Candidate) -> Version:
        """Write the version's folder into staging, verify it, and write its manifest.

        Raises:
            LeaseLost: another worker has the job now.
            GoldenMismatch: the exported network does not answer as the trained one.
        """
        folder, dataset = self._workplace.staging(candidate.job.attempt), candidate.dataset
        tf_export.export(candidate.trained.model, folder, candidate.answering)
        keras_training.save(candidate.trained.model, str(folder / "model.keras"))
        tf_export.write_warmup(
            folder, candidate.job.model, dataset.holdout.pixels[_few(dataset.holdout, WARMUP_IMAGES)]
        )
        draw_curves(
            folder / "curves.png",
            candidate.trained.history,
            kept_epoch=candidate.trained.network.kept_epoch,
            metrics=candidate.verdict.candidate,
            classes=dataset.classes,
        )
        golden = self._verify(candidate, folder)
        number = self._database.allocate_version(candidate.job.id, attempt=candidate.job.attempt)
        manifest = describe(candidate, number, golden, self._database.now().isoformat())
        digest = artifact.write_manifest(folder, manifest)
        artifact.verify(folder, digest)
        return self._version(candidate, number, digest)

    def release(self, version: Version, job: Job) -> Job:
        """Publish the staged folder and record it; with a promoting verdict it is what should be live from then on.

        Raises:
            LeaseLost: another worker has the job now; nothing of this attempt stays behind.
        """
        self._workplace.remember(version.number)
        self._storage.publish_folder(self._workplace.staging(job.attempt), version.storage_key)
        try:
            promote = version.verdict.decision is Decision.PROMOTE
            return self._database.record_version(version, attempt=job.attempt, promote=promote)
        except Exception:
            withdraw(self._database, self._storage, version.model, version.number)
            raise

    def _verify(self, candidate: Candidate, folder: Path) -> Golden:
        """Read the SavedModel back: it must answer as the trained network, on pixels and on encoded images."""
        holdout = candidate.dataset.holdout
        chosen = _few(holdout, GOLDEN_IMAGES)
        files = self._copy_golden(folder, [holdout.examples[place] for place in chosen])
        published = tf_export.Published(folder, candidate.answering.image_size)
        probabilities = published.score(((folder / file).read_bytes() for file in files), self._limits)
        worst = float(np.max(np.abs(probabilities - candidate.probabilities[chosen])))
        if not worst <= EXPORT_TOLERANCE:
            raise GoldenMismatch(
                f"The exported network differs from the trained one by {worst:.2g} on the golden images; at most "
                f"{EXPORT_TOLERANCE} is accepted. Nothing was published."
            )
        return Golden(files, {tf_export.RUNTIME: tuple(float(value) for value in probabilities)})

    def _copy_golden(self, folder: Path, examples: list[Example]) -> tuple[str, ...]:
        """Copy hold-out images as they were uploaded; return their paths inside the folder."""
        (folder / "golden").mkdir()
        files: list[str] = []
        for example, data in zip(examples, read_encoded(self._storage, examples), strict=True):
            files.append(f"golden/{len(files):02d}.{EXTENSIONS[example.format]}")
            (folder / files[-1]).write_bytes(data)
        return tuple(files)

    def _version(self, candidate: Candidate, number: int, manifest_sha256: str) -> Version:
        return Version(
            model=candidate.job.model,
            number=number,
            job_id=candidate.job.id,
            parent=candidate.model.live_version,
            metrics=candidate.verdict.candidate,
            verdict=candidate.verdict,
            training_seconds=candidate.trained.seconds,
            manifest_sha256=manifest_sha256,
            created_at=self._database.now(),
        )


def describe(candidate: Candidate, number: int, golden: Golden, created_at: str) -> Manifest:
    """Everything that a version's manifest says, except its files' digests."""
    job, dataset, trained = candidate.job, candidate.dataset, candidate.trained
    return Manifest(
        model=job.model,
        version=number,
        classes=dataset.classes,
        image_size=candidate.answering.image_size,
        preprocessing=job.recipe.preprocessing,
        threshold=job.recipe.threshold,
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
        golden=golden,
        decoder_differences=tf_export.DECODER_DIFFERENCES,
    )


def _few(holdout: LabelledImages, count: int) -> list[int]:
    """Places of at most `count` hold-out images, both classes in turn."""
    by_class = [np.flatnonzero(holdout.labels == label).tolist() for label in (0, 1)]
    longest = max(map(len, by_class))
    turns = [places[turn] for turn in range(longest) for places in by_class if turn < len(places)]
    return turns[:count]
