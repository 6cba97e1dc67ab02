"""`ripen feedback` and `ripen review`: whether recent predictions were right, and which to look at. Neither line."""

import re
from pathlib import Path

import click

from ripen.answers import Proposed
from ripen.client import Client
from ripen.display import Screen
from ripen.options import with_client

IMAGE = re.compile(r"(?P<request_id>[A-Za-z0-9._-]{1,64})(/(?P<index>[0-9]{1,3}))?")
ENDINGS = {b"\x89PNG": "png", b"RIFF": "webp"}


@click.command()
@click.argument("image", metavar="REQUEST[/INDEX]")
@click.option("--label", help="What the image shows: one of the model's two classes.")
@click.option("--right/--wrong", "correct", default=None, help="Whether the predicted label was right.")
@with_client
def feedback(client: Client, screen: Screen, /, image: str, label: str | None, *, correct: bool | None) -> None:
    """Say what a predicted image shows. Example: ripen feedback 5f0c8be0/2 --label apple

    It is stored as a labelled image. `ripen predict` and `ripen review` show REQUEST/INDEX; without INDEX it is the
    request's first image.
    """
    named = IMAGE.fullmatch(image)
    if named is None:
        raise click.BadParameter(f"{image!r} is not a request's id, or one with /INDEX.", param_hint="REQUEST[/INDEX]")
    if (label is None) == (correct is None):
        raise click.UsageError("Say one of --label, --right and --wrong.")
    stored = client.feedback(named["request_id"], index=int(named["index"] or 0), label=label, correct=correct)
    again = ", as it was already" if stored.duplicate else ""
    screen.show(stored, lambda: screen.say(f"{stored.file} is {stored.label} (bucket {stored.bucket}){again}."))


@click.command()
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most so many.")
@click.option("--save", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Save the images there.")
@with_client
def review(client: Client, screen: Screen, /, limit: int, save: Path | None) -> None:
    """Show which predictions to label next. Example: ripen review --save look/

    Most useful first: typical images while labels are few, then those that the model doubts; some by chance.
    """
    answer = client.review(limit=limit)
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        for one in answer.predictions:
            _save(save, one, client.review_image(one.request_id, index=one.index))
    screen.show(answer, lambda: screen.review(answer))


def _save(folder: Path, one: Proposed, image: bytes) -> None:
    ending = ENDINGS.get(image[:4], "jpg")
    (folder / f"{one.request_id}-{one.index}.{ending}").write_bytes(image)
