"""The whole story with real processes: bootstrap, answer, collect, retrain under load, swap, roll back, tell it all."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import drawn_sample
import grpc
import pytest
from installation import Installation, resident_mib
from open_loop import OpenLoop, Reply, percentile

from contract import artifact
from contract.records import PrecisionChoice
from protos import ripen_v1_pb2, ripen_v1_pb2_grpc
from service.engine import Engine
from service.engine_wire import EngineImage, LoadOrder
from service.runtime_choice import Wish

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
TOLERANCE = 1e-3
NEW_PER_CLASS = 30
REQUESTS = 3000
CONNECTIONS = 8  # of the open loop


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small drawn data set: 320 train and 80 validation images."""
    return drawn_sample.draw(tmp_path_factory.mktemp("sample"), train=160, validation=40)


@pytest.fixture(scope="module")
def new_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty more images, of another seed."""
    return drawn_sample.draw(tmp_path_factory.mktemp("new"), train=NEW_PER_CLASS, validation=0, seed=7)


@pytest.fixture(scope="module")
def ripen(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("up") / "home", "--data", str(sample)).start()
    yield installation
    assert installation.stop() == 0, installation.log


@pytest.fixture(scope="module")
def pictures(sample: Path) -> list[bytes]:
    """Hold-out images of both classes."""
    apples = sorted((sample / "validation" / "apple").iterdir())[:12]
    oranges = sorted((sample / "validation" / "orange").iterdir())[:12]
    return [path.read_bytes() for path in [*apples, *oranges]]


def tensorflow_client(*arguments: str | Path) -> dict[str, object]:
    program = Path(__file__).with_name("tensorflow_client.py")
    output = subprocess.check_output([sys.executable, "-W", "ignore", program, *arguments], stderr=subprocess.DEVNULL)
    return dict(json.loads(output.splitlines()[-1]))


def save(folder: Path, pictures: list[bytes]) -> list[Path]:
    paths = [folder / f"{number}.jpg" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(picture)
    return paths


def test_all_protocols_agree(ripen: Installation, pictures: list[bytes], tmp_path: Path) -> None:
    ours = [ripen.predict(picture) for picture in pictures]
    assert max(ours) - min(ours) > 0.2
    with grpc.insecure_channel(ripen.grpc_address) as channel:
        images = [ripen_v1_pb2.Image(data=picture) for picture in pictures]
        answer = ripen_v1_pb2_grpc.ClassifierStub(channel).Classify(
            ripen_v1_pb2.ClassifyRequest(images=images), timeout=30
        )
    assert [one.probability for one in answer.predictions] == pytest.approx(ours, abs=TOLERANCE)
    instances = [{"b64": base64.b64encode(picture).decode()} for picture in pictures]
    rows = ripen.http.post("/v1/models/default:predict", json={"instances": instances}).raise_for_status().json()
    assert [row["probability"][0] for row in rows["predictions"]] == pytest.approx(ours, abs=TOLERANCE)
    theirs = tensorflow_client("predict", ripen.grpc_address, *save(tmp_path, pictures))
    assert theirs["probabilities"] == pytest.approx(ours, abs=TOLERANCE)
    assert theirs["version"] == 1
    assert theirs["signatures"] == ["pixels", "serving_default"]
    assert theirs["states"] == {"1": 30}  # AVAILABLE
    assert theirs["labels"] == [one.label for one in answer.predictions]


def test_tensorflow_loads_the_published_folder(ripen: Installation, pictures: list[bytes], tmp_path: Path) -> None:
    folder = ripen.home / "storage" / "models" / "default" / "1"
    theirs = tensorflow_client("load", folder, *save(tmp_path, pictures))["probabilities"]
    ours = asyncio.run(answers_at_f32(folder, pictures))
    assert isinstance(theirs, list)
    differences = [abs(a - b) for a, b in zip(theirs, ours, strict=True)]
    assert sum(differences) / len(differences) < 0.01
    flipped = [(a, b) for a, b in zip(theirs, ours, strict=True) if (a >= 0.5) != (b >= 0.5)]
    assert all(abs(b - 0.5) < 0.05 for _, b in flipped)
    served = [ripen.predict(picture) for picture in pictures]  # at the precision that the service chose
    flipped = [(a, b) for a, b in zip(ours, served, strict=True) if (a >= 0.5) != (b >= 0.5)]
    assert all(abs(a - 0.5) < 0.1 for a, _ in flipped)


async def answers_at_f32(folder: Path, pictures: list[bytes]) -> list[float]:
    """What an engine answers that is held to f32, where only the decoders may differ from TensorFlow's."""
    digest = artifact.digest_file(folder / artifact.MANIFEST)
    order = LoadOrder("default", 1, str(folder), digest, 1, 0, 2**20, 2**24, Wish(precision=PrecisionChoice.F32))
    engine, _ = await Engine.start(order, timeout_s=60)
    assert engine.capacity.runtime == "openvino-f32"
    found = [await engine.infer([EngineImage(picture, encoded=True)]) for picture in pictures]
    await engine.stop()
    return [float(one.outcomes[0]) for one in found]


