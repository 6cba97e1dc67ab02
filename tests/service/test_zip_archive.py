"""Zip files: what good tools write is read, whatever contradicts itself is refused before a byte is inflated."""

import io
import os
import shutil
import stat
import subprocess
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
from zip_maker import Member, good_zip, made_zip

from contract.errors import ArchiveTooLarge, InvalidArchive
from service import zip_archive
from service.zip_archive import ArchiveLimits, Entry, read_directory, read_entry

LIMITS = ArchiveLimits(max_entries=10, max_total_bytes=10_000_000)
ONE = Member(b"apple/1.png", b"picture " * 100)


def entries(archive: bytes) -> tuple[Entry, ...]:
    return read_directory(io.BytesIO(archive), LIMITS)


def contents(archive: bytes) -> dict[str, bytes]:
    file = io.BytesIO(archive)
    return {entry.name: read_entry(file, entry) for entry in read_directory(file, LIMITS)}


FILES = {"apple/1.png": b"one", "apple/": b"", "orange/ä b.png": os.urandom(200_000), "orange/empty.png": b""}
READ = {name: data for name, data in FILES.items() if not name.endswith("/")}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_python_writes_is_read(method: int) -> None:
    assert contents(good_zip(FILES, method)) == READ


def test_what_a_stream_writes_is_read() -> None:
    """Sizes behind the data: Python does so where it cannot seek back."""

    class Pipe(io.RawIOBase):
        written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]  # the tests' own narrower one
            self.written += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in READ.items():
            archive.writestr(name, data)
        with archive.open("apple/big.png", "w", force_zip64=True) as member:
            member.write(b"big")
    assert contents(pipe.written) == {**READ, "apple/big.png": b"big"}


@pytest.mark.skipif(not shutil.which("zip"), reason="Info-ZIP is not installed")
def test_what_info_zip_writes_is_read(tmp_path: Path) -> None:
    for name, data in READ.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    subprocess.run(["zip", "-rq", "out.zip", "apple", "orange"], cwd=tmp_path, check=True)
    assert contents((tmp_path / "out.zip").read_bytes()) == READ


def test_names_without_a_flag_are_utf_8_or_the_first_code_page() -> None:
    members = [ONE.change(name=name) for name in ("jabłko/1.png".encode(), b"\x84pfel/1.png")]
    assert [entry.name for entry in entries(made_zip(members))] == ["jabłko/1.png", "äpfel/1.png"]


def test_a_comment_at_the_end_is_no_harm() -> None:
    assert contents(made_zip([ONE], comment=b"made by hand PK\x05\x06")) == {"apple/1.png": ONE.data}


def refused(archive: bytes) -> str:
    with pytest.raises(InvalidArchive) as caught:
        contents(archive)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        b"../../evil",
        b"/abs",
        b"a\\..\\b",
        b"C:x",
        b"a/./b",
        b"a//b",
        b"a/\x00b",
        b"a/\nb",
        b"x/" * 600,
        b"",
        b"a/\xff\\",
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: bytes) -> None:
    assert "Entry 2 of the archive" in refused(made_zip([ONE, ONE.change(name=name)]))


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR, stat.S_IFIFO, 0o104755, 0o102755, stat.S_IFDIR])
def test_what_is_no_plain_file_is_refused(mode: int) -> None:
    refused(made_zip([ONE.change(mode=mode)]))


@pytest.mark.parametrize("names", [(b"a/1", b"a/1"), (b"a/1", b"A/1"), (b"a/1", b"a/1/"), ("é".encode(), "é".encode())])
def test_the_same_name_twice_is_refused(names: tuple[bytes, bytes]) -> None:
    kinds = [ONE.change(name=name, **({"mode": 0, "data": b""} if name.endswith(b"/") else {})) for name in names]
    assert "twice" in refused(made_zip(kinds))


@pytest.mark.parametrize(
    "changes", [{"flags": 1}, {"flags": 1 << 6}, {"flags": 1 << 13}, {"method": 12}, {"method": 99}]
)
def test_encryption_and_other_methods_are_refused(changes: dict[str, int]) -> None:
    refused(made_zip([ONE.change(**changes)]))


