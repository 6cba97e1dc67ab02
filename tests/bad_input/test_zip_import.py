"""Rows H: zip files that lead elsewhere, grow without end, or contradict themselves. Nothing of them is stored."""

import stat
import threading
import time
import zlib
from collections.abc import Callable

import httpx
import tiny_version
from bad_input_case import MARKER, Answer, Case, Victim, read_answer, rows
from zip_maker import Member, good_zip, made_zip

IMPORT = "/api/v1/examples:import"
ZIP = {"Content-Type": "application/zip"}
INVALID, TOO_LARGE = (422, "invalid_archive"), (413, "archive_too_large")
ONE = Member(b"apple/1.jpg", tiny_version.picture(31))
TWO = Member(b"orange/2.jpg", tiny_version.picture(32))


def bomb(megabytes: int) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join([*(deflater.compress(bytes(2**20)) for _ in range(megabytes)), deflater.flush()])


ZEROS = bomb(20)


def imported(archive: bytes, **query: str) -> Callable[[Victim], Answer]:
    return lambda victim: read_answer(victim.client.post(IMPORT, params=query, content=archive, headers=ZIP))


def beside(changed: Member) -> Callable[[Victim], Answer]:
    return imported(made_zip([ONE, changed]))


def lie(**changes: object) -> Callable[[Victim], Answer]:
    return beside(TWO.change(**changes))


def grown(size: int) -> Member:
    """20 MB of zeros that say they are `size` bytes."""
    return Member(b"apple/zeros.jpg", packed=ZEROS, size=size, crc=0)


