"""A zip of labelled images into a model: `<class>/`, or `train/<class>/` and `validation/<class>/`. LINE B step 1.

Nothing is stored before the archive's whole directory has been checked; unless the import is partial, not before every
image of it has been, too. What was stored when the disk is full or the database goes away stays, and the same archive
may be sent again.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from contract.errors import (
    Draining,
    ImageTooLarge,
    InvalidArchive,
    InvalidImage,
    LabelConflict,
    RipenError,
    UnknownLabel,
)
from contract.keys import Contributor
from contract.records import Bucket, Model, class_of
from contract.settings import Settings
from service.learning import Learning
from service.split import Asked, check_bucket
from service.zip_archive import ArchiveLimits, Entry, read_directory, read_entry

MAX_ENTRIES = 10_000
TRAIN = "train"
VALIDATION = ("validation", "val", "valid", "test")  # as for a folder that `ripen import` reads
SPLITS = (TRAIN, *VALIDATION)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
JUNK = ("__MACOSX",)
ABOUT_THE_IMAGE = (InvalidImage, ImageTooLarge, InvalidArchive, UnknownLabel, LabelConflict)


@dataclass(frozen=True)
class ImportReport:
    """What became of an archive's files.

    Attributes:
        added: new examples per class.
        duplicates: images that were there before, or twice in the archive.
        skipped: files that are hidden, or no images by name.
        rejected: files that were not stored; only of a partial import.
    """

    added: Mapping[str, int]
    duplicates: int
    skipped: int
    rejected: tuple["RejectedFile", ...]


@dataclass(frozen=True)
class RejectedFile:
    """One file that was not stored, and why. Not the error itself: its traceback would keep the file's bytes alive."""

    name: str
    code: str
    message: str


@dataclass(frozen=True)
class Labelled:
    """One image of the archive, or why it has no place in the model."""

    entry: Entry
    label: str
    bucket: Bucket | None
    error: RipenError | None = None


class ZipImport:
    """Imports archives.

    Args:
        stopping: whether the service stops; asked before each image.
        contributor: who supplies the images.
    """

    def __init__(
        self, learning: Learning, settings: Settings, stopping: Callable[[], bool], contributor: Contributor
    ) -> None:
        self._contributor = contributor
        self._learning = learning
        self._limits = ArchiveLimits(MAX_ENTRIES, settings.max_import_bytes)
        self._max_image_bytes = settings.max_image_bytes
        self._stopping = stopping

    def run(self, file: IO[bytes], model_name: str, *, partial: bool) -> ImportReport:
        """Import a whole archive.

        Args:
            partial: store what can be stored and list the rest; else one bad image refuses all of them.

        Raises:
            UnknownModel, ClassesNotDeclared: there is nothing to import into.
            InvalidArchive, ArchiveTooLarge: nothing of it is read.
            InvalidImage, ImageTooLarge, UnknownLabel, LabelConflict: of one image, named; not where `partial`.
            PermissionDenied: it has a hold-out, and the contributor is not trusted; nothing is stored.
        """
        model, classes = self._learning.declared(model_name)
        entries = read_directory(file, self._limits)
        images = find_images(entries, classes)
        for image in images:
            check_bucket(image.bucket, self._contributor)
        if not partial:
            self._check_each(file, model, images)
        report = self._store_each(file, model, images)
        return ImportReport(
            {label: report.added[label] for label in classes},
            report.duplicates,
            len(entries) - len(images),
            tuple(report.rejected),
        )

    def _check_each(self, file: IO[bytes], model: Model, images: Sequence[Labelled]) -> None:
        """Raise the first image's error, with its place."""
        labels: dict[str, str] = {}
        for number, image in enumerate(images, 1):
            try:
                digest = self._learning.examine(self._read(file, image))[2]
                if labels.setdefault(digest, image.label) != image.label:
                    raise LabelConflict("The same image is in the archive under both classes.")
            except ABOUT_THE_IMAGE as error:
                raise _placed(error, f"Image {number} of {len(images)}", image.entry) from error
        for digest, label in self._learning.stored_labels(model.name):
            if labels.get(digest, label) != label:
                raise LabelConflict(
                    f"An image of the archive is stored as {label!r} already and in it {labels[digest]!r}. Nothing was "
                    "stored; with partial=true it is named, and the others are stored."
                )

    def _store_each(self, file: IO[bytes], model: Model, images: Sequence[Labelled]) -> "_Stored":
        stored = _Stored()
        for image in images:
            try:
                data = self._read(file, image)
                _, new = self._learning.add_example(
                    model,
                    label=image.label,
                    data=data,
                    file=image.entry.name,
                    contributor=self._contributor,
                    asked=Asked(image.bucket),
                )
            except ABOUT_THE_IMAGE as error:
                stored.rejected.append(RejectedFile(image.entry.name, error.code, error.message))
            else:
                stored.added[image.label] += new
                stored.duplicates += not new
        return stored

    def _read(self, file: IO[bytes], image: Labelled) -> bytes:
        if self._stopping():
            raise Draining("The service is stopping; send the archive again in a moment.")
        if image.error is not None:
            raise image.error
        size = image.entry.size_bytes
        if size > self._max_image_bytes:
            raise ImageTooLarge(f"The image has {size} bytes; at most {self._max_image_bytes} are accepted.")
        return read_entry(file, image.entry)


