"""POST /api/v1/examples:import over a real socket: what is stored, what is refused, and that nothing stays behind."""

import json
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from running_service import RunningService, free_ports, picture, running
from zip_maker import Member, good_zip, made_zip

from contract.errors import StorageFull
from service.protocols import rest_import

IMPORT = "/api/v1/examples:import"
ZIP = {"Content-Type": "application/zip"}
Service = tuple[RunningService, httpx.Client]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    home = tmp_path / "home"
    home.mkdir()
    with running(tmp_path, free_ports(home=home, max_import_bytes=2_000_000)) as both:
        yield both
        assert not [*home.iterdir()]


def send(client: httpx.Client, files: Mapping[str, bytes], **query: object) -> httpx.Response:
    return client.post(IMPORT, params=query, content=good_zip(files), headers=ZIP)


def stored(service: RunningService) -> Counter[tuple[str, bool]]:
    rows = service.database.list_examples("default")
    assert {row.storage_key for row in rows} == service.storage.objects.keys()
    return Counter((row.label, row.bucket == "holdout" and row.file.startswith("held")) for row in rows)


def test_folders_are_classes(service: Service) -> None:
    running_service, client = service
    files = {f"{label}/{value}.png": picture(value) for label, value in (("apple", 1), ("apple", 2), ("orange", 3))}
    answer = send(client, files)
    assert (answer.status_code, answer.json()) == (
        200,
        {"added": {"apple": 2, "orange": 1}, "duplicates": 0, "skipped": 0, "rejected": []},
    )
    assert stored(running_service) == {("apple", False): 2, ("orange", False): 1}
    again = send(client, {**files, "orange/4.png": picture(4), "orange/again.png": picture(4)}).json()
    assert (again["added"], again["duplicates"]) == ({"apple": 0, "orange": 1}, 4)


@pytest.mark.parametrize("wrapper", ["", "fruit/"])
@pytest.mark.parametrize("validation", ["validation", "val", "valid", "test"])
def test_a_validation_folder_is_held_out(service: Service, wrapper: str, validation: str) -> None:
    running_service, client = service
    files = {
        f"{wrapper}train/apple/1.png": picture(1),
        f"{wrapper}train/orange/deep/er/2.PNG": picture(2),
        f"{wrapper}{validation}/apple/held.png": picture(3),
        f"{wrapper}{validation}/apple/.DS_Store": b"x",
        f"{wrapper}notes.txt": b"x",
        "__MACOSX/train/apple/._1.png": b"x",
    }
    answer = send(client, files).json()
    assert (answer["added"], answer["skipped"]) == ({"apple": 2, "orange": 1}, 3)
    assert stored(running_service)["apple", True] == 1


def test_class_names_are_told_by_their_canonical_spelling(service: Service) -> None:
    running_service, client = service
    running_service.database.create_model("fruit", ("jab\u0142ko", "\xe4pfel"))
    answer = send(client, {"a\u0308pfel/1.png": picture(1)}, model="fruit")
    assert answer.json()["added"] == {"jab\u0142ko": 0, "\xe4pfel": 1}


def test_a_form_is_taken_too(service: Service) -> None:
    client = service[1]
    archive = good_zip({"apple/1.png": picture(1)})
    answer = client.post(IMPORT, files={"file": ("fruit.zip", archive)})
    assert answer.json()["added"]["apple"] == 1
    for bad in (
        client.post(IMPORT, files=[("file", archive), ("file", archive)]),
        client.post(IMPORT, files={"other": archive}),
        client.post(IMPORT, files={"file": archive}, data={"label": "apple"}),
        client.post(IMPORT, data={"file": "text"}, files={"x": b""}),
    ):
        assert (bad.status_code, bad.json()["error"]["code"]) == (400, "invalid_request")


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


BAD = {"apple/1.png": picture(1), "orange/2.png": b"no image", "orange/3.png": picture(3)}


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (BAD, (422, "invalid_image")),
        ({**BAD, "orange/2.png": picture(2), "pear/4.png": picture(4)}, (422, "unknown_label")),
        ({**BAD, "orange/2.png": picture(1)}, (409, "label_conflict")),
        ({"apple/1.png": picture(1), "loose.png": picture(2)}, (422, "unknown_label")),
        ({"apple/1.png": picture(1), "apple/more.zip": b"PK"}, (422, "invalid_archive")),
        ({"apple/notes.txt": b"x"}, (422, "invalid_archive")),
        ({"apple/1.png": picture(1), "apple/2.png": os.urandom(1_500_000)}, (422, "invalid_image")),
        ({"apple/1.png": picture(1), "apple/2.png": bytes(3_000_000)}, (413, "archive_too_large")),
    ],
    ids=lambda one: "",
)
def test_one_bad_image_refuses_all(service: Service, files: dict[str, bytes], code: tuple[int, str]) -> None:
    running_service, client = service
    assert refused(send(client, files)) == code
    assert stored(running_service) == {}


