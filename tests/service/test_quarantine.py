"""Images that an engine does not survive are refused, and cost nobody else an answer for long."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_version
from poisoned_engine import POISON
from serving_fakes import FolderStorage, GatedEngine, aspiration, settings, until

from contract.errors import EngineUnavailable, InvalidImage
from contract.records import Prediction
from service import engine, quarantine
from service.batcher import Batcher
from service.engine_wire import BatchResult, EngineDied, EngineImage
from service.kept_images import KeptImages
from service.metrics import Metrics
from service.predictor import Predictor, PredictRequest
from service.quarantine import Quarantine
from service.versions import Versions

GOOD = [EngineImage(b"good" * (each + 1), encoded=True) for each in range(4)]
BAD = EngineImage(b"bad", encoded=True)


class MortalEngine(GatedEngine):
    """Dies of BAD."""

    async def infer(self, images: Sequence[EngineImage]) -> BatchResult:
        result = await super().infer(images)
        if BAD in images:
            raise EngineDied("The engine process ended before it answered; send it again.")
        return result


def test_an_image_that_ends_its_engine_twice_is_refused_and_its_neighbours_are_not() -> None:
    async def tell() -> None:
        mortal = MortalEngine()
        mortal.capacity = replace(mortal.capacity, batch_size=8, in_flight=2, workers=1)
        batcher = Batcher(mortal, settings(), metrics=Metrics(), model="default", version=1)
        later = asyncio.get_running_loop().time() + 30
        with pytest.raises(EngineUnavailable) as raised:
            await batcher.submit([*GOOD, BAD], later)
        assert type(raised.value) is EngineUnavailable  # of which clients know
        asked = [asyncio.create_task(batcher.submit([image], later)) for image in (*GOOD, BAD)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert answers[:4] == [[len(image.data) / 100] for image in GOOD]
        assert isinstance(answers[4], EngineUnavailable)
        assert [len(batch) for batch in mortal.batches] == [5, 1, 1, 1, 1, 1]  # each suspect alone
        first, refused = await batcher.submit([GOOD[0], BAD], later)
        assert first == 0.04
        assert isinstance(refused, InvalidImage)
        assert "encoded anew" in refused.message
        await batcher.submit(GOOD, later)
        assert len(mortal.batches[-1]) == 4  # acquitted
        await batcher.stop()

    asyncio.run(tell())


def test_nothing_else_is_sent_while_a_suspect_is_in_the_engine() -> None:
    async def tell() -> None:
        mortal = MortalEngine()
        mortal.capacity = replace(mortal.capacity, batch_size=8, in_flight=4, workers=4)
        batcher = Batcher(mortal, settings(), metrics=Metrics(), model="default", version=1)
        later = asyncio.get_running_loop().time() + 30
        with pytest.raises(EngineUnavailable):
            await batcher.submit([BAD], later)
        mortal.gate.clear()
        busy = asyncio.create_task(batcher.submit([GOOD[0]], later))
        await until(lambda: len(mortal.batches) == 2)
        asked = [asyncio.create_task(batcher.submit([image], later)) for image in (BAD, *GOOD[1:])]
        await asyncio.sleep(0.05)
        assert len(mortal.batches) == 2  # the suspect waits for the engine to be empty, and the others for the suspect
        mortal.gate.set()
        answers = await asyncio.gather(busy, *asked, return_exceptions=True)
        assert isinstance(answers[1], EngineUnavailable)
        assert answers[2:] == [[len(image.data) / 100] for image in GOOD[1:]]
        assert mortal.batches[2] == [BAD.data]
        await batcher.stop()

    asyncio.run(tell())


def test_blame_is_forgotten_after_a_while_and_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Quarantine()
    for _ in range(2):
        held.blame([BAD])
    assert held.refusal(BAD) is not None
    monkeypatch.setattr(quarantine, "MOST_IMAGES", 3)
    held.blame(GOOD)
    assert [held.suspects(image) for image in (BAD, *GOOD)] == [False, False, True, True, True]
    monkeypatch.setattr(quarantine, "REMEMBERED_S", -1.0)
    held.blame([BAD, BAD])
    assert held.refusal(BAD) is None
    assert not held.suspects(BAD)


def test_a_real_engine_that_dies_of_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MODULE", "poisoned_engine")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    poison = tiny_version.picture(1) + POISON

    async def tell() -> None:
        storage, chosen, metrics = FolderStorage(tmp_path), settings(engine_threads=1), Metrics()
        folder = storage.folder("default", 1)
        tiny_version.make(folder, number=1, bias=0.5)
        versions = Versions(storage, metrics, chosen)
        predictor = Predictor(versions, metrics, chosen, KeptImages(0))

        async def ask(image: bytes) -> object:
            return (await predictor.predict(PredictRequest("default", [image]))).predictions[0]

        try:
            await versions.apply(["default"], [aspiration(tiny_version.record(folder))])
            await versions.settled()
            for _ in range(2):
                with pytest.raises(EngineUnavailable):
                    await ask(poison)
            assert isinstance(await ask(poison), InvalidImage)
            assert isinstance(await ask(tiny_version.picture(1)), Prediction)
        finally:
            await versions.close()

    asyncio.run(tell())