class _Stored:
    """Counts while images are stored."""

    def __init__(self) -> None:
        self.added: Counter[str] = Counter()
        self.duplicates = 0
        self.rejected: list[RejectedFile] = []


def find_images(entries: Sequence[Entry], classes: tuple[str, str]) -> tuple[Labelled, ...]:
    """The images of an archive with their labels; hidden files and those that are no images by name are left out.

    Raises:
        InvalidArchive: there are none, or another archive is among them.
    """
    visible = [entry for entry in entries if not _hidden(entry)]
    nested = next((entry for entry in visible if entry.name.lower().endswith(ARCHIVE_SUFFIXES)), None)
    if nested is not None:
        raise InvalidArchive(f"{nested.place}: an archive within the archive; expected images.")
    images = [entry for entry in visible if entry.name.lower().endswith(IMAGE_SUFFIXES)]
    if not images:
        raise InvalidArchive("The archive has no image by name (JPEG, PNG, WebP); expected one folder per class.")
    wrapped = _is_wrapped(images, classes)
    return tuple(_label(image, image.name.split("/")[wrapped:], classes) for image in images)


def _hidden(entry: Entry) -> bool:
    return any(part.startswith(".") or part in JUNK for part in entry.name.split("/"))


def _is_wrapped(images: Sequence[Entry], classes: tuple[str, str]) -> bool:
    """Whether all lies in one folder more, as when the data set's folder itself was packed."""
    first, *others = {image.name.split("/")[0] for image in images}
    deep = all(image.name.count("/") >= 2 for image in images)
    return not others and deep and class_of(first, classes) is None and first not in SPLITS


def _label(image: Entry, parts: Sequence[str], classes: tuple[str, str]) -> Labelled:
    """What the folders of an image say of it."""
    split = parts[0] if len(parts) > 2 and parts[0] in SPLITS else None
    folder = parts[1] if split else parts[0] if len(parts) > 1 else None
    label = class_of(folder, classes) if folder is not None else None
    bucket = Bucket.HOLDOUT if split in VALIDATION else None
    if label is None:
        return Labelled(image, "", bucket, _no_class(folder, classes))
    return Labelled(image, label, bucket)


def _no_class(folder: str | None, classes: tuple[str, str]) -> UnknownLabel:
    where = "It lies in no folder" if folder is None else f"Its folder {folder[:80]!a} is no class"
    return UnknownLabel(
        f"{where} of the model; expected {classes[0]}/ or {classes[1]}/, also below train/ or validation/."
    )


def _placed(error: RipenError, which: str, entry: Entry) -> RipenError:
    """The same error with the image's place, and what came of the others."""
    where = "" if isinstance(error, InvalidArchive) else f"{entry.place}: "
    return type(error)(f"{which}. {where}{error.message} Nothing was stored; mend it, or import with partial=true.")