NAMES = {
    "above": b"../../evil",
    "absolute": b"/abs/1.jpg",
    "backslashes": b"a\\..\\b.jpg",
    "drive": b"C:x.jpg",
    "dot": b"apple/./1.jpg",
    "nul": b"apple/1\x00.jpg",
    "line": b"apple/\n.jpg",
    "long": b"apple/" + b"x" * 2000,
    "no-text": b"apple/\xff\\.jpg",
}
MODES = {"link": stat.S_IFLNK, "device": stat.S_IFBLK, "setuid": 0o104755, "setgid": 0o102755, "socket": stat.S_IFSOCK}
METHODS = {
    "encrypted": {"flags": 1},
    "strongly": {"flags": 1 << 6},
    "method-12": {"method": 12},
    "method-99": {"method": 99},
}
MANY = made_zip([ONE.change(name=b"apple/%05d.jpg" % number) for number in range(10_001)])
DECLARED = made_zip([ONE.change(name=b"apple/%d.jpg" % number, size=2**29, packed_size=2**29) for number in range(3)])
INSIDE = Member(b"apple/a.jpg", made_zip([TWO.change(method=0)]), method=0)
OVERLAP = made_zip([INSIDE, TWO.change(method=0, offset=30 + len(INSIDE.name))])
WHOLE = made_zip([ONE, TWO])
CASES = [
    *(Case(f"H1-{name}", beside(TWO.change(name=raw)), *INVALID) for name, raw in NAMES.items()),
    *(Case(f"H2-{name}", lie(mode=mode), *INVALID) for name, mode in MODES.items()),
    Case("H3-ratio", beside(grown(20 * 2**20)), *TOO_LARGE),
    Case("H3-declared", imported(DECLARED), *TOO_LARGE),
    Case("H3-actual", beside(grown(1_000_000)), *INVALID),
    # Its checksum is wrong, which nobody finds out who does not read it.
    Case("H3-one-image", beside(Member(b"apple/big.jpg", bytes(11 * 2**20), method=0, crc=1)), 413, "image_too_large"),
    Case("H4-overlap", imported(OVERLAP), *INVALID),
    Case("H4-the-same-bytes", imported(made_zip([ONE, TWO.change(name=ONE.name, offset=0)])), *INVALID),
    Case("H5-10001", imported(MANY), *TOO_LARGE),
    Case("H5-none", imported(made_zip([])), *INVALID),
    Case("H5-no-image", imported(made_zip([Member(b"apple/notes.txt", b"x")])), *INVALID),
    Case("H6-twice", beside(ONE), *INVALID),
    Case("H6-but-for-case", beside(TWO.change(name=b"APPLE/1.JPG")), *INVALID),
    *(Case(f"H7-{name}", lie(**changes), *INVALID) for name, changes in METHODS.items()),
    Case("H7-nested", beside(Member(b"apple/more.zip", good_zip({"apple/3.jpg": b"x"}))), *INVALID),
    Case(
        "H7-nested-as-image", beside(Member(b"apple/more.jpg", good_zip({"apple/3.jpg": b"x"}))), 422, "invalid_image"
    ),
    Case("H8-crc", lie(crc=1), *INVALID),
    Case("H8-longer", lie(size=len(TWO.data) - 1), *INVALID),
    Case("H8-shorter", lie(size=len(TWO.data) + 1), *INVALID),
    Case("H8-local-name", lie(local_name=b"orange/3.jpg"), *INVALID),
    Case("H8-local-size", lie(local_size=7), *INVALID),
    Case("H8-no-deflate", lie(packed=b"\xff" * 50), *INVALID),
    Case("H8-offset", lie(offset=10**6), *INVALID),
    Case("H8-truncated", imported(WHOLE[:-40]), *INVALID),
    Case("H8-half", imported(WHOLE[: len(WHOLE) // 2]), *INVALID),
    Case("H8-count", imported(made_zip([ONE], count=2)), *INVALID),
    Case("H8-directory", imported(made_zip([ONE], offset=0)), *INVALID),
    Case("H8-zip64", imported(made_zip([ONE], size=2**32 - 1)), *INVALID),
    Case("H8-something-before", imported(b"MZ" + WHOLE), *INVALID),
    Case("H8-no-zip", imported(MARKER.encode() * 100), *INVALID),
    Case("H8-empty", imported(b""), *INVALID),
    Case("label", beside(TWO.change(name=b"pear/2.jpg")), 422, "unknown_label"),
    Case("partial-changes-nothing", imported(made_zip([ONE, TWO.change(name=b"/x")]), partial="true"), *INVALID),
]


def count(victim: Victim) -> int:
    return sum(one["count"] for one in victim.client.get("/api/v1/examples").json()["counts"])


@rows(CASES)
def test_a_bad_archive_is_refused_and_nothing_is_stored(victim: Victim, case: Case) -> None:
    before = count(victim), sorted(path.name for path in victim.home.iterdir())
    case.check(victim)
    assert (count(victim), sorted(path.name for path in victim.home.iterdir())) == before


def test_h9_one_corrupt_image_refuses_all_unless_partial(victim: Victim) -> None:
    files = {f"apple/{number:03d}.jpg": tiny_version.picture(5000 + number) for number in range(1, 101)}
    files["apple/037.jpg"] = files["apple/037.jpg"][:300]
    archive = good_zip(files)
    before = count(victim)
    answer = imported(archive)(victim)
    assert (answer.status, answer.code) == (422, "invalid_image")
    assert "Image 37 of 100. Entry 37 of the archive ('apple/037.jpg')" in answer.text
    assert count(victim) == before
    partial = victim.client.post(IMPORT, params={"partial": "true"}, content=archive, headers=ZIP).json()
    assert partial["added"]["apple"] == 99
    assert [(one["file"], one["error"]["code"]) for one in partial["rejected"]] == [("apple/037.jpg", "invalid_image")]
    assert count(victim) == before + 99
    victim.check_unharmed()


def test_a_large_archive_needs_no_memory_and_holds_nobody_up(victim: Victim) -> None:
    """130 MB that are refused at the last entry, while others are answered."""
    padding = [Member(b"apple/%d.png" % number, bytes(9 * 2**20), method=0) for number in range(14)]
    archive = made_zip([*padding, ONE.change(crc=1)])
    before = victim.resident_bytes()
    most, done = [before], threading.Event()

    def others() -> None:
        with httpx.Client(base_url=victim.client.base_url, timeout=20) as client:
            while not done.is_set():
                began = time.monotonic()
                assert client.get("/healthz").status_code == 200
                slowest.append(time.monotonic() - began)
                most.append(victim.resident_bytes())

    slowest: list[float] = []
    asking = threading.Thread(target=others)
    asking.start()
    answer = imported(archive, partial="true")(victim)
    done.set()
    asking.join()
    print(f"130 MB: {(max(most) - before) / 2**20:.0f} MiB more, others waited {max(slowest):.2f} s at most.")
    assert answer.status == 200
    assert '"apple":0' in answer.text
    assert max(most) - before < 64 * 2**20
    assert max(slowest) < 5
    victim.check_unharmed()
