"""PostgreSQL is killed and comes back: predictions never notice; writes are refused quickly, then work."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import postgresql
import pytest
import tiny_version
from open_loop import OpenLoop, percentile
from service_process import Process, publish, started

from protos import ripen_v1_pb2, ripen_v1_pb2_grpc

RATE = 20.0
REFUSED_WITHIN_S = 2.5
BACK_WITHIN_S = 5.0
ROUNDS = 3
PICTURES = [tiny_version.picture(seed) for seed in range(8)]
Write = Callable[[], httpx.Response]


@dataclass
class Writes:
    """What changes something; `seed` makes each upload a new picture."""

    process: Process
    seed: int = 100

    def all(self) -> dict[str, Write]:
        client = self.process.client
        return {
            "examples": self.upload,
            "retrain": lambda: client.post("/api/v1/retrain", json={}),
            "promote": lambda: client.post("/api/v1/versions/2:promote", json={"reason": "a test"}),
            "rollback": lambda: client.post("/api/v1/versions:rollback", json={}),
            "models": lambda: client.post("/api/v1/models", json={"name": f"m{self.seed}"}),
            "pin": lambda: client.post("/api/v1/versions/1:pin"),
        }

    def upload(self, label: str = "apple", bucket: str = "") -> httpx.Response:
        self.seed += 1
        form = {"label": label, **({"bucket": bucket} if bucket else {})}
        files = {"file": ("picture.jpg", tiny_version.picture(self.seed), "image/jpeg")}
        return self.process.client.post("/api/v1/examples", data=form, files=files)


def test_killed_database_costs_no_prediction(tmp_path: Path) -> None:
    server = postgresql.shared()
    url = server.new_database()
    for number in (1, 2):
        publish(tmp_path / "home", number, 0.5 * number, database_url=url)
    with started(tmp_path / "home", RIPEN_DATABASE_URL=url) as process:
        process.wait_for(process.ready)
        writes = Writes(process)
        for label in ("apple", "orange"):
            for bucket in ("", "", "", "", "", "", "holdout"):
                assert writes.upload(label, bucket).is_success
        for name, write in writes.all().items():
            assert write().is_success, name
        load = OpenLoop(str(process.client.base_url), process.grpc_address, PICTURES, rate=RATE).start()
        try:
            server.kill()
            refused_s = [_refused(write) for _ in range(ROUNDS) for write in writes.all().values()]
            grpc_refused_s = _refused_by_grpc(process)
            before = len(load.replies)
            while len(load.replies) < before + 2 * RATE:
                assert process.ready()
        finally:
            server.start()
        back_s = _time_until_all_work(writes)
        replies = load.stop()
        assert process.ready()
    print(
        f"{len(replies)} predictions, {sum(bool(reply.error) for reply in replies)} failed, "
        f"p99 {percentile(replies, 0.99) * 1e3:.0f} ms; {len(refused_s)} writes refused, median "
        f"{statistics.median(refused_s) * 1e3:.0f} ms, slowest {max(refused_s) * 1e3:.0f} ms, over gRPC "
        f"{grpc_refused_s * 1e3:.0f} ms; all writes work {back_s:.2f} s after the database"
    )
    assert [reply.error for reply in replies if reply.error] == []
    assert len(replies) > RATE
    assert max(*refused_s, grpc_refused_s) < REFUSED_WITHIN_S
    assert back_s < BACK_WITHIN_S


def _refused(write: Write) -> float:
    """How long the refusal took."""
    began_s = time.monotonic()
    answer = write()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert postgresql.PASSWORD not in answer.text
    return time.monotonic() - began_s


def _refused_by_grpc(process: Process) -> float:
    began_s = time.monotonic()
    with grpc.insecure_channel(process.grpc_address) as channel:
        request = ripen_v1_pb2.RollBackRequest(model="default")
        with pytest.raises(grpc.RpcError) as caught:
            ripen_v1_pb2_grpc.LearningStub(channel).RollBack(request, timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return time.monotonic() - began_s


def _time_until_all_work(writes: Writes) -> float:
    began_s = time.monotonic()
    for name, write in writes.all().items():
        answer = write()
        while answer.status_code == 503 and time.monotonic() - began_s < BACK_WITHIN_S:
            answer = write()
        assert answer.is_success, (name, answer.text)
    return time.monotonic() - began_s
