"""One real engine process on a real, tiny version."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import tiny_version
from serving_fakes import until

from contract import artifact
from contract.errors import (
    EngineUnavailable,
    GoldenMismatch,
    ImageTooLarge,
    InvalidImage,
    LoadFailed,
    VersionCorrupt,
)
from service.engine import Engine
from service.engine_connection import EngineConnection
from service.engine_keeper import EngineKeeper, restart_pause_s
from service.engine_wire import BatchResult, EngineImage, LoadOrder, encode_frame, error_of


def order(folder: Path, **changes: object) -> LoadOrder:
    record = tiny_version.record(folder)
    base = LoadOrder(
        record.model,
        record.number,
        folder=str(folder),
        manifest_sha256=record.manifest_sha256,
        max_batch_size=4,
        threads=1,
        max_image_bytes=100_000,
        max_image_pixels=10_000,
    )
    return replace(base, **changes)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def failure_to_load(what: LoadOrder, *, timeout_s: float = 60) -> str:
    """The message of the BrokenVersion that starting gives."""

    async def tell() -> None:
        await Engine.start(what, timeout_s=timeout_s)

    with pytest.raises((VersionCorrupt, GoldenMismatch, LoadFailed)) as caught:
        asyncio.run(tell())
    return f"{type(caught.value).__name__}: {caught.value}"


def test_answers_encoded_images_and_pixels_and_refuses_bad_ones_alone(tmp_path: Path) -> None:
    manifest = tiny_version.make(tmp_path / "1", bias=0.4)
    pictures = [tiny_version.picture(seed) for seed in range(3)]
    batch = [EngineImage(data, encoded=True) for data in pictures]
    batch.insert(1, EngineImage(b"text", encoded=True))
    batch.insert(3, EngineImage(tiny_version.picture(9, side=101), encoded=True))
    batch.append(EngineImage(tiny_version.pixels([2])[0].tobytes(), encoded=False))

    async def tell() -> None:
        engine, loaded = await Engine.start(order(tmp_path / "1"), timeout_s=60)
        assert loaded == manifest
        result = await engine.infer(batch)
        wanted = [tiny_version.expected(manifest, data) for data in pictures]
        good = [result.outcomes[index] for index in (0, 2, 4, 5)]
        assert good == pytest.approx([*wanted, wanted[2]], abs=1e-5)
        assert isinstance(error_of(result.outcomes[1]), InvalidImage)
        assert isinstance(error_of(result.outcomes[3]), ImageTooLarge)
        assert result.decode_seconds > 0
        assert result.infer_seconds > 0
        os.kill(engine.pid, signal.SIGSTOP)  # one that hangs does not hear that the parent hangs up
        await engine.stop()
        assert not alive(engine.pid)
        with pytest.raises(EngineUnavailable):
            await engine.infer(batch)

    asyncio.run(tell())


def test_a_killed_engine_fails_what_is_in_flight_and_is_restarted(tmp_path: Path) -> None:
    manifest = tiny_version.make(tmp_path / "1", bias=0.4)
    restarts: list[int] = []

    async def start() -> Engine:
        return (await Engine.start(order(tmp_path / "1"), timeout_s=60))[0]

    async def tell() -> None:
        keeper = EngineKeeper(
            start,
            room=lambda: nullcontext(True),
            stuck_s=60,
            on_restart=lambda: restarts.append(1),
            on_change=lambda: None,
        )
        await keeper.available()
        image = EngineImage(tiny_version.picture(1), encoded=True)
        first = keeper.pid
        os.kill(first, signal.SIGSTOP)
        in_flight = keeper.infer([image])
        os.kill(first, signal.SIGKILL)
        with pytest.raises(EngineUnavailable, match="ended before it answered"):
            await in_flight
        async with asyncio.timeout(60):
            await until(lambda: keeper.pid != first)
            await keeper.available()
        result = await keeper.infer([image])
        assert result.outcomes[0] == pytest.approx(tiny_version.expected(manifest, image.data), abs=1e-5)
        assert restarts == [1]
        await keeper.stop()
        assert not alive(first)
        assert not alive(keeper.pid)

    asyncio.run(tell())


def test_an_engine_whose_answer_cannot_be_understood_counts_as_ended() -> None:
    async def tell() -> None:
        ours, theirs = socket.socketpair()
        process = await asyncio.create_subprocess_exec("sleep", "60")
        engine = Engine(process, await EngineConnection.open(ours))
        engine._connection.on_frame = engine._receive
        in_flight = engine.infer([EngineImage(b"x", encoded=True)])
        with theirs:
            theirs.sendall(b"".join(encode_frame(BatchResult(7))))  # an answer to a question that nobody asked
            async with asyncio.timeout(10):
                await engine.ended.wait()
                with pytest.raises(EngineUnavailable, match="ended before it answered"):
                    await in_flight
                await engine.stop()

    asyncio.run(tell())


def test_an_engine_ends_with_its_parent_even_while_it_loads(tmp_path: Path) -> None:
    tiny_version.make(tmp_path / "1")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(msgspec.json.encode(order(tmp_path / "1")), "utf-8")])
    try:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        wait_until(lambda: children.read_text().strip())
        engine = int(children.read_text())
        wait_until(lambda: "tensorflow" in Path(f"/proc/{engine}/maps").read_text())
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not alive(engine))


PARENT = """
import asyncio, msgspec, sys
from service.engine import Engine
from service.engine_connection import EngineConnection
from service.engine_wire import LoadOrder

asyncio.run(Engine.start(msgspec.json.decode(sys.argv[1], type=LoadOrder), timeout_s=60))
"""


def wait_until(condition: Callable[[], object], *, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_flipped_byte_is_reported_by_name(tmp_path: Path) -> None:
    tiny_version.make(tmp_path / "1")
    path = tmp_path / "1" / "saved_model.pb"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert failure_to_load(order(tmp_path / "1")).startswith(f"VersionCorrupt: {path} is altered")


def test_another_manifest_than_the_published_one_is_refused(tmp_path: Path) -> None:
    tiny_version.make(tmp_path / "1")
    said = failure_to_load(order(tmp_path / "1", manifest_sha256="0" * 64))
    assert "VersionCorrupt" in said
    assert "not the manifest that was published" in said
    assert "not the one that was ordered" in failure_to_load(order(tmp_path / "1", version=2))


def test_golden_images_that_answer_otherwise_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    manifest = tiny_version.make(folder)
    probabilities = list(manifest.golden.probabilities["tensorflow-f32"])
    probabilities[2] += 0.01
    golden = replace(manifest.golden, probabilities={"tensorflow-f32": tuple(probabilities)})
    artifact.write_manifest(folder, replace(manifest, golden=golden))
    said = failure_to_load(order(folder))
    assert said.startswith("GoldenMismatch: golden/02.jpg gives ")
    assert f"the manifest says {probabilities[2]:.6f}" in said


def test_a_version_that_tensorflow_cannot_load_is_reported_without_a_stack(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    manifest = tiny_version.make(folder)
    (folder / "saved_model.pb").write_bytes(b"nothing")
    artifact.write_manifest(folder, manifest)
    said = failure_to_load(order(folder))
    assert said.startswith("LoadFailed: The version cannot be loaded: ")
    assert "\n" not in said


def test_a_load_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    tiny_version.make(tmp_path / "1")
    said = failure_to_load(order(tmp_path / "1"), timeout_s=0.05)
    assert "was not ready within 0.05 s (RIPEN_LOAD_TIMEOUT_S)" in said


def test_the_back_off_grows_to_half_a_minute() -> None:
    assert [restart_pause_s(failures) for failures in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]
