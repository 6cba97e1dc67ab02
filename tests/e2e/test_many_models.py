"""More models than the memory holds: all answer, few engines run. A real service with TensorFlow engines."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import tiny_version
from service_process import Process, publish, started

from backends.database import SqlDatabase
from contract.settings import Settings

MODELS = [f"m{number}" for number in range(1, 7)]
PATIENCE_S = 300.0


def engines(service_pid: int) -> dict[str, int]:
    """The engine processes of a service: model -> process id."""
    found: dict[str, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_text().split("\0")
        except (OSError, ValueError):
            continue
        if parent == service_pid and "service.engine_process" in words:
            found[words[words.index("--model") + 1]] = int(entry.name)
    return found


class Census:
    """Counts the engines again and again in a thread; remembers the most, and every process of each model."""

    def __init__(self, service_pid: int) -> None:
        self.most = 0
        self.seen: dict[str, set[int]] = {}
        self._pid = service_pid
        self._over = threading.Event()

    @contextmanager
    def taken(self) -> Iterator["Census"]:
        thread = threading.Thread(target=self._count)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def _count(self) -> None:
        while not self._over.wait(0.1):
            found = engines(self._pid)
            self.most = max(self.most, len(found))
            for model, pid in found.items():
                self.seen.setdefault(model, set()).add(pid)


def ask(process: Process, model: str) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = process.client.post(
        "/api/v1/predict", params={"model": model}, content=tiny_version.picture(1), timeout=PATIENCE_S
    )
    return answer, time.monotonic() - began


def metric(process: Process, name: str) -> dict[str, float]:
    """Every series of a metric: what stands between its braces -> its value."""
    lines = process.client.get("/metrics").text.splitlines()
    found = [line.removeprefix(name).rpartition(" ") for line in lines if line.startswith((f"{name}{{", f"{name} "))]
    return {labels.strip("{}"): float(value) for labels, _, value in found}


def budget_for_two(home: Path) -> int:
    """Enough for two engines and a half, as the service measures one."""
    with started(home, RIPEN_KEEP_PREVIOUS=0) as process:
        process.wait_for(process.ready, timeout_s=PATIENCE_S)
        (own_bytes,) = metric(process, "ripen_engine_memory_bytes").values()
        (shared_bytes,) = metric(process, "ripen_engine_shared_memory_bytes").values()
        assert own_bytes > 50e6
        assert shared_bytes > 50e6
        return int(shared_bytes + 2.5 * own_bytes)


def test_six_models_answer_from_the_memory_of_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    wanted = {MODELS[0]: publish(home, 1, 0.1, model=MODELS[0])}
    budget_bytes = budget_for_two(home)
    wanted |= {model: publish(home, 1, number / 4, model=model) for number, model in enumerate(MODELS[1:], 2)}
    database = SqlDatabase(Settings.from_environment({"RIPEN_HOME": str(home)}).database_url)
    database.pin_model(MODELS[2], pinned=True)
    with (
        started(home, RIPEN_MEMORY_BUDGET_BYTES=budget_bytes, RIPEN_REQUEST_TIMEOUT_S=PATIENCE_S) as process,
        Census(process.popen.pid).taken() as census,
    ):
        process.wait_for(process.ready, timeout_s=PATIENCE_S)
        assert metric(process, "ripen_memory_budget_bytes") == {"": budget_bytes}
        assert MODELS[2] in engines(process.popen.pid)  # the pinned one came first
        waited: dict[str, float] = {}
        for model in MODELS:
            answer, seconds = ask(process, model)
            assert answer.status_code == 200, (model, answer.text)
            assert answer.json()["model"] == {"name": model, "version": 1}
            assert answer.json()["predictions"][0]["probability"] == pytest.approx(wanted[model], abs=1e-3)
            waited[model] = round(seconds, 2)
        with ThreadPoolExecutor(6) as threads:  # several at once share one start
            before = sum(metric(process, "ripen_engine_sleeps_total").values())
            answers = list(threads.map(lambda _: ask(process, MODELS[1]), range(6)))
            assert {answer.status_code for answer, _ in answers} == {200}
            assert sum(metric(process, "ripen_engine_sleeps_total").values()) == before + 1
        assert process.ready()
        assert census.most <= 2
        assert len(census.seen[MODELS[2]]) == 1  # never stopped
        assert not metric(process, "ripen_engine_restarts_total")
        check_status(process, sleeping=MODELS[3], awake=MODELS[1])
        check_deletion(process, database, MODELS[1])
    database.close()
    with capsys.disabled():
        most = max(waited.values())
        print(f"\n6 models, memory for 2: answers after {waited} s, at most {most} s; {census.most} engines at most")


def check_status(process: Process, *, sleeping: str, awake: str) -> None:
    for model, begins in ((sleeping, "Its engine sleeps"), (awake, "")):
        (status,) = process.client.get(f"/v1/models/{model}").json()["model_version_status"]
        assert status["state"] == "AVAILABLE"
        assert status["status"]["error_code"] == "OK"
        assert status["status"]["error_message"].startswith(begins)
        assert bool(status["status"]["error_message"]) == bool(begins)
        assert process.client.get(f"/v1/models/{model}/metadata").status_code == 200
    assert sleeping not in engines(process.popen.pid)  # asking for it wakes nothing


def check_deletion(process: Process, database: SqlDatabase, model: str) -> None:
    assert model in engines(process.popen.pid)
    database.delete_model(model)
    process.wait_for(lambda: ask(process, model)[0].status_code == 404)
    process.wait_for(lambda: model not in engines(process.popen.pid))
    process.wait_for(lambda: f'model="{model}"' not in process.client.get("/metrics").text)
    assert process.client.get(f"/v1/models/{model}").status_code == 404