def test_the_bad_image_is_named(service: Service) -> None:
    message = send(service[1], BAD).json()["error"]["message"]
    assert message.startswith("Image 2 of 3. Entry 2 of the archive ('orange/2.png'): Not a JPEG, PNG or WebP")
    assert "Nothing was stored" in message


def test_an_image_that_is_stored_under_the_other_class_refuses_all(service: Service) -> None:
    running_service, client = service
    send(client, {"orange/1.png": picture(1)})
    answer = send(client, {"apple/1.png": picture(1), "apple/2.png": picture(2)})
    assert refused(answer) == (409, "label_conflict")
    assert stored(running_service) == {("orange", False): 1}


def test_a_partial_import_stores_what_it_can(service: Service) -> None:
    running_service, client = service
    send(client, {"orange/9.png": picture(9)})
    files = {**BAD, "pear/4.png": picture(4), "apple/9.png": picture(9), "loose.png": picture(5)}
    answer = send(client, files, partial=True).json()
    assert answer["added"] == {"apple": 1, "orange": 1}
    codes = {one["file"]: one["error"]["code"] for one in answer["rejected"]}
    assert codes == {
        "orange/2.png": "invalid_image",
        "pear/4.png": "unknown_label",
        "apple/9.png": "label_conflict",
        "loose.png": "unknown_label",
    }
    archive = made_zip([Member(b"apple/7.png", picture(7)), Member(b"apple/8.png", picture(8), crc=1)])
    answer = client.post(IMPORT, params={"partial": True}, content=archive, headers=ZIP).json()
    assert (answer["added"]["apple"], answer["rejected"][0]["error"]["code"]) == (1, "invalid_archive")
    assert stored(running_service) == {("apple", False): 2, ("orange", False): 2}


def test_where_it_cannot_be_imported_is_said_before_it_is_taken(service: Service) -> None:
    client = service[1]
    assert refused(send(client, BAD, model="other")) == (404, "unknown_model")
    assert refused(send(client, BAD, model="empty")) == (409, "classes_not_declared")
    answer = client.post(IMPORT, content=good_zip(BAD), headers={"Content-Type": "text/plain"})
    assert refused(answer) == (415, "unsupported_media_type")
    assert refused(client.post(IMPORT, content=b"", headers=ZIP)) == (422, "invalid_archive")


def test_its_own_limit_holds(service: Service) -> None:
    client = service[1]
    assert refused(client.post(IMPORT, content=bytes(2_000_001), headers=ZIP)) == (413, "request_too_large")
    pieces = (bytes(100_000) for _ in range(30))
    assert refused(client.post(IMPORT, content=pieces, headers=ZIP)) == (413, "request_too_large")


def test_a_full_storage_is_said(service: Service) -> None:
    running_service, client = service
    running_service.storage.error = StorageFull("Full.")
    assert refused(send(client, {"apple/1.png": picture(1)})) == (507, "storage_full")


def test_a_disk_s_last_room_is_not_taken(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_import, "RESERVE_SHARE", 1.0)
    monkeypatch.setattr(rest_import, "MOST_RESERVE_BYTES", 2**60)
    client = service[1]
    assert refused(send(client, {"apple/1.png": picture(1)})) == (507, "storage_full")
    assert refused(client.post(IMPORT, files={"file": good_zip(BAD)})) == (507, "storage_full")


def test_only_some_archives_are_taken_at_once_and_a_gone_client_leaves_nothing(service: Service) -> None:
    running_service, client = service
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\nContent-Length: 1000\r\n\r\nPK"
    address = ("127.0.0.1", running_service.ports.rest)
    slow = [socket.create_connection(address) for _ in range(2)]
    for one in slow:
        one.sendall(head % IMPORT.encode())

    def status() -> int:
        return send(client, {"apple/1.png": picture(1)}).status_code

    running_service.wait_for(lambda: status() == 429)
    for one in slow:
        one.close()
    running_service.wait_for(lambda: status() == 200)


def test_the_service_answers_others_meanwhile_and_a_stop_ends_the_import(service: Service) -> None:
    running_service, client = service
    entered, leave = threading.Event(), threading.Event()
    add = running_service.core.learning.add_example

    def held(*arguments: object, **named: object) -> object:
        entered.set()
        assert leave.wait(20)
        return add(*arguments, **named)

    running_service.core.learning.add_example = held
    answers: list[httpx.Response] = []
    files = {f"apple/{value}.png": picture(value) for value in range(5)}
    sending = threading.Thread(target=lambda: answers.append(send(client, files)))
    sending.start()
    assert entered.wait(20)
    assert client.post("/api/v1/predict", content=picture(255)).json()["predictions"][0]["label"] == "orange"
    running_service.core.readiness.stop()
    leave.set()
    sending.join(20)
    assert refused(answers[0]) == (503, "draining")
    assert len(running_service.database.list_examples("default")) == 1


def test_it_is_documented(service: Service) -> None:
    route = service[1].get("/openapi.json").json()["paths"][IMPORT]["post"]
    assert route["requestBody"]["content"].keys() == {"application/zip", "multipart/form-data"}
    assert "validation" in route["description"]
    assert json.dumps(route["responses"]["200"])
