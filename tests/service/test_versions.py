"""Versions in real engine processes: swap, roll back, crash, and versions that must not serve."""

import asyncio
import itertools
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import tiny_version
from serving_fakes import FolderStorage, aspiration, settings, until

from contract.artifact import Manifest
from contract.errors import EngineUnavailable, NoLiveVersion, UnknownModel, UnknownVersion
from contract.records import Prediction, Version, VersionState
from service.kept_images import KeptImages
from service.metrics import Metrics
from service.predictor import Answer, Predictor, PredictRequest
from service.versions import Versions

PICTURES = [tiny_version.picture(seed) for seed in range(8)]


class Stage:
    """A folder of versions, and the serving core on it."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.storage = FolderStorage(folder)
        self.metrics = Metrics()
        self.settings = settings(engine_threads=1, max_batch_size=4, **changes)
        self.versions = Versions(self.storage, self.metrics, self.settings)
        self.predictor = Predictor(self.versions, self.metrics, self.settings, KeptImages(0))
        self.manifests: dict[int, Manifest] = {}

    def publish(self, number: int) -> Version:
        folder = self.storage.folder("default", number)
        self.manifests[number] = tiny_version.make(folder, number=number, bias=number / 2)
        return tiny_version.record(folder)

    async def declare(self, live: Version, previous: Version | None = None, *, retry: bool = False) -> None:
        await self.versions.apply(["default"], [aspiration(live, previous)], retry=retry)

    async def ask(self, seed: int, version: int | None = None) -> Answer:
        return await self.predictor.predict(PredictRequest("default", [PICTURES[seed]], version))

    def check(self, answer: Answer, seed: int) -> None:
        """The answer is the one that the version it names gives for that picture."""
        (prediction,) = answer.predictions
        assert isinstance(prediction, Prediction)
        wanted = tiny_version.expected(self.manifests[answer.version], PICTURES[seed])
        assert prediction.probability == pytest.approx(wanted, abs=1e-5)
        assert prediction.label == ("orange" if wanted >= 0.5 else "apple")

    def states(self) -> dict[int, VersionState]:
        return {status.number: status.state for status in self.versions.status("default")}

    def engine(self, number: int) -> int:
        with self.versions.lease("default", number) as version:
            return version.engine_pid

    def shows(self, line: str) -> bool:
        return line in self.metrics.expose().decode().splitlines()


async def more(answered: list[int], count: int) -> None:
    wanted = len(answered) + count
    await until(lambda: len(answered) >= wanted)


async def reached(stage: Stage, number: int, state: VersionState) -> None:
    await until(lambda: stage.states()[number] is state)


def run(folder: Path, story: Callable[[Stage], Awaitable[None]], **changes: object) -> None:
    async def tell() -> None:
        stage = Stage(folder, **changes)
        try:
            await story(stage)
        finally:
            await stage.versions.close()
        assert VersionState.AVAILABLE not in stage.states().values()

    asyncio.run(tell())


def test_a_swap_under_load_and_a_rollback_lose_nothing(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        one, two = stage.publish(1), stage.publish(2)
        await stage.declare(one)
        assert stage.versions.missing() is not None
        await stage.versions.settled()
        assert stage.versions.missing() is None
        answered: list[tuple[int, int]] = []  # client and version, in the order of the answers
        enough = asyncio.Event()

        async def client(seed: int) -> None:
            while not enough.is_set():
                answer = await stage.ask(seed)
                stage.check(answer, seed)
                answered.append((seed, answer.version))

        clients = [asyncio.create_task(client(seed)) for seed in range(8)]
        await stage.declare(two, one)
        await stage.versions.settled()
        await more(answered, 200)
        await stage.declare(one)  # a rollback: version 1 is still warm
        assert stage.versions.live("default") == 1
        await more(answered, 200)
        enough.set()
        await asyncio.gather(*clients)
        for seed in range(8):  # what was under way at a swap is answered after it, but no client goes back in time
            told = [version for client, version in answered if client == seed]
            assert [version for version, _ in itertools.groupby(told)] == [1, 2, 1]
        await stage.versions.settled()
        assert stage.states() == {1: VersionState.AVAILABLE, 2: VersionState.AVAILABLE}
        assert stage.shows('ripen_swaps_total{model="default"} 2.0')
        assert stage.shows('ripen_live_version{model="default"} 1.0')
        await stage.declare(two, one)  # promoted again: version 2 stayed warm
        assert stage.versions.live("default") == 2
        stage.check(await stage.ask(0), 0)

    run(tmp_path, story)


def test_a_leased_version_is_stopped_only_when_it_is_given_back(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        one, two = stage.publish(1), stage.publish(2)
        await stage.declare(one)
        await stage.versions.settled()
        pid = stage.engine(1)
        with stage.versions.lease("default", None) as held:
            await stage.declare(two)
            await until(lambda: stage.versions.live("default") == 2)
            assert stage.states()[1] is VersionState.UNLOADING
            with pytest.raises(UnknownVersion, match="Version 1 of model 'default' is not loaded; loaded are: 1, 2"):
                stage.versions.lease("default", 1)
            assert held.manifest.version == 1
            os.kill(pid, 0)
        await stage.versions.settled()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert stage.states() == {1: VersionState.END, 2: VersionState.AVAILABLE}

    run(tmp_path, story, keep_previous=0)


def test_a_killed_engine_loses_only_what_was_in_flight(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await stage.declare(stage.publish(1))
        await stage.versions.settled()
        pid = stage.engine(1)
        os.kill(pid, signal.SIGSTOP)
        with stage.versions.lease("default", 1) as loaded:
            in_flight = loaded.capacity.in_flight
        asked = [asyncio.create_task(stage.ask(seed % 8)) for seed in range(in_flight + 5)]
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(lost, EngineUnavailable) for lost in answers[:in_flight])
        (status,) = stage.versions.status("default")
        assert (status.state, status.error_code) == (VersionState.AVAILABLE, "OK")
        for seed in range(in_flight, in_flight + 5):
            stage.check(answers[seed], seed % 8)
        assert stage.shows('ripen_engine_restarts_total{model="default",version="1"} 1.0')
        assert stage.shows(f'ripen_rejected_total{{reason="engine_unavailable"}} {in_flight}.0')

    run(tmp_path, story)


def test_a_corrupt_version_is_reported_and_the_old_one_keeps_serving(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        one, two = stage.publish(1), stage.publish(2)
        curves = stage.storage.folder("default", 2) / "curves.png"
        curves.write_bytes(b"not in the manifest")
        await stage.declare(one)
        await stage.versions.settled()
        await stage.declare(two, one)
        await stage.versions.settled()
        bad, good = stage.versions.status("default")
        assert (bad.number, bad.state, bad.error_code) == (2, VersionState.END, "DATA_LOSS")
        assert "curves.png is unknown" in bad.message
        assert good.state is VersionState.AVAILABLE
        assert stage.versions.live("default") == 1
        stage.check(await stage.ask(3), 3)
        assert stage.versions.missing() is None
        assert stage.shows('ripen_version_state{model="default",state="END",version="2"} 1.0')
        await stage.declare(two, one)
        assert stage.states()[2] is VersionState.END  # not tried again in a loop
        curves.unlink()
        await stage.declare(two, one, retry=True)
        await stage.versions.settled()
        assert stage.versions.live("default") == 2
        stage.check(await stage.ask(3), 3)

    run(tmp_path, story)


@pytest.mark.parametrize("keep_previous", [0, 1])
def test_after_a_restart_the_previous_version_answers_for_a_corrupt_one(tmp_path: Path, keep_previous: int) -> None:
    async def story(stage: Stage) -> None:
        one, two = stage.publish(1), stage.publish(2)
        curves = stage.storage.folder("default", 2) / "curves.png"
        curves.write_bytes(b"not in the manifest")
        await stage.declare(two, one)
        await until(lambda: stage.states()[2] is VersionState.END)
        assert stage.versions.missing() is not None  # version 1 is on its way
        await stage.versions.settled()
        assert stage.versions.live("default") == 1
        assert stage.versions.missing() is None
        stage.check(await stage.ask(3), 3)
        bad = stage.versions.status("default")[0]
        assert (bad.number, bad.state, bad.error_code) == (2, VersionState.END, "DATA_LOSS")
        curves.unlink()
        await stage.declare(two, one, retry=True)
        await stage.versions.settled()
        assert stage.versions.live("default") == 2
        assert stage.states()[1] is (VersionState.AVAILABLE if keep_previous else VersionState.END)

    run(tmp_path, story, keep_previous=keep_previous)


def test_a_version_is_not_stopped_before_its_requests_have_had_their_time(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        one, two = stage.publish(1), stage.publish(2)
        await stage.declare(one)
        await stage.versions.settled()
        pid = stage.engine(1)
        os.kill(pid, signal.SIGSTOP)
        in_flight = asyncio.create_task(stage.ask(3))
        await stage.declare(two)
        await until(lambda: stage.versions.live("default") == 2)
        await asyncio.wait([in_flight], timeout=0.2)  # a drain of 0 s would end it at once
        os.kill(pid, signal.SIGCONT)
        answer = await in_flight
        assert answer.version == 1
        stage.check(answer, 3)

    run(tmp_path, story, keep_previous=0, drain_timeout_s=0)


def test_a_missing_folder_is_tried_again_later(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        one = stage.publish(1)
        folder = stage.storage.folder("default", 1)
        folder.rename(tmp_path / "away")
        await stage.declare(one)
        await stage.versions.settled()
        (status,) = stage.versions.status("default")
        assert (status.state, status.error_code) == (VersionState.END, "NOT_FOUND")
        assert stage.versions.missing() is not None  # it may still come
        with pytest.raises(NoLiveVersion, match="version 1 cannot serve: Nothing is published"):
            stage.versions.lease("default", None)
        for _ in range(2):
            await stage.declare(one, retry=True)
            await stage.versions.settled()
        assert stage.versions.missing() is None  # three failures: other models must not wait for it

    run(tmp_path, story)


def test_the_previous_version_is_loaded_behind_the_live_one(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        one, two = stage.publish(1), stage.publish(2)
        await stage.declare(two, one)
        assert stage.states() == {1: VersionState.END, 2: VersionState.START}
        await stage.versions.settled()
        assert stage.states() == {1: VersionState.AVAILABLE, 2: VersionState.AVAILABLE}
        stage.check(await stage.ask(1, version=1), 1)
        stage.check(await stage.ask(1), 1)
        assert (await stage.ask(1)).version == 2
        assert stage.versions.manifest("default", 1) == stage.manifests[1]

    run(tmp_path, story)


def test_loading_is_given_up_when_it_is_no_longer_declared_or_the_service_stops(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        one, two = stage.publish(1), stage.publish(2)
        await stage.declare(one)
        await stage.declare(two)  # before version 1 has begun
        assert stage.states() == {1: VersionState.UNLOADING, 2: VersionState.START}
        await reached(stage, 1, VersionState.END)
        await reached(stage, 2, VersionState.LOADING)
        await stage.declare(one)  # while version 2 loads
        assert stage.states() == {1: VersionState.START, 2: VersionState.UNLOADING}
        await reached(stage, 2, VersionState.END)
        await reached(stage, 1, VersionState.LOADING)

    run(tmp_path, story)


def test_unknown_models_and_models_without_a_version_say_what_is_missing(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        with pytest.raises(UnknownModel, match="There is no model named 'default'; known are: none yet"):
            stage.versions.live("default")
        await stage.versions.apply(["default"], [])
        assert stage.versions.known_models() == {"default"}
        assert stage.versions.live("default") is None
        assert stage.versions.missing() is None
        with pytest.raises(NoLiveVersion, match="label images of both classes, then retrain"):
            await stage.ask(0)
        with pytest.raises(UnknownVersion, match="Version 7 of model 'default' is not loaded; loaded are: none"):
            await stage.ask(0, version=7)

    run(tmp_path, story)


def test_a_swap_for_which_the_memory_is_too_small_is_refused_and_the_old_version_goes_on(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        one, two = stage.publish(1), stage.publish(2)
        await stage.declare(one)
        await stage.versions.settled()
        await stage.declare(two, one)
        await stage.versions.settled()
        refused, live = stage.versions.status("default")
        assert (refused.number, refused.state, refused.error_code) == (2, VersionState.END, "RESOURCE_EXHAUSTED")
        assert "set RIPEN_SWAP=serial" in refused.message
        assert live.state is VersionState.AVAILABLE
        assert stage.versions.live("default") == 1
        assert stage.versions.missing() is None
        stage.check(await stage.ask(3), 3)

    run(tmp_path, story, memory_budget_bytes=1)


def test_serial_swaps_say_503_in_between_and_come_back_with_the_old_version_where_the_new_one_is_broken(
    tmp_path: Path,
) -> None:
    async def story(stage: Stage) -> None:
        one, two, three = stage.publish(1), stage.publish(2), stage.publish(3)
        (stage.storage.folder("default", 3) / "curves.png").write_bytes(b"not in the manifest")
        await stage.declare(one)
        await stage.versions.settled()
        await stage.declare(two, one)
        await until(lambda: stage.versions.live("default") is None)
        with pytest.raises(EngineUnavailable, match=r"version 2 is loading\. Send it again later"):
            await stage.ask(3)
        await stage.versions.settled()
        assert stage.states()[2] is VersionState.AVAILABLE
        stage.check(await stage.ask(3), 3)
        assert (await stage.ask(3)).version == 2
        assert stage.shows('ripen_serial_swaps_total{model="default"} 1.0')

        await stage.declare(three, two)
        await until(lambda: stage.states()[3] is VersionState.END, timeout_s=120)
        await until(lambda: stage.versions.live("default") == 2, timeout_s=120)
        assert (await stage.ask(3)).version == 2
        for _ in range(3):
            await stage.declare(three, two)  # no downtime again and again
        assert stage.versions.live("default") == 2
        assert stage.shows('ripen_serial_swaps_total{model="default"} 2.0')

    run(tmp_path, story, memory_budget_bytes=1, swap="serial", request_timeout_s=120)


def test_a_swap_remembers_what_a_rollback_would_undo(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        one, two = stage.publish(1), stage.publish(2)
        await stage.declare(one)
        await stage.versions.settled()
        await stage.ask(0)
        assert stage.versions.swaps() == ()
        await stage.declare(two, one)
        await stage.versions.settled()
        (swap,) = stage.versions.swaps()
        assert (swap.model, swap.version, swap.replaced) == ("default", 2, 1)
        assert (swap.before.images, swap.before.failures, swap.before.batches) == (1, 0, 1)
        assert swap.before.image_s > 0
        await stage.ask(0)
        assert swap.health.figures().images == 1
        os.kill(stage.engine(2), signal.SIGKILL)
        await until(lambda: swap.health.figures().deaths == 1)
        await stage.declare(one)
        assert stage.versions.live("default") == 1
        assert stage.versions.swaps() == ()  # what came back is not watched

    run(tmp_path, story)


def test_a_rollback_to_an_engine_that_sleeps_waits_until_it_is_awake(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        one, two = stage.publish(1), stage.publish(2)
        await stage.declare(two, one)
        await stage.versions.settled()
        with stage.versions.lease("default", 1) as spare:
            pass
        spare.sleep()
        await until(lambda: spare.stage == "asleep")
        await stage.declare(one)
        assert stage.versions.live("default") == 2
        assert (await stage.ask(0)).version == 2  # meanwhile it answers
        await until(lambda: stage.versions.live("default") == 1)
        assert spare.stage == "awake"

    run(tmp_path, story)
