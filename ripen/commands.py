"""The commands that speak to a running service. Each is one or two calls of the client, and what to print of it."""

from pathlib import Path

import click

from ripen.client import Client, Setting
from ripen.dataset_folder import LabelledFile, read_dataset
from ripen.display import Screen
from ripen.options import EXIT_REFUSED, with_client, with_screen
from ripen.sending import Imported, add_files, import_dataset, import_zip, predict_files
from ripen.zip_dataset import is_zip

POLICIES = ("cautious", "balanced", "always", "not_worse")  # the last one is from earlier releases
EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
files_argument = click.argument("files", nargs=-1, required=True, metavar="FILE...", type=EXISTING)


@click.command()
@files_argument
@click.option("--version", type=click.IntRange(1), help="A loaded version; the live one if left out.")
@with_client
def predict(client: Client, screen: Screen, /, files: tuple[Path, ...], version: int | None) -> None:
    """Classify images. Example: ripen predict fruit.jpg"""
    results = predict_files(client, files, version)
    screen.show({"predictions": results}, lambda: screen.predictions(results))
    if any(one.error for one in results):
        raise click.exceptions.Exit(EXIT_REFUSED)


@click.command()
@files_argument
@click.option("--label", required=True, help="One of the model's two classes.")
@click.option("--holdout", is_flag=True, help="Keep them for judging versions, never for training.")
@click.option("--group", help="Keep them in one bucket, with others of this group: a camera, a patient.")
@with_client
def label(
    client: Client, screen: Screen, /, files: tuple[Path, ...], label: str, *, holdout: bool, group: str | None
) -> None:
    """Store labelled images. Example: ripen label fruit.jpg --label apple"""
    result = add_files(client, [LabelledFile(path, label, holdout, group) for path in files])
    screen.show(result, lambda: screen.imported(result))
    if result.rejected:
        raise click.exceptions.Exit(EXIT_REFUSED)


@click.command("import")
@click.argument("folder", metavar="DIR|FILE.zip", type=click.Path(path_type=Path))
@with_client
def import_folder(client: Client, screen: Screen, /, folder: Path) -> None:
    """Store a folder or zip of labelled images. Example: ripen import data/

    DIR has train/CLASS/ for two classes, and may have validation/CLASS/ (or val, valid, test), which is kept for
    judging; or it has the two CLASS/ folders directly. A zip has the same inside. Importing the same again adds only
    what is new.
    """
    result = _import_zip(client, screen, folder) if is_zip(folder) else _import_folder(client, screen, folder)
    screen.show(result, lambda: screen.imported(result))
    if not result.added and not result.duplicates:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _import_folder(client: Client, screen: Screen, folder: Path) -> Imported:
    dataset = read_dataset(folder)
    with screen.counting(f"importing {len(dataset.files)} images") as on_progress:
        return import_dataset(client, dataset, on_progress)


def _import_zip(client: Client, screen: Screen, path: Path) -> Imported:
    with screen.counting(f"sending {path.name}", of_bytes=True) as on_sent:
        return import_zip(client, path, on_sent)


@click.command()
@with_client
def examples(client: Client, screen: Screen, /) -> None:
    """Count the stored images. Example: ripen examples"""
    answer = client.examples(limit=1)
    screen.show({"counts": answer.counts}, lambda: screen.examples(answer))


@click.command()
@click.option("--wait", is_flag=True, help="Show the progress and wait for the end.")
@click.option("--backbone", help="A Keras Applications name, or Compact.")
@click.option("--alpha", type=float, help="Width multiplier of the MobileNets.")
@click.option("--weights", help="auto, imagenet, none, or the name of a file in the service's weights folder.")
@click.option("--gate", type=click.Choice(POLICIES), help="When the new version goes live by itself.")
@click.option("--dry-run", is_flag=True, help="Make and judge a version, but let nothing go live.")
@with_client
def retrain(
    client: Client, screen: Screen, /, *, wait: bool, gate: str | None, dry_run: bool, **recipe: Setting
) -> None:
    """Fine-tune a new version. Example: ripen retrain --wait"""
    changes = {name: value for name, value in recipe.items() if value is not None}
    job = client.retrain(changes, gate_policy=gate, dry_run=dry_run)
    if wait:
        screen.say(f"job {job.id}")
        job = screen.follow(client.watch(job.id))
    screen.show(job, lambda: screen.outcome(job) if wait else screen.say(f"job {job.id} is {job.state}"))
    if wait and job.state != "succeeded":
        raise click.exceptions.Exit(EXIT_REFUSED)


@click.command()
@click.argument("job", required=False)
@with_client
def jobs(client: Client, screen: Screen, /, job: str | None) -> None:
    """List retrainings, or show one. Example: ripen jobs"""
    found = (client.job(job),) if job else client.jobs()
    screen.show(found[0] if job else {"jobs": found}, lambda: screen.jobs(found))


@click.command()
@click.argument("job")
@with_client
def cancel(client: Client, screen: Screen, /, job: str) -> None:
    """Stop a retraining. Example: ripen cancel 0b9c5f1d7c6f"""
    answer = client.cancel(job)
    screen.show(answer, lambda: screen.say(f"job {answer.id} is {answer.state}, its end was asked for"))


@click.command()
@with_client
def versions(client: Client, screen: Screen, /) -> None:
    """List versions: which is live, how good each is. Example: ripen versions"""
    answer = client.versions()
    screen.show(answer, lambda: screen.versions(answer))


@click.command()
@click.argument("version", type=click.IntRange(1))
@click.option("--reason", required=True, help="Why, for the history.")
@with_client
def promote(client: Client, screen: Screen, /, version: int, reason: str) -> None:
    """Put a version live by hand. Example: ripen promote 3 --reason "checked by hand" """
    change = client.promote(version, reason)
    screen.show(change, lambda: screen.say(f"version {change.version} goes live in place of {change.replaced}"))


@click.command()
@click.option("--reason", default="", help="Why, for the history.")
@with_client
def rollback(client: Client, screen: Screen, /, reason: str) -> None:
    """Put the version before live again. Example: ripen rollback"""
    change = client.rollback(reason)
    screen.show(change, lambda: screen.say(f"version {change.version} goes live in place of {change.replaced}"))


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@with_screen
def sample(screen: Screen, /, folder: Path) -> None:
    """Draw the sample set. Example: ripen sample fruit/"""
    from ripen.sample_set import draw_sample_set  # noqa: PLC0415  # OpenCV takes 0.2 s, which no other command needs

    with screen.counting("drawing") as on_drawn:
        count = draw_sample_set(folder, on_drawn=on_drawn)
    screen.show({"folder": str(folder), "images": count}, lambda: screen.say(f"{count} pictures are in {folder}"))
