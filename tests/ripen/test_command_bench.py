"""`ripen bench` on a real service with two tiny versions: its rows, its errors, swaps under load, and Ctrl-C."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import service_process
import tiny_version
from click.testing import CliRunner, Result
from fake_rest_service import FakeRestService, refusal, version, versions
from installation import free_port

from ripen.__main__ import main
from ripen.answers import LiveChange
from ripen.bench_grpc import GrpcTarget
from ripen.bench_plan import ClosedLoop, OpenLoop, Plan
from ripen.bench_run import make_target
from ripen.bench_session import Measured, Session, run_session
from ripen.bench_swaps import Swapper
from ripen.client import Client

BIAS = {1: -1.5, 2: 1.5}
IMAGES = [tiny_version.picture(seed) for seed in range(5)]
QUEUE_SIZE = 64  # small enough to be filled, large enough for what a busy machine sends late


@dataclass(frozen=True)
class Bench:
    """A running service."""

    process: service_process.Process
    rest: str
    grpc: str

    def live(self) -> int:
        return int(self.process.client.get("/api/v1/versions").json()["live"])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("bench") / "home"
    for number, bias in BIAS.items():
        service_process.publish(home, number, bias)
    with service_process.started(home, RIPEN_QUEUE_SIZE=QUEUE_SIZE) as process:
        process.wait_for(process.ready)
        yield Bench(process, str(process.client.base_url), f"grpc://{process.grpc_address}")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(IMAGES):
        (folder / f"{number}.jpg").write_bytes(image)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def test_a_row_for_each_load_over_rest(bench: Bench) -> None:
    result = run(bench.rest, "--concurrency", 1, "--concurrency", 2, "--rate", 20, "--duration", 0.4, "--warm-up", 0.1)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split()[:2] == ["load", "answers/s"]
    assert [line.split("  ")[0] for line in lines[1:4]] == ["1 at once", "2 at once", "20/s"]
    assert [line.split()[-1] for line in lines[1:4]] == ["0"] * 3


def test_json_over_grpc_of_a_folder(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "a.jpg").write_bytes(IMAGES[0])
    (tmp_path / "b.jpg").write_text("no image")
    loads = ("--concurrency", 2, "--duration", 0.4, "--warm-up", 0.1)
    result = run(bench.grpc, "--images", tmp_path, "--version", 2, "--json", *loads)
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'b.jpg'} is no JPEG, PNG or WebP image" in result.stderr
    report = json.loads(result.stdout)
    assert (report["target"], report["interrupted"]) == (bench.grpc, False)
    [row] = report["rows"]
    assert row["swaps"] is None
    assert row["load"]["errors"] == {}
    assert list(row["load"]["versions"]) == ["2"]
    assert row["load"]["requests"] > 0
    latency = row["load"]["latency"]
    assert 0 < latency["p50_ms"] <= latency["p99_ms"] <= latency["max_ms"]


def test_what_a_full_queue_refuses_is_counted_by_its_name(bench: Bench, pictures: Path) -> None:
    loads = ("--concurrency", 6 * QUEUE_SIZE, "--duration", 0.5, "--warm-up", 0)
    result = run(bench.rest, "--images", pictures, "--json", *loads)
    assert result.exit_code == 0, result.output
    load = json.loads(result.stdout)["rows"][0]["load"]
    assert list(load["errors"]) == ["429 overloaded"]
    assert load["requests"] > load["errors"]["429 overloaded"] > 0


class Interrupting(Client):
    """A client whose third promotion is interrupted, as by Ctrl-C: by then two swaps are over."""

    promotions = 0

    def promote(self, version: int, reason: str) -> LiveChange:
        self.promotions += 1
        if self.promotions == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return super().promote(version, reason)


@pytest.mark.parametrize(
    ("protocol", "plan"), [("rest", OpenLoop(20, 200, 0)), ("grpc", ClosedLoop(2, 200, 0))], ids=["rest", "grpc"]
)
def test_swaps_fail_nothing_and_mix_nothing_up(bench: Bench, protocol: str, plan: Plan) -> None:
    before = bench.live()
    target, done = partial(make_target, getattr(bench, protocol), "default", None), list[Measured]()
    with Interrupting(bench.rest) as client:
        session = Session(target, IMAGES, (plan,), Swapper(client, 0.3))
        assert not asyncio.run(run_session(session, done, lambda *_: None))
    samples, swaps = done[0].load.samples, done[0].swaps
    assert (done[0].load.messages, samples.right.all()) == ({}, True)
    assert [(swap.version, swap.failure) for swap in swaps[:2]] == [(3 - before, ""), (before, "")]
    assert all(swap.live_s is not None for swap in swaps[:2])
    assert set(samples.versions()) == {1, 2}
    wanted = {one: np.array([tiny_version.expected(bias, image) for image in IMAGES]) for one, bias in BIAS.items()}
    belongs = np.where(samples.version == 1, wanted[1][samples.image], wanted[2][samples.image])
    assert samples.probability == pytest.approx(belongs, abs=0.01)
    assert bench.live() == before


def test_ctrl_c_prints_what_there_is_and_puts_back_what_was_live(bench: Bench) -> None:
    before = bench.live()
    options = ["--rate", "20", "--duration", "120", "--warm-up", "0", "--swap-every", "0.3", "--json"]
    command = [sys.executable, "-m", "ripen", "bench", bench.rest, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        bench.process.wait_for(lambda: bench.live() != before)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    report = json.loads(output)
    assert report["interrupted"]
    assert report["rows"][0]["load"]["requests"] > 0
    assert report["rows"][0]["load"]["seconds"] < 60
    assert bench.live() == before


def test_what_cannot_be_measured_is_one_line(bench: Bench, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    nobody = free_port()
    for arguments, status, said in (
        ((f"http://127.0.0.1:{nobody}",), 3, "No service answers at"),
        ((f"grpc://127.0.0.1:{nobody}", "--images", pictures), 3, "No gRPC service answers at"),
        ((bench.rest, "--model", "other"), 1, "There is no model 'other'"),
        ((bench.grpc, "--images", pictures, "--model", "other"), 1, "There is no model named 'other'"),
        ((bench.rest, "--images", pictures, "--version", 9), 1, "Version 9 of model 'default' is not loaded"),
        ((bench.rest, "--images", tmp_path), 2, "holds no JPEG, PNG or WebP image (1 other files)"),
        ((bench.rest, "--images", tmp_path / "none"), 2, "is not a folder"),
    ):
        result = run(*arguments)
        assert result.exit_code == status, (arguments, result.output)
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert not result.stdout
    result = run("ftp://127.0.0.1")
    assert result.exit_code == 2
    assert "expected http(s)://HOST:PORT or grpc(s)://HOST:PORT" in result.stderr


def test_a_key_that_is_missing_or_wrong_is_named(service: FakeRestService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RIPEN_API_KEY", raising=False)
    service.answer("GET /api/v1/models/default", refusal(401, "unauthenticated", "No key."))
    result = run(service.url)
    assert result.exit_code == 1
    assert "set RIPEN_API_KEY" in result.stderr


def model() -> dict[str, object]:
    return {"name": "default", "classes": ["apple", "orange"], "live_version": 1}


def test_no_live_version_is_one_line(service: FakeRestService, pictures: Path) -> None:
    service.answer("GET /api/v1/models/default", model())
    service.answer("POST /api/v1/predict", refusal(409, "no_live_version", "Nothing is live yet."))
    result = run(service.url, "--images", pictures, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "no_live_version"


def test_swaps_need_two_versions_with_files(service: FakeRestService, pictures: Path) -> None:
    service.answer("GET /api/v1/models/default", model())
    pruned = version(1, live=False, pruned_at="2026-11-23T19:00:00Z")
    service.answer("GET /api/v1/versions", versions(version(2), pruned))
    result = run(service.url, "--images", pictures, "--swap-every", 1)
    assert result.exit_code == 1
    assert "has only one version; --swap-every needs" in result.stderr


def test_a_swap_that_fails_is_told_and_taken_back(service: FakeRestService, pictures: Path) -> None:
    """The other version cannot be loaded: the load goes on, and the declaration is put back."""
    answer = {"request_id": "r", "model": {"name": "default", "version": 2}, "predictions": [{"probability": 0.5}]}
    status = {"error_code": "RESOURCE_EXHAUSTED", "message": "there is no memory for it"}
    change = {"version": 1, "replaced": 2, "kind": "manual", "reason": "r", "created_at": "2026-11-23T19:00:00Z"}
    service.answer("GET /api/v1/models/default", model())
    service.answer("POST /api/v1/predict", answer)
    whole = versions(version(2), version(1, live=False))
    refused = versions(version(2), version(1, live=False, status=status), aspired=1)
    service.answer("GET /api/v1/versions", whole, refused, refused, whole)
    service.answer("POST /api/v1/versions/1:promote", change)
    service.answer("POST /api/v1/versions/2:promote", change)
    loads = ("--swap-every", 0.1, "--concurrency", 1, "--duration", 0.6, "--warm-up", 0)
    result = run(service.url, "--images", pictures, *loads)
    assert result.exit_code == 1, result.output
    assert "a swap failed, version 1: there is no memory for it" in result.output
    assert len(service.requests("POST /api/v1/versions/1:promote")) == 1
    assert len(service.requests("POST /api/v1/versions/2:promote")) == 1


def test_the_key_of_the_environment_goes_with_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIPEN_API_KEY", "ripen_k")
    rest = make_target("http://127.0.0.1:8501/", "fruit", 3).encode(b"image")
    assert rest.startswith(b"POST /api/v1/predict?model=fruit&version=3 HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer ripen_k\r\n" in rest
    over_grpc = make_target("grpc://127.0.0.1", "fruit", 3)
    assert isinstance(over_grpc, GrpcTarget)
    assert over_grpc.address == "127.0.0.1:8500"
    assert over_grpc.metadata == (("authorization", "Bearer ripen_k"),)
