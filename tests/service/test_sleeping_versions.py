"""Versions whose engines sleep, in real engine processes: two models, and a budget that holds one engine."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import tiny_version
from serving_fakes import FolderStorage, aspiration, settings, until

from contract.artifact import Manifest
from contract.errors import DeadlineExceeded, EngineUnavailable, UnknownModel
from contract.records import Prediction, Version
from service.kept_images import KeptImages
from service.memory_policy import Stage
from service.metrics import Metrics
from service.model_versions import ASLEEP
from service.predictor import Predictor, PredictRequest
from service.versions import Versions

PICTURE = tiny_version.picture(1)


class Pair:
    """Models `a` and `b`, on a budget that one engine alone exceeds."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.storage = FolderStorage(folder)
        self.metrics = Metrics()
        chosen = settings(engine_threads=1, max_batch_size=2, memory_budget_bytes=1, request_timeout_s=120, **changes)
        self.versions = Versions(self.storage, self.metrics, chosen)
        self.predictor = Predictor(self.versions, self.metrics, chosen, KeptImages(0))
        self.manifests: dict[tuple[str, int], Manifest] = {}
        self.pinned: set[str] = set()
        self.live: dict[str, tuple[Version, Version | None]] = {}

    def publish(self, model: str, number: int) -> Version:
        folder = self.storage.folder(model, number)
        self.manifests[model, number] = tiny_version.make(folder, model=model, number=number, bias=number / 2)
        return tiny_version.record(folder)

    async def declare(self, model: str, live: Version, previous: Version | None = None) -> None:
        self.live[model] = live, previous
        await self.tell()

    async def tell(self) -> None:
        await self.versions.apply(
            list(self.live), [aspiration(*each) for each in self.live.values()], pinned=self.pinned
        )

    async def ask(self, model: str, timeout_s: float | None = None) -> int:
        """The version that answered, as it should."""
        answer = await self.predictor.predict(PredictRequest(model, [PICTURE], timeout_s=timeout_s))
        (prediction,) = answer.predictions
        assert isinstance(prediction, Prediction)
        wanted = tiny_version.expected(self.manifests[model, answer.version], PICTURE)
        assert prediction.probability == pytest.approx(wanted, abs=1e-5)
        return answer.version

    def stage(self, model: str, version: int | None = None) -> Stage:
        with self.versions.lease(model, version) as leased:
            return leased.stage

    def sleeps(self, model: str, version: int | None = None) -> bool:
        return self.stage(model, version) is Stage.ASLEEP


def run(folder: Path, story: Callable[[Pair], Awaitable[None]], **changes: object) -> None:
    async def tell() -> None:
        pair = Pair(folder, **changes)
        try:
            await story(pair)
        finally:
            await pair.versions.close()

    asyncio.run(tell())


def test_models_take_turns_and_a_broken_version_of_a_sleeping_model_shows_at_its_first_request(tmp_path: Path) -> None:
    async def story(pair: Pair) -> None:
        for model in "ab":
            await pair.declare(model, pair.publish(model, 1))
            await pair.versions.settled()
        assert pair.versions.missing() is None  # a model that sleeps holds nothing back
        assert [pair.sleeps(model) for model in "ab"] == [False, True]
        (status,) = pair.versions.status("b")
        assert (status.state, status.error_code, status.message) == ("AVAILABLE", "OK", ASLEEP)
        assert pair.versions.manifest("b", None) == pair.manifests["b", 1]

        with pair.versions.lease("a", None):  # while a answers, b has to wait
            with pytest.raises(DeadlineExceeded):
                await pair.ask("b", timeout_s=0.1)
            assert not pair.sleeps("a")
        assert await asyncio.gather(*(pair.ask("b") for _ in range(3))) == [1, 1, 1]
        assert [pair.sleeps(model) for model in "ab"] == [True, False]

        broken = pair.publish("a", 2)
        (pair.storage.folder("a", 2) / "curves.png").write_bytes(b"not in the manifest")
        await pair.declare("a", broken, pair.live["a"][0])
        await pair.versions.settled()
        assert pair.versions.live("a") == 2  # a promotion wakes nobody
        assert [pair.sleeps(model) for model in "ab"] == [True, False]
        with pytest.raises(EngineUnavailable, match="the version's status says why"):
            await pair.ask("a")
        await until(lambda: pair.versions.live("a") == 1)
        assert await pair.ask("a") == 1
        assert pair.versions.status("a")[0].error_code == "DATA_LOSS"
        assert "curves.png is unknown" in pair.versions.status("a")[0].message

    run(tmp_path, story)


def test_a_rollback_to_an_engine_that_sleeps_is_a_serial_swap_and_a_pinned_model_wakes_by_itself(
    tmp_path: Path,
) -> None:
    async def story(pair: Pair) -> None:
        one, two = pair.publish("a", 1), pair.publish("a", 2)
        await pair.declare("a", two, one)
        await pair.versions.settled()
        assert (pair.sleeps("a"), pair.sleeps("a", 1)) == (False, True)
        with pair.versions.lease("a", None):
            await pair.declare("a", one)
            await until(lambda: pair.versions.live("a") is None)  # both do not fit: one after the other
            with pytest.raises(EngineUnavailable, match="is replaced just now"):
                await pair.ask("a")
        await until(lambda: pair.versions.live("a") == 1, timeout_s=120)
        assert await pair.ask("a") == 1
        await pair.versions.settled()

        pair.pinned = {"b"}
        await pair.declare("b", pair.publish("b", 1))
        await pair.versions.settled()
        assert not pair.sleeps("b")
        await until(lambda: pair.stage("a") is Stage.ASLEEP)
        with pytest.raises(EngineUnavailable, match="Raise RIPEN_MEMORY_BUDGET_BYTES or unpin a model"):
            await pair.ask("a")
        assert pair.versions.status("a")[-1].error_code == "UNAVAILABLE"

        del pair.live["b"]
        with pair.versions.lease("b", None) as held:
            await pair.tell()
            with pytest.raises(UnknownModel):
                await pair.ask("b")
            assert held.stage is Stage.AWAKE
            assert 'model="b"' in pair.metrics.expose().decode()
        await pair.versions.settled()
        assert held.stage is not Stage.WAKING
        assert 'model="b"' not in pair.metrics.expose().decode()
        assert await pair.ask("a") == 1

    run(tmp_path, story, swap="serial")
