"""What the commands share: their common options, and how an error becomes an exit status. Neither line."""

import errno
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import click

from ripen.client import DEFAULT_MODEL, DEFAULT_URL, Client
from ripen.display import Screen
from ripen.errors import InvalidCredentials, InvalidFolder, RipenClientError, ServiceUnreachable

P = ParamSpec("P")
R = TypeVar("R")
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3

model_option = click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Which yes/no question.")
url_option = click.option("--url", default=DEFAULT_URL, show_default=True, help="Where the service listens.")
home_option = click.option(
    "--home",
    type=click.Path(path_type=Path),
    default=Path("var"),
    envvar="RIPEN_HOME",
    show_default=True,
    help="Folder that holds all state.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; words on stderr.")


class Commands(click.Group):
    """A group whose help lists its commands in sections, and whose errors have exit statuses.

    Args:
        sections: heading -> names of commands, in the order of the help.
    """

    def __init__(self, *, sections: Mapping[str, tuple[str, ...]], **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]  # handed through as click's decorator gave them
        self._sections = sections

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        """One section per heading."""
        for heading, names in self._sections.items():
            commands = [(name, (self.commands[name].help or "").split("\n")[0]) for name in names]
            with formatter.section(heading):
                formatter.write_dl(commands)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; 0 done, 1 the service said no, 2 usage, 3 nothing answers."""
        try:
            return super().invoke(ctx)
        except RipenClientError as error:
            (ctx.obj or Screen(json=False)).fail(error)
            ctx.exit(exit_status(error))
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever read our output has gone; click knows what to do
                raise
            raise click.UsageError(
                f"{error.filename or 'A file'} cannot be used: {error.strerror or error}."
            ) from error


def exit_status(error: RipenClientError) -> int:
    """The exit status that tells a script what went wrong."""
    if isinstance(error, ServiceUnreachable):
        return EXIT_UNREACHABLE
    usage = isinstance(error, InvalidFolder | InvalidCredentials) or getattr(error, "bad_setting", False)
    return EXIT_USAGE if usage else EXIT_REFUSED


def with_screen(command: Callable[Concatenate[Screen, P], R]) -> Callable[P, R]:
    """Add `--json`; the command gets the screen as its first argument."""

    @json_option
    @click.pass_context
    @wraps(command)
    def wrapped(context: click.Context, /, *arguments: P.args, **options: P.kwargs) -> R:
        screen = context.find_root().obj = Screen(json=bool(options.pop("as_json")))
        return command(screen, *arguments, **options)

    return wrapped


def with_client(command: Callable[Concatenate[Client, Screen, P], R]) -> Callable[P, R]:
    """Add `--model`, `--url` and `--json`; the command gets client and screen first."""

    @model_option
    @url_option
    @with_screen
    @wraps(command)
    def wrapped(screen: Screen, /, *arguments: P.args, **options: P.kwargs) -> R:
        with Client(str(options.pop("url")), str(options.pop("model"))) as client:
            return command(client, screen, *arguments, **options)

    return wrapped
