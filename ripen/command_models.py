"""`ripen models`, `pin`, `unpin`, `delete`: what the service keeps. Each is one call of the client, and its words."""

import click

from ripen.answers import DeletedExample, Trace
from ripen.client import Client
from ripen.display import Screen
from ripen.options import with_client

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List models, or make and pin them. Example: ripen models list"""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@models.command("list")
@with_client
def list_models(client: Client, screen: Screen, /) -> None:
    """List models: their classes, and which version should be live. Example: ripen models list"""
    found = client.models()
    rows = (
        (
            f"{one.name}{' (pinned)' if one.pinned else ''}",
            " / ".join(one.classes or ("not declared",)),
            f"{one.live_version or '-'}",
        )
        for one in found
    )
    screen.show({"models": found}, lambda: screen.table(("model", "classes", "version"), rows))


@models.command()
@click.argument("classes", nargs=2, metavar="CLASS CLASS")
@with_client
def create(client: Client, screen: Screen, /, classes: tuple[str, str]) -> None:
    """Make a model. Example: ripen models create apple orange --model fruit

    Probabilities speak of the second class. The same again changes nothing; classes never change.
    """
    made = client.create_model(classes)
    screen.show(made, lambda: screen.say(f"model {made.name} tells {classes[0]} from {classes[1]}"))


@models.command("pin")
@with_client
def pin_model(client: Client, screen: Screen, /) -> None:
    """Keep a model loaded, whatever the memory budget says. Example: ripen models pin --model fruit"""
    pinned = client.pin_model()
    screen.show(pinned, lambda: screen.say(f"model {pinned.name} stays loaded"))


@models.command("unpin")
@with_client
def unpin_model(client: Client, screen: Screen, /) -> None:
    """Let a model's engine stop while nobody asks. Example: ripen models unpin --model fruit"""
    pinned = client.pin_model(pinned=False)
    screen.show(pinned, lambda: screen.say(f"model {pinned.name} may be unloaded while nobody asks"))


@models.command("delete")
@yes_option
@with_client
def delete_model(client: Client, screen: Screen, /, *, yes: bool) -> None:
    """Remove a model with all images and versions. Example: ripen models delete --model fruit

    There is no way back but a backup.
    """
    _confirm(f"Remove model {client.model} with all its images, jobs and versions?", yes=yes)
    gone = client.delete_model()
    screen.show(gone, lambda: screen.say(f"model {gone.name} is gone"))


@click.command()
@click.argument("version", type=click.IntRange(1))
@with_client
def pin(client: Client, screen: Screen, /, version: int) -> None:
    """Keep a version's files, whatever retention says. Example: ripen pin 3"""
    answer = client.pin(version)
    screen.show(answer, lambda: screen.say(f"version {version} stays"))


@click.command()
@click.argument("version", type=click.IntRange(1))
@with_client
def unpin(client: Client, screen: Screen, /, version: int) -> None:
    """Let retention remove a version's files. Example: ripen unpin 3"""
    answer = client.pin(version, pinned=False)
    screen.show(answer, lambda: screen.say(f"version {version} goes with retention"))


@click.group()
def delete() -> None:
    """Remove an image or a version's files. Example: ripen delete example 18a9d0c1f0b2c3d4aabbccdd"""


@delete.command("version")
@click.argument("version", type=click.IntRange(1))
@yes_option
@with_client
def delete_version(client: Client, screen: Screen, /, version: int, *, yes: bool) -> None:
    """Remove a version's files; its record stays. Example: ripen delete version 3"""
    _confirm(f"Remove the files of version {version} of model {client.model}?", yes=yes)
    answer = client.delete_version(version)
    screen.show(answer, lambda: screen.say(f"the files of version {version} are gone; its record stays"))


@delete.command("example")
@click.argument("example_id", metavar="ID")
@with_client
def delete_example(client: Client, screen: Screen, /, example_id: str) -> None:
    """Remove a labelled image, and say where it went. Example: ripen delete example 18a9d0c1f0b2c3d4aabbccdd"""
    gone = client.delete_example(example_id)
    screen.show(gone, lambda: _draw_deleted(screen, gone))


def _confirm(question: str, *, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)


def _draw_deleted(screen: Screen, gone: DeletedExample) -> None:
    screen.say(f"image {gone.id} ({gone.label}) is gone")
    for traces, what in ((gone.trained_versions, "learnt from it"), (gone.judged_versions, "were judged on it")):
        if traces:
            screen.say(f"versions that {what}: {', '.join(map(_describe, traces))}")
    if gone.copies_in:
        numbers = ", ".join(map(str, gone.copies_in))
        screen.say(f"versions whose files hold a copy: {numbers}; `ripen delete version N` removes it", "yellow")


def _describe(trace: Trace) -> str:
    return f"{trace.version}{' (pruned)' if trace.pruned else ''}"
