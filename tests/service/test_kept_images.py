"""What is kept of predictions: by number, by bytes, by age, and not at all."""

import threading

import pytest

from contract.errors import ImagesNotKept, InvalidImage, UnknownRequest
from contract.records import Prediction
from service.kept_images import LONGEST_S, MOST_IMAGES, KeptImages

SAID = Prediction("orange", 0.8, 0.5)


class Kept:
    """Images on a clock that a test sets."""

    def __init__(self, most_bytes: int = 10**6) -> None:
        self.now = 1_000_000.0
        self.images = KeptImages(most_bytes, lambda: self.now)

    def keep(self, request_id: str, *images: bytes, model: str = "default") -> None:
        said = [SAID] * len(images)
        self.images.keep(images, said, model=model, version=3, request_id=request_id, files=[])

    def has(self, request_id: str, index: int = 0) -> bool:
        try:
            self.images.get("default", request_id, index)
        except UnknownRequest:
            return False
        return True


def test_an_image_is_found_by_model_request_and_position() -> None:
    kept = KeptImages(100, lambda: 5.0)
    bad = InvalidImage("No picture.")
    kept.keep([b"a", b"b", b"c"], [SAID, bad, SAID], model="default", version=3, request_id="r", files=["a.png", None])
    third = kept.get("default", "r", 2)
    assert (third.data, third.version, third.prediction, third.file, third.kept_at) == (b"c", 3, SAID, "", 5.0)
    assert kept.get("default", "r", 0).file == "a.png"
    for model, request_id, index in (("default", "r", 1), ("default", "r", 3), ("default", "s", 0), ("other", "r", 0)):
        with pytest.raises(UnknownRequest, match=f"No image {index} of a request '{request_id}' to model '{model}'"):
            kept.get(model, request_id, index)
    assert [image.index for image in kept.of("default")] == [0, 2]


def test_the_oldest_goes_first_by_number_bytes_and_age() -> None:
    many = Kept()
    for number in range(MOST_IMAGES + 2):
        many.keep(f"r{number}", b"x")
    assert (len(many.images), many.images.size_bytes) == (MOST_IMAGES, MOST_IMAGES)
    assert (many.has("r1"), many.has("r2")) == (False, True)

    large = Kept(most_bytes=10)
    large.keep("a", b"1234", b"5678")
    large.keep("b", b"123")
    assert (large.has("a", 0), large.has("a", 1), large.has("b"), large.images.size_bytes) == (False, True, True, 7)
    large.keep("c", b"12345678901")
    assert (len(large.images), large.images.size_bytes) == (0, 0)

    old = Kept()
    old.keep("a", b"1")
    old.now += LONGEST_S
    old.keep("b", b"2")
    assert old.has("a")
    old.now += 1
    assert not old.has("a")
    assert [image.request_id for image in old.images.of("default")] == ["b"]
    assert old.images.size_bytes == 1


def test_of_two_requests_of_one_name_the_newer_counts() -> None:
    kept = Kept()
    kept.keep("same", b"1234")
    kept.keep("other", b"1")
    kept.keep("same", b"56")
    assert kept.images.get("default", "same", 0).data == b"56"
    assert kept.images.size_bytes == 3
    assert [image.request_id for image in kept.images.of("default")] == ["other", "same"]


def test_images_of_a_deleted_model_of_the_same_name_are_not_given_out() -> None:
    kept = Kept()
    kept.keep("before", b"1")
    kept.now += 10
    kept.keep("after", b"2")
    created = kept.now - 5
    assert [image.request_id for image in kept.images.of("default", since=created)] == ["after"]
    with pytest.raises(UnknownRequest):
        kept.images.get("default", "before", 0, since=created)


def test_nothing_is_kept_where_nothing_may_be() -> None:
    off = Kept(most_bytes=0)
    off.keep("r", b"1")
    assert len(off.images) == 0
    with pytest.raises(ImagesNotKept, match="--no-keep"):
        off.images.get("default", "r", 0)
    with pytest.raises(ImagesNotKept):
        off.images.of("default")


def test_reading_while_others_keep_sees_whole_images() -> None:
    kept = Kept(most_bytes=2000)

    def fill(name: str) -> None:
        for number in range(500):
            kept.keep(f"{name}{number}", b"12", b"345")

    threads = [threading.Thread(target=fill, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert sum(len(image.data) for image in kept.images.of("default")) <= 2000
    assert kept.images.size_bytes == sum(len(image.data) for image in kept.images.of("default")) <= 2000
