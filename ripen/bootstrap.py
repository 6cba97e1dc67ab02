"""The first version, where there is none: images in, a retrain, wait until it is live. Runs LINE B once, from outside.

Every step may be repeated: an interrupted bootstrap goes on at the next start. Images are imported once whatever
happens, and a job that is still queued or running is watched instead of starting a second.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from ripen.answers import Job, Version
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
        model = self.client.create_model()
        present = self.client.versions()
        if present.versions:
            self._say_that_data_waits()
        elif self.data is None and model.classes not in (None, SAMPLE_CLASSES):
            self.screen.say("There is no version yet; store images with `ripen label` and run `ripen retrain --wait`.")
            return None
        else:
            self._check(self._train_first())
        return self._wait_until_live()

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

    def _train_first(self) -> Job:
        dataset = self.data or self._drawn_sample()
        with self.screen.counting(f"importing {len(dataset.files)} images") as on_progress:
            imported = import_dataset(self.client, dataset, on_progress)
        self.screen.say(f"Images from {dataset.folder}:")
        self.screen.imported(imported)
        jobs = self.client.jobs()
        job = next((job for job in jobs if not job.ended), None)
        if job is None:
            job = self.client.retrain(idempotency_key=f"bootstrap-{len(jobs)}")
        self.screen.say(f"Fine-tuning version 1 (job {job.id}):")
        return self.screen.follow(self.client.watch(job.id))

    def _drawn_sample(self) -> DatasetFolder:
        from ripen.sample_set import draw_sample_set  # noqa: PLC0415  # OpenCV takes 0.2 s, which other starts need not

        folder = self.home / SAMPLE
        with self.screen.counting("drawing apples and oranges") as on_drawn:
            draw_sample_set(folder, on_drawn=on_drawn)
        return read_dataset(folder)

    def _check(self, job: Job) -> None:
        """Refuse a first version that nobody should serve; on a user's own images, a bad one only warns."""
        promoted = job.verdict is not None and job.verdict.decision == "promote"
        if job.verdict is None or (self.data is None and not promoted):
            raise CannotStart(f"There is no first version to serve. Job {job.id}: {describe_outcome(job)}")
        self.screen.say(describe_outcome(job))
        accuracy = job.verdict.candidate.accuracy
        if accuracy >= FEWEST_RIGHT:
            return
        weak = f"Version {job.version} is right on {accuracy:.1%} of the hold-out; expected {FEWEST_RIGHT:.0%} at least"
        if self.data is None:
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