def test_a_retrain_under_load_swaps_without_a_failure(
    ripen: Installation, pictures: list[bytes], new_images: Path
) -> None:
    for label in ("apple", "orange"):
        files = [("file", (path.name, path.read_bytes())) for path in sorted((new_images / "train" / label).iterdir())]
        answer = ripen.http.post("/api/v1/examples", data={"label": label}, files=files)
        assert len(answer.raise_for_status().json()["examples"]) == NEW_PER_CLASS
    load = OpenLoop(ripen.rest_url, ripen.grpc_address, pictures).start()
    job = ripen.http.post("/api/v1/retrain", json={"gate": {"policy": "always"}})
    assert job.status_code == 202
    ended = ripen.wait_for_job(job.json()["id"])
    assert (ended["state"], ended["version"]) == ("succeeded", 2), ended
    ripen.wait_for(lambda: ripen.live() == 2, 60, "version 2")
    ripen.wait_for(lambda: _has_seen_both(load.replies), 120, f"{REQUESTS} requests, and version 2 on each connection")
    replies = load.stop()
    check_replies(ripen, pictures, replies)
    began, finished = replies[0].scheduled_s, next(reply.finished_s for reply in replies if reply.version == 2)
    training = [reply for reply in replies if began <= reply.scheduled_s <= finished]
    print(
        f"{len(replies)} requests, 0 failed; while training and swapping ({len(training)} requests): "
        f"p50 {percentile(training, 0.5) * 1000:.0f} ms, p99 {percentile(training, 0.99) * 1000:.0f} ms, "
        f"max {percentile(training, 1) * 1000:.0f} ms; afterwards p99 "
        f"{percentile([reply for reply in replies if reply.scheduled_s > finished], 0.99) * 1000:.0f} ms"
    )


def _has_seen_both(replies: list[Reply]) -> bool:
    """Whether enough was answered, and each connection has an answer of version 2; a slow machine swaps late."""
    return len(replies) >= REQUESTS and len({one.connection for one in replies if one.version == 2}) == CONNECTIONS


def check_replies(ripen: Installation, pictures: list[bytes], replies: list[Reply]) -> None:
    assert len(replies) >= REQUESTS
    assert [reply.error for reply in replies if reply.error] == []
    own = {version: [ripen.predict(picture, version) for picture in pictures] for version in (1, 2)}
    assert max(abs(a - b) for a, b in zip(own[1], own[2], strict=True)) > 0.01  # two different networks
    for reply in replies:
        assert reply.probability == pytest.approx(own[reply.version][reply.image], abs=TOLERANCE)
    for connection in range(CONNECTIONS):  # each connection sees the version change once, and never back
        versions = [reply.version for reply in replies if reply.connection == connection]
        assert versions == sorted(versions)
        assert set(versions) == {1, 2}


def test_the_front_process_is_small(ripen: Installation) -> None:
    (service,) = ripen.processes("-m service ")
    size_mb = resident_mib(service) * 1.048576
    print(f"RSS of the front process after all this: {size_mb:.0f} MB")
    assert size_mb < 150


def test_rollback_is_immediate_and_told(ripen: Installation, pictures: list[bytes]) -> None:
    before = ripen.predict(pictures[0], 1)
    ripen.http.post("/api/v1/versions:rollback", json={"reason": "a test"}).raise_for_status()
    seconds = ripen.wait_for(lambda: ripen.live() == 1, 2, "version 1")
    print(f"rollback to the warm version: {seconds:.2f} s")
    assert ripen.predict(pictures[0]) == pytest.approx(before, abs=1e-6)
    history = ripen.http.get("/api/v1/versions").json()["history"]
    assert [(entry["version"], entry["kind"]) for entry in history] == [(1, "rollback"), (2, "gate"), (1, "gate")]
    again = ripen.http.post("/api/v1/versions:rollback")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "nothing_to_roll_back")


def test_the_metrics_tell_the_story(ripen: Installation) -> None:
    assert ripen.metric('ripen_swaps_total{model="default"}') >= 2
    assert ripen.metric('ripen_live_version{model="default"}') == 1
    assert ripen.metric('ripen_jobs{model="default",state="succeeded"}') == 2
    assert ripen.metric("ripen_examples{") >= 400 + 2 * NEW_PER_CLASS
    assert ripen.metric("ripen_requests_total{") >= REQUESTS
    assert ripen.metric("ripen_engine_restarts_total{") == 0
    assert ripen.metric("ripen_batch_size_count") >= 1
    for version in (1, 2):
        assert 0.5 < ripen.metric(f'ripen_holdout_accuracy{{model="default",version="{version}"}}') <= 1


def test_the_next_start_continues_where_it_was(ripen: Installation, pictures: list[bytes]) -> None:
    expected = ripen.predict(pictures[0])
    assert ripen.stop() == 0
    ripen.__init__(ripen.home)  # type: ignore[misc]  # the same folder, fresh ports
    ripen.start()
    assert ripen.predict(pictures[0]) == pytest.approx(expected, abs=1e-6)
    assert [job["state"] for job in ripen.http.get("/api/v1/jobs").json()["jobs"]] == ["succeeded", "succeeded"]
