"""One request from admission to decision, on a real engine that is stopped where a test needs it to be slow."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_version
from serving_fakes import FolderStorage, aspiration, queue_depth, settings, until

from contract.errors import DeadlineExceeded, ImageTooLarge, InvalidImage, InvalidRequest, Overloaded
from contract.images import ImageLimits, decode
from contract.records import Prediction
from service.kept_images import KeptImages
from service.metrics import Metrics
from service.predictor import Predictor, PredictRequest
from service.versions import Versions

PICTURE = tiny_version.picture(1)


def run(folder: Path, story: Callable[[Predictor, Versions, Metrics], Awaitable[None]], **changes: object) -> None:
    storage = FolderStorage(folder)
    tiny_version.make(storage.folder("default", 1), bias=0.25)

    async def tell() -> None:
        metrics, chosen = Metrics(), settings(engine_threads=1, max_batch_size=4, queue_size=8, **changes)
        versions = Versions(storage, metrics, chosen)
        await versions.apply(["default"], [aspiration(tiny_version.record(storage.folder("default", 1)))])
        await versions.settled()
        try:
            await story(Predictor(versions, metrics, chosen, KeptImages(0)), versions, metrics)
        finally:
            await versions.close()

    asyncio.run(tell())


def ask(count: int, timeout_s: float | None = None) -> PredictRequest:
    return PredictRequest("default", [PICTURE] * count, timeout_s=timeout_s)


def test_predictions_and_requests_that_cannot_be_used(tmp_path: Path) -> None:
    async def story(predictor: Predictor, versions: Versions, metrics: Metrics) -> None:
        manifest = versions.manifest("default", None)
        answer = await predictor.predict(PredictRequest("default", [PICTURE, b"text", tiny_version.picture(2)]))
        first, bad, third = answer.predictions
        assert isinstance(bad, InvalidImage)
        for prediction, seed in ((first, 1), (third, 2)):
            assert isinstance(prediction, Prediction)
            wanted = tiny_version.expected(manifest, tiny_version.picture(seed))
            assert prediction.probability == pytest.approx(wanted, abs=1e-5)
            assert prediction.label == answer.classes[wanted >= 0.5]
            assert prediction.threshold == 0.5
        by_pixels = await predictor.predict(PredictRequest("default", tiny_version.pixels([1, 2])))
        assert by_pixels.predictions == (first, third)
        assert 'ripen_score_count{model="default",version="1"} 4.0' in metrics.expose().decode()

        for images, said in (
            ([], "has 0 images; expected 1 to 8"),
            ([PICTURE] * 9, "has 9 images; expected 1 to 8"),
            (
                np.zeros((1, 8, 9, 3), np.uint8),
                r"uint8 of shape \[1, 8, 9, 3\]; expected uint8 of shape \[N, 8, 8, 3\]",
            ),
            (np.zeros((8, 8, 3), np.uint8), r"uint8 of shape \[8, 8, 3\]"),
            (np.zeros((1, 8, 8, 3), np.float32), "float32 of shape"),
            (np.zeros((0, 8, 8, 3), np.uint8), "has 0 images"),
        ):
            with pytest.raises(InvalidRequest, match=said):
                await predictor.predict(PredictRequest("default", images))

    run(tmp_path, story)


def test_an_image_above_the_limit_is_refused_alone_and_never_queued(tmp_path: Path) -> None:
    large = PICTURE + b"\0" * 2000

    async def story(predictor: Predictor, versions: Versions, metrics: Metrics) -> None:
        answer = await predictor.predict(PredictRequest("default", [large, PICTURE, large]))
        first, good, third = answer.predictions
        with pytest.raises(ImageTooLarge) as limit:
            decode(large, ImageLimits(max_bytes=2000))
        for refused in (first, third):
            assert isinstance(refused, ImageTooLarge)
            assert str(refused) == str(limit.value)
        assert isinstance(good, Prediction)
        await predictor.predict(PredictRequest("default", [large]))
        assert "ripen_batch_size_sum 1.0" in metrics.expose().decode()
        by_pixels = await predictor.predict(PredictRequest("default", tiny_version.pixels([1])))
        assert by_pixels.predictions == (good,)

    assert len(PICTURE) <= 2000
    run(tmp_path, story, max_image_bytes=2000)


def test_a_slow_engine_costs_deadlines_and_refusals_but_no_later_answer(tmp_path: Path) -> None:
    async def story(predictor: Predictor, versions: Versions, metrics: Metrics) -> None:
        with versions.lease("default", None) as version:
            pid, places = version.engine_pid, version.capacity.in_flight
        os.kill(pid, signal.SIGSTOP)
        in_flight = [asyncio.create_task(predictor.predict(ask(1))) for _ in range(places)]
        taken = f'ripen_phase_seconds_count{{phase="queue"}} {places}.0'
        await until(lambda: taken in metrics.expose().decode())  # the engine has them and does not answer
        waiting = asyncio.create_task(predictor.predict(ask(6)))
        await queue_depth(metrics, 6)
        with pytest.raises(Overloaded):
            await predictor.predict(ask(3))
        with pytest.raises(DeadlineExceeded):
            await predictor.predict(ask(1, timeout_s=0.02))
        with pytest.raises(DeadlineExceeded):
            await predictor.predict(ask(1, timeout_s=-1.0))
        cancelled = asyncio.create_task(predictor.predict(ask(2)))
        await queue_depth(metrics, 8)
        cancelled.cancel()
        await queue_depth(metrics, 6)
        os.kill(pid, signal.SIGCONT)
        assert [len((await each).predictions) for each in (*in_flight, waiting)] == [*[1] * places, 6]
        shown = metrics.expose().decode()
        for reason, count in (("overloaded", 1), ("deadline_exceeded", 2)):
            assert f'ripen_rejected_total{{reason="{reason}"}} {count}.0' in shown
        assert (
            f"ripen_batch_size_sum {places + 6}.0" in shown
        )  # neither the expired nor the cancelled reached the engine

    run(tmp_path, story)
