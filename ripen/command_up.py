"""`ripen up`: everything on this machine, as child processes, with a first version. Neither line: it starts both."""

import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click
import msgspec

from ripen.answers import Version
from ripen.bootstrap import SAMPLE, Bootstrap
from ripen.client import DEFAULT_MODEL, Client, Setting
from ripen.dataset_folder import read_dataset
from ripen.display import Screen
from ripen.errors import CannotStart
from ripen.options import model_option, with_screen
from ripen.supervisor import Program, Supervisor

PROGRAMS = (
    Program("service", (sys.executable, "-m", "service")),
    Program("worker", (sys.executable, "-m", "retrain", "worker")),
)
EXIT_INTERRUPTED = 130
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Addresses:
    """Where everything answers, and one image to try with."""

    rest: str
    grpc: str
    docs: str
    metrics: str


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Make version 1 from this folder of labelled images.")
@click.option("--backbone", help="A Keras Applications name, or Compact; MobileNetV2 if it can have its weights.")
@click.option("--alpha", type=float, help="Width multiplier of the MobileNets.")
@click.option("--weights", help="auto, imagenet, none, or a weights file.  [default: auto]")
@click.option("--rest-port", type=click.IntRange(1, 65535), default=8501, envvar="RIPEN_REST_PORT", show_default=True)
@click.option("--grpc-port", type=click.IntRange(1, 65535), default=8500, envvar="RIPEN_GRPC_PORT", show_default=True)
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    default=Path("var"),
    envvar="RIPEN_HOME",
    show_default=True,
    help="Folder that holds all state.",
)
@model_option
@with_screen
def up(
    screen: Screen, /, data: Path | None, rest_port: int, grpc_port: int, home: Path, model: str, **recipe: Setting
) -> None:
    """Start everything on this machine. Example: ripen up --data pictures/

    Starts the service and the retrain worker, and makes a first version where there is none: from DIR, or from a drawn
    sample set of apples and oranges. Ctrl-C drains and stops all of it; the next start continues where it was.
    """
    dataset = None if data is None else read_dataset(data)
    _refuse_taken_port(rest_port)
    environment = child_environment(home, rest_port, grpc_port, recipe)
    supervisor = Supervisor(
        PROGRAMS, environment, _make_logs(home), say=lambda line: screen.say(line, "yellow"), on_failure=_wake_main
    )
    addresses = _addresses(rest_port, grpc_port)
    ready = False
    with _interruptible(supervisor), Client(addresses.rest, model) as client:
        try:
            supervisor.start()
            version = Bootstrap(client, screen, home, dataset).run()
            ready = True
            _announce(screen, addresses, client, home, version)
            while True:
                signal.pause()
        except KeyboardInterrupt:
            if supervisor.failure is not None:
                raise CannotStart(supervisor.failure) from None
            screen.say("Stopping; once more Ctrl-C ends everything at once.")
        finally:
            supervisor.stop()
    if not ready:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


def child_environment(home: Path, rest_port: int, grpc_port: int, recipe: dict[str, Setting]) -> dict[str, str]:
    """The environment of service and worker: this one, and what the options say.

    Raises:
        CannotStart: RIPEN_RECIPE is there already, but is no JSON object.
    """
    changes = {name: value for name, value in recipe.items() if value is not None}
    if isinstance(weights := changes.get("weights"), str) and Path(weights).is_file():
        changes["weights"] = str(Path(weights).resolve())
    environment = {
        **os.environ,
        "RIPEN_HOME": str(home),
        "RIPEN_HOST": HOST,  # where `up` asks and what it announces, whatever other loopback was set
        "RIPEN_REST_PORT": str(rest_port),
        "RIPEN_GRPC_PORT": str(grpc_port),
        "PYTHONSAFEPATH": "1",  # or a folder `service` where the user stands would be started instead of ours
    }
    if changes:
        environment["RIPEN_RECIPE"] = msgspec.json.encode({**_recipe_so_far(), **changes}).decode()
    return environment


def _recipe_so_far() -> dict[str, object]:
    text = os.environ.get("RIPEN_RECIPE", "{}")
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise CannotStart(f"RIPEN_RECIPE is {text!r}; expected a JSON object of recipe fields ({error}).") from error


def _make_logs(home: Path) -> Path:
    logs = home / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        for program in PROGRAMS:
            (logs / f"{program.name}.log").open("ab").close()
    except OSError as error:
        raise CannotStart(
            f"The data folder {home} cannot be written ({error.strerror}); name another with --home DIR or RIPEN_HOME."
        ) from error
    return logs


def _refuse_taken_port(port: int) -> None:
    """Refuse to go on where something answers already: it would be taken for the service that is being started."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        raise CannotStart(
            f"Port {port} is taken by another process; stop that one, "
            "or choose another port with --rest-port (RIPEN_REST_PORT)."
        )


def _addresses(rest_port: int, grpc_port: int) -> Addresses:
    rest = f"http://{HOST}:{rest_port}"
    return Addresses(rest, f"{HOST}:{grpc_port}", f"{rest}/docs", f"{rest}/metrics")


@contextmanager
def _interruptible(supervisor: Supervisor) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into KeyboardInterrupt; the second kills everything at once."""
    signals = 0

    def _on_signal(number: int, _: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            supervisor.kill()
            os._exit(128 + number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, _on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wake_main() -> None:
    """Interrupt whatever the main thread waits for: a child was given up."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _announce(screen: Screen, addresses: Addresses, client: Client, home: Path, version: Version | None) -> None:
    if version is None:
        screen.say("Ripen is up; it has no version to answer with yet.", "bold")
    else:
        right = f"right on {version.metrics.accuracy:.1%} of {version.metrics.count} hold-out images"
        screen.say(f"Ripen is ready: version {version.version} of model {client.model}, {right}.", "bold green")
    screen.show(addresses, lambda: _draw_addresses(screen, addresses, client, home))


def _draw_addresses(screen: Screen, addresses: Addresses, client: Client, home: Path) -> None:
    classes = client.get_model().classes or ("CLASS",)
    picture = home / SAMPLE / "validation" / classes[0] / f"{classes[0]}-000.jpg"
    file = shlex.quote(str(picture)) if picture.is_file() else "FILE.jpg"
    model = "" if client.model == DEFAULT_MODEL else f" --model {client.model}"
    options = f" --url {addresses.rest}{model}"
    query = "" if client.model == DEFAULT_MODEL else f"?model={client.model}"
    for line in (
        f"  REST     {addresses.rest}/api/v1",
        f"  gRPC     {addresses.grpc}",
        f"  API      {addresses.docs}",
        f"  metrics  {addresses.metrics}",
        "Try in another terminal:",
        f"  curl -H 'Content-Type: image/jpeg' --data-binary @{file} {addresses.rest}/api/v1/predict{query}",
        f"  ripen label {file} --label {shlex.quote(classes[0])}{options}",
        f"  ripen retrain --wait{options}",
    ):
        screen.say(line)
