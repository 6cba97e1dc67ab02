"""Many files to the service: a few per request, several requests at once, every refusal named. Before LINE B step 1.

A request in which no file can be used fails as a whole; its files are then sent one by one, so that each gets its own
reason.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TypeVar

from ripen.answers import Added, Answer, ErrorText, Rejected
from ripen.client import Client
from ripen.dataset_folder import DatasetFolder, LabelledFile, check_classes
from ripen.errors import ApiError
from ripen.zip_dataset import read_zip_classes

T = TypeVar("T")
FILES_PER_REQUEST = 16
BYTES_PER_REQUEST = 8 * 2**20
REQUESTS_AT_ONCE = 4
ABOUT_THE_FILE = (
    "invalid_image",
    "image_too_small",
    "blank_image",
    "image_too_large",
    "label_conflict",
    "request_too_large",
)


@dataclass(frozen=True)
class Imported:
    """What became of files. `rejected` names each file that the service did not take; `skipped` were never sent."""

    added: int = 0
    duplicates: int = 0
    rejected: tuple[Rejected, ...] = ()
    skipped: int = 0

    def plus(self, other: "Imported") -> "Imported":
        """The sum of two."""
        return Imported(
            self.added + other.added,
            self.duplicates + other.duplicates,
            self.rejected + other.rejected,
            self.skipped + other.skipped,
        )


@dataclass(frozen=True)
class Classified:
    """One file's answer by one version, or its `error`."""

    file: str
    version: int | None = None
    label: str | None = None
    probability: float | None = None
    threshold: float | None = None
    error: ErrorText | None = None
    request_id: str | None = None  # with `index`, what feedback names the image by
    index: int = 0

    @property
    def named(self) -> str:
        """As `ripen feedback` takes it."""
        return f"{self.request_id}/{self.index}"


def import_dataset(client: Client, dataset: DatasetFolder, on_progress: Callable[[int, int], None]) -> Imported:
    """Declare the model's classes where it has none, then store every image of a dataset folder.

    Args:
        on_progress: called with (files done, files in all), from this thread.

    Raises:
        InvalidFolder: the model has other classes.
    """
    classes = client.ensure_model().classes or client.create_model(dataset.classes).classes
    check_classes(dataset, classes or dataset.classes)
    return Imported(skipped=len(dataset.skipped)).plus(add_files(client, dataset.files, on_progress))


def import_zip(client: Client, path: Path, on_sent: Callable[[int, int], None]) -> Imported:
    """Declare the model's classes where it has none, then send a zip of labelled images as it is.

    Args:
        on_sent: called with (bytes sent, bytes in all).

    Raises:
        InvalidFolder: the model has no classes, and the zip has not exactly two.
    """
    if client.ensure_model().classes is None:
        client.create_model(read_zip_classes(path))
    answer = client.import_archive(path, partial=True, on_sent=on_sent)
    return Imported(sum(answer.added.values()), answer.duplicates, answer.rejected, answer.skipped)


def add_files(
    client: Client, files: Sequence[LabelledFile], on_progress: Callable[[int, int], None] = lambda *_: None
) -> Imported:
    """Store labelled files, several requests at once."""
    waiting = _groups(files)
    total = Imported()
    threads = ThreadPoolExecutor(REQUESTS_AT_ONCE)
    running: dict[Future[Imported], int] = {}
    done = 0
    try:
        while True:
            while len(running) < REQUESTS_AT_ONCE and (group := next(waiting, None)):
                running[threads.submit(_add, client, group)] = len(group)
            if not running:
                return total
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                total = total.plus(future.result())
                done += running.pop(future)
                on_progress(done, len(files))
    finally:
        threads.shutdown(cancel_futures=True)


def predict_files(client: Client, paths: Sequence[Path], version: int | None = None) -> list[Classified]:
    """Classify files, in order; one that cannot be used has its error."""

    def send(files: Sequence[LabelledFile]) -> list[Classified]:
        answer = client.predict(_paths(files), version=version)
        return [_classified(file, answer, index) for index, file in enumerate(files)]

    def refused(file: LabelledFile, error: ErrorText) -> list[Classified]:
        return [Classified(str(file.path), error=error)]

    groups = _groups([LabelledFile(path, "", holdout=False) for path in paths])
    return [one for group in groups for part in _each(group, send, refused) for one in part]


def _classified(file: LabelledFile, answer: Answer, index: int) -> Classified:
    one = answer.predictions[index]
    return Classified(
        str(file.path),
        version=answer.model.version,
        label=one.label,
        probability=one.probability,
        threshold=one.threshold,
        error=one.error,
        request_id=answer.request_id,
        index=index,
    )


def _add(client: Client, group: Sequence[LabelledFile]) -> Imported:
    bucket = "holdout" if group[0].holdout else None

    def send(files: Sequence[LabelledFile]) -> Imported:
        return _imported(client.add_examples(_paths(files), files[0].label, bucket=bucket, group=files[0].group), files)

    def refused(file: LabelledFile, error: ErrorText) -> Imported:
        return Imported(rejected=(Rejected(str(file.path), error),))

    return reduce(Imported.plus, _each(group, send, refused))


def _imported(added: Added, files: Sequence[LabelledFile]) -> Imported:
    paths = {file.path.name: str(file.path) for file in files}  # the service knows names only
    duplicates = sum(example.duplicate for example in added.examples)
    rejected = tuple(Rejected(paths.get(one.file or "", one.file), one.error) for one in added.rejected)
    return Imported(len(added.examples) - duplicates, duplicates, rejected)


def _groups(files: Sequence[LabelledFile]) -> Iterator[list[LabelledFile]]:
    """Cut into requests: one label, bucket and group each, few files, few bytes."""
    group: list[LabelledFile] = []
    size = 0
    for file in files:
        file_size = file.path.stat().st_size
        same = group and replace(file, path=group[0].path) == group[0]
        if group and not (same and len(group) < FILES_PER_REQUEST and size + file_size <= BYTES_PER_REQUEST):
            yield group
            group, size = [], 0
        group.append(file)
        size += file_size
    if group:
        yield group


def _paths(files: Sequence[LabelledFile]) -> list[Path]:
    return [file.path for file in files]


def _each(
    files: Sequence[LabelledFile],
    send: Callable[[Sequence[LabelledFile]], T],
    refused: Callable[[LabelledFile, ErrorText], T],
) -> list[T]:
    """Send files together, or one by one where all of them were refused."""
    try:
        return [send(files)]
    except ApiError as error:
        if error.code not in ABOUT_THE_FILE:
            raise
        if len(files) == 1:
            return [refused(files[0], ErrorText(error.code, str(error)))]
    return [answer for file in files for answer in _each([file], send, refused)]
