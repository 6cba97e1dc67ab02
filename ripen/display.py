"""What the `ripen` command prints: results on stdout, progress and words for people beside them. Neither line.

With `--json`, stdout carries one JSON document and nothing else; everything for people goes to stderr.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ripen.answers import Comparison, Difference, Epoch, Examples, Job, Review, Versions
from ripen.errors import RipenClientError
from ripen.sending import Classified, Imported

STYLES = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}
SHOWN_REJECTED = 10
COMPARED = ("slice", "images", "new right", "live right", "only new, only live", "p", "log-loss", "AUC")
COPIED = ("job", "request")  # columns of ids; a folded one cannot be copied
PIPED_WIDTH = 2**20  # wider than any row: rows stay lines where a program or a file reads them


class Screen:
    """Where a command prints.

    Args:
        json: results as JSON on stdout, words on stderr.
    """

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.words = Console(stderr=json, highlight=False, soft_wrap=True)
        if not self.words.is_terminal:
            self.words.width = PIPED_WIDTH

    def say(self, text: str, style: str = "") -> None:
        """One line for people; `text` is printed as it is."""
        self.words.print(escape(text), style=style)

    def show(self, result: object, draw: Callable[[], None]) -> None:
        """Print a command's result: as JSON, or as `draw` does."""
        if self.json:
            print(msgspec.json.encode(result).decode())
        else:
            draw()

    def fail(self, error: RipenClientError) -> None:
        """Say why the command failed."""
        if self.json:
            print(msgspec.json.encode({"error": {"code": error.code, "message": str(error)}}).decode())
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]{escape(str(error))}[/red]")

    @contextmanager
    def counting(self, what: str, *, of_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
        """A progress bar; yields the function that moves it to (done, in all)."""
        count = DownloadColumn() if of_bytes else MofNCompleteColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
        with self._progress(*columns) as progress:
            task = progress.add_task(escape(what), total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    @contextmanager
    def moving(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A progress bar of bytes, with the time that is left; yields the function that moves it to (done, in all)."""
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with self._progress(*columns) as progress:
            task = progress.add_task(escape(what), total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total or None)

    def follow(self, jobs: Iterable[Job]) -> Job:
        """Show a job's progress until it ends, and return it as it ended."""
        seen: tuple[int, int] = (0, 0)  # epochs and warnings that have a line already
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        with self._progress(*columns) as progress:
            task = progress.add_task("queued", total=1.0)
            for job in jobs:
                progress.update(task, completed=job.progress.fraction, description=escape(describe_progress(job)))
                for warning in job.progress.warnings[seen[1] :]:
                    self.say(f"warning: {warning}", "yellow")
                for epoch in job.progress.history[seen[0] :]:
                    self.say(describe_epoch(epoch, job.progress.epochs))
                seen = (len(job.progress.history), len(job.progress.warnings))
        return job

    def _progress(self, *columns: ProgressColumn) -> Progress:
        """A live bar that leaves nothing behind; none where nobody watches."""
        return Progress(*columns, console=self.words, transient=True, disable=not self.words.is_terminal)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print rows of plain text under headings."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold", no_wrap=column in COPIED)
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        if self.words.is_terminal:
            self.words.print(table, soft_wrap=False)
            return
        with self.words.capture() as drawn:
            self.words.print(table, soft_wrap=False)
        self.words.out(re.sub(" +$", "", drawn.get(), flags=re.MULTILINE), end="")  # rich pads the last column

    def imported(self, result: Imported) -> None:
        """Print what became of files."""
        skipped = f", {result.skipped} skipped (hidden, or no image by name)" if result.skipped else ""
        self.say(f"{result.added} added, {result.duplicates} already there, {len(result.rejected)} rejected{skipped}.")
        for one in result.rejected[:SHOWN_REJECTED]:
            self.say(f"  {one.file}: {one.error.message}", "yellow")
        if len(result.rejected) > SHOWN_REJECTED:
            self.say(f"  ... and {len(result.rejected) - SHOWN_REJECTED} more; --json lists them all", "yellow")

    def predictions(self, results: Sequence[Classified]) -> None:
        """Print one row per image."""
        self.table(
            ("file", "label", "probability", "version", "request"),
            (
                (one.file, one.label or "-", f"{one.probability:.4f}", f"{one.version}", one.named)
                if one.probability is not None
                else (one.file, "-", "-", one.error.message if one.error else "", "")
                for one in results
            ),
        )

    def review(self, answer: Review) -> None:
        """Print one row per image that is worth a label."""
        self.table(
            ("request", "label", "probability", "version", "why", "file"),
            (
                (
                    one.named,
                    one.label,
                    f"{one.probability:.4f}",
                    f"{one.version}",
                    one.reason,
                    one.file,
                )
                for one in answer.predictions
            ),
        )

    def jobs(self, jobs: Sequence[Job]) -> None:
        """Print one row per job, and of a lone one all that is known."""
        rows = ((job.id, job.state, f"{job.created_at:%Y-%m-%d %H:%M:%S}", _outcome(job)) for job in jobs)
        self.table(("job", "state", "created (UTC)", "outcome"), rows)
        if len(jobs) == 1:
            self.outcome(jobs[0])

    def outcome(self, job: Job) -> None:
        """Print how a job ended, what its version was compared on, and how one that is held goes live."""
        self.say(describe_outcome(job))
        verdict = job.verdict
        if verdict is None:
            return
        if verdict.comparisons:
            self.table(COMPARED, (_compared(one) for one in verdict.comparisons))
        if verdict.decision == "inconclusive" or job.dry_run:
            self.say(f"To put it live: ripen promote {job.version} --reason WHY")

    def versions(self, answer: Versions) -> None:
        """Print one row per version, and what is not as it should be."""
        self.table(
            ("version", "state", "accuracy", "on images", "gate", "created (UTC)"),
            (
                (
                    f"{one.version}{' (live)' if one.live else ''}",
                    one.state,
                    f"{one.metrics.accuracy:.1%}",
                    f"{one.metrics.count}",
                    "held" if one.verdict.decision == "inconclusive" and not one.live else one.verdict.decision,
                    f"{one.created_at:%Y-%m-%d %H:%M:%S}",
                )
                for one in answer.versions
            ),
        )
        for one in answer.versions:
            if one.status.error_code != "OK":
                self.say(f"version {one.version} is not served: {one.status.message}", "yellow")
            elif one.live and one.status.runtime:
                because = f" ({'; '.join(one.status.notes)})" if one.status.notes else ""
                self.say(f"version {one.version} runs on {one.status.runtime}{because}")
        if answer.aspired != answer.live:
            self.say(f"version {answer.aspired} should be live; version {answer.live or 'none'} is", "yellow")

    def examples(self, answer: Examples) -> None:
        """Print how many images there are."""
        self.table(("label", "bucket", "images"), ((one.label, one.bucket, f"{one.count}") for one in answer.counts))


def _compared(one: Comparison) -> tuple[str, ...]:
    """One slice in a row, with the table's columns."""
    judged = (
        ("too few", "", "") if one.p_value is None else (f"{one.p_value:.2g}", *map(_told, (one.log_loss, one.auc)))
    )
    return (
        f"{one.slice}{' (protected)' if one.protected else ''}",
        f"{one.count}",
        f"{one.candidate_accuracy:.1%}",
        f"{one.live_accuracy:.1%}",
        f"+{one.only_candidate_right} -{one.only_live_right}",
        *judged,
    )


def _told(difference: Difference | None) -> str:
    return "" if difference is None else f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def describe_progress(job: Job) -> str:
    """Where a job is, in one line."""
    progress = job.progress
    parts = [progress.step]
    if progress.epochs:
        parts.append(f"epoch {progress.epoch}/{progress.epochs}")
    if progress.history:
        last = progress.history[-1]
        parts.append(f"loss {last.loss:.3f} accuracy {last.accuracy:.3f}")
    if progress.eta_s is not None and not job.ended:
        parts.append(f"about {progress.eta_s:.0f} s left")
    return " · ".join(parts)


def describe_epoch(epoch: Epoch, epochs: int) -> str:
    """One finished epoch, in one line."""
    validation = ""
    if epoch.validation_loss is not None and epoch.validation_accuracy is not None:
        validation = f"  validation loss {epoch.validation_loss:.3f} accuracy {epoch.validation_accuracy:.3f}"
    return (
        f"  epoch {epoch.epoch:2d}/{epochs} {epoch.phase:5s}  loss {epoch.loss:.3f} "
        f"accuracy {epoch.accuracy:.3f}{validation}  {epoch.seconds:.1f} s"
    )


def _outcome(job: Job) -> str:
    """How a job ended, in a few words."""
    if job.state == "succeeded" and job.verdict is not None:
        return f"version {job.version}: {job.verdict.decision}, {job.verdict.candidate.accuracy:.1%} right"
    return job.failure.code if job.failure else ""


def describe_outcome(job: Job) -> str:
    """How a job ended, in words."""
    if job.state == "failed" and job.failure:
        return f"failed: {job.failure.message}"
    if job.state != "succeeded" or job.verdict is None:
        return describe_progress(job) if not job.ended else job.state
    return f"version {job.version}: {job.verdict.decision}. {' '.join(job.verdict.reasons)}"
