"""`ripen up`: everything on this machine, as child processes, with a first version. Neither line: it starts both."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click
import msgspec

from ripen.administration import home_environment
from ripen.answers import Version
from ripen.bootstrap import SAMPLE, Bootstrap
from ripen.client import DEFAULT_MODEL, Client, Setting
from ripen.dataset_folder import read_dataset
from ripen.display import Screen
from ripen.errors import CannotStart
from ripen.listen import Listen, listen_options
from ripen.options import home_option, model_option, with_screen
from ripen.supervisor import Program, Supervisor

PROGRAMS = (
    Program("service", (sys.executable, "-m", "service")),
    Program("worker", (sys.executable, "-m", "retrain", "worker")),
)
EXIT_INTERRUPTED = 130
WITH_KEY = ", with RIPEN_API_KEY (and RIPEN_CA_FILE or curl --cacert, where the certificate is of your own authority)"
BEARER = ' -H "Authorization: Bearer $RIPEN_API_KEY"'


@dataclass(frozen=True)
class Addresses:
    """Where everything answers, and whether it asks for API keys there."""

    rest: str
    grpc: str
    docs: str
    metrics: str
    keys: bool


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Make version 1 from this folder of labelled images.")
@click.option("--backbone", help="A Keras Applications name, or Compact; MobileNetV2 if it can have its weights.")
@click.option("--alpha", type=float, help="Width multiplier of the MobileNets.")
@click.option("--weights", help="auto, imagenet, none, or a weights file.  [default: auto]")
@click.option("--no-keep", is_flag=True, help="Keep no images of predictions for feedback.")
@listen_options
@home_option
@model_option
@with_screen
def up(
    screen: Screen, /, data: Path | None, home: Path, listen: Listen, model: str, *, no_keep: bool, **recipe: Setting
) -> None:
    """Start everything on this machine. Example: ripen up --data pictures/

    Starts the service and the retrain worker, and makes a first version where there is none: from DIR, or from a drawn
    sample set of apples and oranges. Ctrl-C drains and stops all of it; the next start continues where it was.
    """
    dataset = None if data is None else read_dataset(data)
    listen.check_key(home)
    listen.refuse_taken_port()
    environment = child_environment(home, listen, recipe, no_keep=no_keep)
    supervisor = Supervisor(
        PROGRAMS, environment, _make_logs(home), say=lambda line: screen.say(line, "yellow"), on_failure=_wake_main
    )
    ready = False
    with _interruptible(supervisor), Client(listen.rest_url, model, trust=listen.trust) as client:
        try:
            supervisor.start()
            version = Bootstrap(client, screen, home, dataset).run()
            ready = True
            _announce(screen, _addresses(listen), client, home, version)
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


def child_environment(
    home: Path, listen: Listen, recipe: dict[str, Setting], *, no_keep: bool = False
) -> dict[str, str]:
    """The environment of service and worker: this one, and what the options say.

    Raises:
        CannotStart: RIPEN_RECIPE is there already, but is no JSON object.
    """
    changes = {name: value for name, value in recipe.items() if value is not None}
    if isinstance(weights := changes.get("weights"), str) and Path(weights).is_file():
        changes["weights"] = str(Path(weights).resolve())
    environment = {**home_environment(home), **listen.settings}
    if no_keep:
        environment["RIPEN_KEEP_IMAGES_BYTES"] = "0"
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


def _addresses(listen: Listen) -> Addresses:
    return Addresses(
        listen.rest_url, listen.grpc_address, f"{listen.rest_url}/docs", f"{listen.rest_url}/metrics", listen.wants_keys
    )


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
    with_key, bearer = (WITH_KEY, BEARER) if addresses.keys else ("", "")
    send = f"curl{bearer} -H 'Content-Type: image/jpeg' --data-binary @{file}"
    for line in (
        f"  REST     {addresses.rest}/api/v1",
        f"  gRPC     {addresses.grpc}",
        f"  API      {addresses.docs}",
        f"  metrics  {addresses.metrics}",
        f"Try in another terminal{with_key}:",
        f"  {send} {addresses.rest}/api/v1/predict{query}",
        f"  ripen label {file} --label {shlex.quote(classes[0])}{options}",
        f"  ripen retrain --wait{options}",
    ):
        screen.say(line)