@pytest.mark.parametrize(
    "changes",
    [
        {"crc": 1},
        {"size": 799},
        {"size": 801},
        {"size": 800, "packed_size": 900},
        {"local_size": 5},
        {"local_name": b"apple/2.png"},
        {"packed": b"\xff" * 20},
        {"packed": zlib.compress(b"x")[2:-5], "size": 800},
        {"method": 0, "size": 900},
        {"size": 2**32 - 1},
        {"offset": 10_000},
        {"offset": 3},
    ],
    ids=str,
)
def test_lies_in_headers_are_refused(changes: dict[str, object]) -> None:
    refused(made_zip([ONE.change(name=b"apple/0.png"), ONE.change(**changes)]))


def test_what_is_longer_than_it_says_is_not_inflated() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = bomb.compress(bytes(50_000_000)) + bomb.flush()
    archive = made_zip([ONE.change(packed=packed, size=60_000, data=bytes(60_000), packed_size=len(packed))])
    tracemalloc.start()
    refused(archive)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2_000_000


def test_overlapping_entries_are_refused() -> None:
    quine = made_zip([ONE, ONE.change(name=b"apple/1.png", offset=0), ONE.change(name=b"apple/2.png", offset=0)])
    refused(quine)
    inner = made_zip([ONE.change(name=b"apple/2.png", method=0)])
    start = 30 + len(b"apple/1.png")
    both = [Member(b"apple/1.png", inner, method=0), ONE.change(name=b"apple/2.png", method=0, offset=start)]
    assert "shares bytes" in refused(made_zip(both))


@pytest.mark.parametrize(
    "damage",
    [
        lambda archive: b"",
        lambda archive: b"PK\x05\x06",
        lambda archive: archive[:-1],
        lambda archive: archive[:-30],
        lambda archive: archive[1:],
        lambda archive: b"MZ" + archive,
        lambda archive: archive + b"x",
        lambda archive: made_zip([]),
        lambda archive: made_zip([ONE], count=2),
        lambda archive: made_zip([ONE, ONE.change(name=b"b")], count=1),
        lambda archive: made_zip([ONE], offset=0),
        lambda archive: made_zip([ONE], size=10),
        lambda archive: made_zip([ONE], size=2**32 - 1),
    ],
)
def test_a_broken_directory_is_refused(damage: object) -> None:
    refused(damage(made_zip([ONE])))  # type: ignore[operator]  # a function; pytest's marks have no types


def test_what_contradicts_itself_is_said_before_anything_is_read() -> None:
    assert "contradict" in refused(made_zip([ONE.change(size=100, packed_size=5000)]))
    assert "contradict" in refused(made_zip([Member(b"folder/", b"x", mode=0)]))
    assert "sooner or later" in refused(made_zip([ONE.change(packed=_deflated(ONE.data) + b"junk")]))
    assert "zip64" in refused(made_zip([ONE], size=2**32 - 1))
    spread = bytearray(made_zip([ONE]))
    spread[-18] = 1
    assert "several files" in refused(bytes(spread))


def _deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(data) + deflater.flush()


def test_limits_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(archive: bytes) -> None:
        with pytest.raises(ArchiveTooLarge):
            entries(archive)

    too_large(made_zip([ONE.change(name=b"%d" % number) for number in range(11)]))
    sizes = {"size": 6_000_000, "packed_size": 6_000_000, "method": 0}
    too_large(made_zip([ONE.change(**sizes), ONE.change(name=b"b", **sizes)]))
    too_large(made_zip([Member(b"zeros", bytes(2_000_000))]))
    entries(made_zip([Member(b"zeros", bytes(900_000))]))
    monkeypatch.setattr(zip_archive, "MAX_DIRECTORY_BYTES", 50)
    too_large(made_zip([ONE]))


def test_every_bit_that_flips_is_noticed_or_harmless() -> None:
    archive = made_zip([ONE, Member(b"orange/2.png", b"another", method=0)])
    truth = contents(archive)
    noticed = 0
    for position in range(len(archive)):
        for bit in (1, 128):
            changed = bytearray(archive)
            changed[position] ^= bit
            try:
                read = contents(bytes(changed))
            except (InvalidArchive, ArchiveTooLarge):
                noticed += 1
            else:
                assert list(read.values()) == list(truth.values())
    assert noticed > len(archive)
