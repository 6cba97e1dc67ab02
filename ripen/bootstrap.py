"""The first version, where there is none: images in, a retrain, wait until it is live. Runs LINE B once, from outside.

Every step may be repeated: an interrupted bootstrap goes on at the next start. Images are imported once whatever
happens, and a job that is still queued or running is watched instead of starting a second.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from ripen.answers import Job, Model, Version
from ripen.client import Client
from ripen.dataset_folder import DatasetFolder, read_dataset
from ripen.display import Screen, describe_outcome
from ripen.errors import CannotStart, ServiceUnreachable
from ripen.sending import import_dataset

SAMPLE = "sample"
SAMPLE_CLASSES = ("apple", "orange")
FEWEST_RIGHT = 0.85
POLL_S = 0.1


@dataclass(frozen=True)
class Bootstrap:
    """What it takes: the service to teach, where to print, the data folder, and the user's own images if any."""

    client: Client
    screen: Screen
    home: Path
    data: DatasetFolder | None

    def run(self) -> Version | None:
        """Wait for the service, make version 1 where there is no version, and return the live one.

        Returns:
            None where the model has images of its user's but no version that may go live: a person decides.

        Raises:
            CannotStart: the first version could not be made, or is not good enough.
            RipenClientError: the service said no.
        """
        self._wait_until_ready()
        sample = self._is_sample(self.client.ensure_model())
        jobs = self.client.jobs()  # before the versions: a job that ends in between has its version there
        if self.client.versions().versions:
            self._say_that_data_waits()
        elif (job := self._train_first(jobs, sample=sample)) is None:
            self.screen.say("There is no version yet; store images with `ripen label` and run `ripen retrain --wait`.")
            return None
        else:
            self._check(job, sample=sample)
        live = self._wait_until_live()
        if live is not None and live.version == 1:
            self._check_accuracy(live, sample=sample)
        return live

    def _is_sample(self, model: Model) -> bool:
        """Whether the drawn pictures are the model's images, or will be; a user may have apples and oranges too."""
        drawn = model.classes == SAMPLE_CLASSES and (self.home / SAMPLE).is_dir()
        return self.data is None and (model.classes is None or drawn)

    def _wait_until_ready(self) -> None:
        with self.screen.words.status("starting the service"):
            while self._unready():
                time.sleep(POLL_S)

    def _unready(self) -> bool:
        try:
            return self.client.ready() is not None
        except ServiceUnreachable:
            return True  # not listening yet; the supervisor speaks up if it never will

    def _say_that_data_waits(self) -> None:
        if self.data is not None:
            self.screen.say(
                f"There is a version already, so {self.data.folder} is not imported; "
                "use `ripen import` and `ripen retrain`.",
                "yellow",
            )

    def _train_first(self, jobs: tuple[Job, ...], *, sample: bool) -> Job | None:
        """Import what there is, and follow the unfinished job or a new one to its end; None where there is neither."""
        job = next((job for job in jobs if not job.ended), None)
        if self.data is not None:
            self._import(self.data)
        elif job is None and sample:
            self._import(self._drawn_sample())
        elif job is None:
            return None
        if job is None:
            job = self.client.retrain(idempotency_key=f"bootstrap-{len(jobs)}")
        self.screen.say(f"Fine-tuning version 1 (job {job.id}):")
        return self.screen.follow(self.client.watch(job.id))

    def _import(self, dataset: DatasetFolder) -> None:
        with self.screen.counting(f"importing {len(dataset.files)} images") as on_progress:
            imported = import_dataset(self.client, dataset, on_progress)
        self.screen.say(f"Images from {dataset.folder}:")
        self.screen.imported(imported)

    def _drawn_sample(self) -> DatasetFolder:
        from ripen.sample_set import draw_sample_set  # noqa: PLC0415  # OpenCV takes 0.2 s, which other starts need not

        folder = self.home / SAMPLE
        with self.screen.counting("drawing apples and oranges") as on_drawn:
            draw_sample_set(folder, on_drawn=on_drawn)
        return read_dataset(folder)

    def _check(self, job: Job, *, sample: bool) -> None:
        """Refuse where there is no first version; on a user's own images, a rejected one is left to a person."""
        promoted = job.verdict is not None and job.verdict.decision == "promote"
        if job.verdict is None or (sample and not promoted):
            raise CannotStart(f"There is no first version to serve. Job {job.id}: {describe_outcome(job)}")
        self.screen.say(describe_outcome(job))

    def _check_accuracy(self, first: Version, *, sample: bool) -> None:
        """Refuse a first version that nobody should serve, at every start; on a user's own images, only warn."""
        accuracy = first.metrics.accuracy
        if accuracy >= FEWEST_RIGHT:
            return
        weak = (
            f"Version {first.version} is right on {accuracy:.1%} of the hold-out; expected {FEWEST_RIGHT:.0%} at least"
        )
        if sample:
            raise CannotStart(f"{weak} on the sample set. Train with another --backbone or --weights in a new --home.")
        self.screen.say(f"{weak}. More images, or another --backbone, would help.", "yellow")

    def _wait_until_live(self) -> Version | None:
        with self.screen.words.status("loading the version"):
            while True:
                answer = self.client.versions()
                live = next((one for one in answer.versions if one.live), None)
                aspired = next((one for one in answer.versions if one.version == answer.aspired), None)
                if aspired is None:
                    self.screen.say("No version may go live yet; see `ripen versions`, then `ripen promote`.", "yellow")
                    return None
                if live is aspired:
                    return live
                if aspired.status.error_code != "OK":
                    self.screen.say(f"Version {aspired.version} is not served: {aspired.status.message}", "yellow")
                    return live
                time.sleep(POLL_S)
