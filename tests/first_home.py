"""A home as the first release left it: its own database, dumped by SQLite, and the files that its rows name.

`golden/first_schema.sql` was written by commit e9be17e: 22 examples, two versions that went live, back and forth, a
failed job and one that still waits. The digests of files, which depend on libraries, are placeholders there.
"""

import hashlib
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import orchard
import tiny_version

GOLDEN = Path(__file__).parent / "golden"
BIASES = {1: 0.5, 2: 1.0}
LIVE, PREVIOUS, NEXT = 2, 1, 3
WAITING_JOB = f"{4:032x}"


def write(home: Path) -> None:
    """Make the home with its files; `home` must not exist yet."""
    storage = home / "storage"
    digests = {}
    for number, bias in BIASES.items():
        folder = storage / "models" / "default" / str(number)
        folder.parent.mkdir(parents=True, exist_ok=True)
        tiny_version.make(folder, number=number, bias=bias)
        digests[f"manifest-{number}"] = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    for name, data in _pictures().items():
        digests[name] = digest = hashlib.sha256(data).hexdigest()
        path = storage / "examples" / "default" / digest[:2] / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    write_database(home / "ripen.db", digests)


def write_database(path: Path, digests: dict[str, str] | None = None) -> None:
    """Make the database alone, by default with the placeholders as they are."""
    text = (GOLDEN / "first_schema.sql").read_text()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            re.sub("<([a-z]+-[0-9]+)>", lambda found: (digests or {}).get(found[1], found[0]), text)
        )


def write_manifest(folder: Path) -> None:
    """The first release's own manifest, in a folder without anything else."""
    folder.mkdir()
    shutil.copy(GOLDEN / "first_manifest.json", folder / "manifest.json")


def _pictures() -> dict[str, bytes]:
    names = set(re.findall("<((?:apple|orange)-[0-9]+)>", (GOLDEN / "first_schema.sql").read_text()))
    return {name: orchard.picture(name.partition("-")[0], int(name.partition("-")[2])) for name in names}
