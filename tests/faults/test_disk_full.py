"""A small disk fills up, by bytes and by inodes: predictions go on, uploads are refused whole, then work again."""

import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
import tiny_version
from open_loop import OpenLoop, percentile
from service_process import Process, publish, started

from backends.database import SqlDatabase
from backends.storage import ObjectStorage
from protos import ripen_v1_pb2, ripen_v1_pb2_grpc

RATE = 20.0
RECOVERED_WITHIN_S = 10.0
MOST_WRITES = 500  # until SQLite needs new pages
PICTURES = [tiny_version.picture(seed) for seed in range(8)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 24 MB and 400 inodes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,nr_inodes=400", "tmpfs", str(folder)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        assert "CI" not in os.environ, done.stderr
        pytest.skip("only root can mount a small disk: run the tests in `unshare --map-root-user --mount`")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass
class Writes:
    """What a client may want to write; `seed` makes each one new."""

    process: Process
    seed: int = 100

    def upload(self) -> httpx.Response:
        self.seed += 1
        files = {"file": ("picture.jpg", tiny_version.picture(self.seed), "image/jpeg")}
        return self.process.client.post("/api/v1/examples", data={"label": "apple"}, files=files)

    def upload_by_grpc(self) -> grpc.StatusCode:
        self.seed += 1
        request = ripen_v1_pb2.AddExampleRequest(model="default", label="apple", data=tiny_version.picture(self.seed))
        with grpc.insecure_channel(self.process.grpc_address) as channel:
            try:
                ripen_v1_pb2_grpc.LearningStub(channel).AddExamples(iter([request]), timeout=20)
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    def create(self) -> httpx.Response:
        """A row without an object."""
        self.seed += 1
        return self.process.client.post("/api/v1/models", json={"name": f"m{self.seed}"})


def test_full_disk_costs_no_prediction(disk: Path) -> None:
    publish(disk, 1, 0.5)
    with started(disk) as process:
        process.wait_for(process.ready)
        writes = Writes(process)
        assert writes.upload().is_success
        assert writes.create().is_success
        load = OpenLoop(str(process.client.base_url), process.grpc_address, PICTURES, rate=RATE).start()
        recovered_s = [
            _fill_and_recover(disk, writes, load, fill=_fill_bytes, stops_rows=True),
            _fill_and_recover(disk, writes, load, fill=_fill_inodes, stops_rows=False),
        ]
        replies = load.stop()
        assert process.ready()
    print(
        f"{len(replies)} predictions, {sum(bool(reply.error) for reply in replies)} failed, "
        f"p99 {percentile(replies, 0.99) * 1e3:.0f} ms; all writes work {recovered_s[0]:.2f} s after there is space "
        f"again, {recovered_s[1]:.2f} s after there are inodes again"
    )
    assert [reply.error for reply in replies if reply.error] == []
    assert max(recovered_s) < RECOVERED_WITHIN_S
    with closing(sqlite3.connect(disk / "ripen.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _fill_and_recover(
    disk: Path, writes: Writes, load: OpenLoop, *, fill: Callable[[Path, bool], None], stops_rows: bool
) -> float:
    """Returns how many seconds after the space is there again everything could be written."""
    filler = disk / "filler"
    filler.mkdir()
    fill(filler, True)  # up to the reserve
    _assert_full(_until_refused(writes.upload))
    assert writes.upload_by_grpc() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert writes.create().is_success  # that is what the reserve is for
    fill(filler, False)
    _assert_full(writes.upload())
    if stops_rows:
        _assert_full(_until_refused(writes.create))
    assert writes.process.client.get("/api/v1/examples").is_success
    before = len(load.replies)
    while len(load.replies) < before + RATE:
        assert writes.process.ready()
    _assert_nothing_is_half_written(disk)
    for file in filler.iterdir():
        file.unlink()
    filler.rmdir()
    began_s = time.monotonic()
    for write in (writes.upload, writes.create):
        while not write().is_success:
            assert time.monotonic() - began_s < RECOVERED_WITHIN_S
    assert writes.upload_by_grpc() is grpc.StatusCode.OK
    return time.monotonic() - began_s


def _fill_bytes(filler: Path, to_reserve: bool) -> None:
    """Write until a little more than the reserve is left, or until nothing is."""
    size = 64 * 1024
    with (filler / f"bytes-{to_reserve}").open("wb", buffering=0) as file:
        while not to_reserve or _share_left(filler, "f_bavail", "f_blocks") > 0.06:
            try:
                file.write(b"x" * size)
            except OSError:
                if size == 1:
                    return
                size = 1


def _fill_inodes(filler: Path, to_reserve: bool) -> None:
    number = len([*filler.iterdir()])
    while not to_reserve or _share_left(filler, "f_favail", "f_files") > 0.06:
        number += 1
        try:
            (filler / str(number)).touch()
        except OSError:
            return


def _share_left(folder: Path, left: str, of: str) -> float:
    found = os.statvfs(folder)
    return float(getattr(found, left) / getattr(found, of))


def _until_refused(write: Callable[[], httpx.Response]) -> httpx.Response:
    for _ in range(MOST_WRITES):
        answer = write()
        if not answer.is_success:
            return answer
    raise AssertionError(f"{MOST_WRITES} writes went well on a full disk")


def _assert_full(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "storage_full"), answer.text


def _assert_nothing_is_half_written(disk: Path) -> None:
    """Each row has its object, each object its row, and no staging is left."""
    database = SqlDatabase(f"sqlite:///{disk}/ripen.db")
    storage = ObjectStorage((disk / "storage").as_uri(), cache=disk / "cache")
    rows = {example.storage_key: example.size_bytes for example in database.list_examples("default")}
    database.close()
    assert {found.key: found.size_bytes for found in storage.list_objects("examples")} == rows
    assert [path.name for path in (disk / "storage").iterdir() if path.name.startswith(".")] == []
