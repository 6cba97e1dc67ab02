"""What the REST tests cannot reach: order of writes, races, names."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from running_service import CLASSES, MemoryStorage, free_ports, picture

from backends.database import SqlDatabase
from contract.errors import LabelConflict, StorageFull, UnknownExample
from contract.keys import LOCAL_CONTRIBUTOR, Contributor
from contract.records import Bucket, Example, Model
from service.learning import Learning
from service.split import Asked


class Bench:
    """A Learning with what it stands on."""

    def __init__(self, folder: Path) -> None:
        self.database = SqlDatabase(f"sqlite:///{folder}/ripen.db")
        self.database.migrate()
        self.model: Model = self.database.create_model("default", CLASSES)
        self.storage = MemoryStorage(folder)
        self.learning = Learning(self.database, self.storage, free_ports(home=folder), lambda: None)

    def add(self, value: int, label: str = "apple", contributor: Contributor = LOCAL_CONTRIBUTOR) -> Example:
        data = picture(value)
        return self.learning.add_example(self.model, label=label, data=data, file="a.png", contributor=contributor)[0]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.database.close()


def test_an_image_that_cannot_be_stored_leaves_no_row(bench: Bench) -> None:
    bench.storage.error = StorageFull("No space left.")
    with pytest.raises(StorageFull):
        bench.add(1)
    assert bench.database.list_examples("default") == []


def test_an_example_records_what_it_is(bench: Bench) -> None:
    data = picture(1, side=20, form="WEBP")
    example, new = bench.learning.add_example(
        bench.model,
        label="apple",
        data=data,
        file="C:\\photos\\a\nb.webp" + "x" * 300,
        contributor=Contributor("shop", trusted=True),
        asked=Asked(Bucket.HOLDOUT),
    )
    assert new
    assert (example.format, example.width, example.height, example.size_bytes) == ("WEBP", 20, 20, len(data))
    assert (example.bucket, example.group_id) == (Bucket.HOLDOUT, example.digest)
    assert (example.contributor, example.trusted) == ("shop", True)
    assert example.file.startswith("ab.webp")
    assert len(example.file) == 255
    assert bench.storage.get(example.storage_key) == data


def test_ids_grow_with_time(bench: Bench) -> None:
    ids = [bench.add(value).id for value in range(5)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5


def test_an_upload_and_a_removal_at_once_never_leave_a_row_without_its_image(bench: Bench) -> None:
    def add(_: int) -> None:
        bench.add(1)

    def remove(_: int) -> None:
        for example in bench.database.list_examples("default"):
            try:
                bench.learning.delete_example("default", example.id)
            except UnknownExample:
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: (add if number % 2 else remove)(number), range(60)))
    rows = bench.database.list_examples("default")
    assert {row.storage_key for row in rows} == set(bench.storage.objects)


def test_the_other_label_is_a_conflict_that_changes_nothing(bench: Bench) -> None:
    bench.add(1)
    with pytest.raises(LabelConflict):
        bench.add(1, "orange")
    assert [row.label for row in bench.database.list_examples("default")] == ["apple"]
