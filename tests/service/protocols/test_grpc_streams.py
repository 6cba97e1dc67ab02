"""ripen.v1.Classifier.ClassifyStream, and the bounds of every streaming call, over a real socket."""

import threading
from collections.abc import Iterator

import grpc
import httpx
import pytest
from running_service import RunningService, free_ports, picture, running

from contract.errors import EngineUnavailable, Overloaded, RipenError
from protos import ripen_v1_pb2 as v1
from protos import ripen_v1_pb2_grpc
from service import grpc_streams
from service.protocols.tensors import Message

SILENCE_S = 1.5


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    with running(folder, free_ports(home=folder, request_timeout_s=SILENCE_S, max_batch_size=4)) as (service, _):
        yield service


@pytest.fixture(scope="module")
def classifier(service: RunningService) -> Iterator[ripen_v1_pb2_grpc.ClassifierStub]:
    with grpc.insecure_channel(service.grpc_address) as channel:
        yield ripen_v1_pb2_grpc.ClassifierStub(channel)


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    """Set when the test is over, for request iterators that keep their stream open."""
    event = threading.Event()
    yield event
    event.set()


def asked(value: int = 0, *, data: bytes | None = None, **fields: object) -> Message:
    file = f"{value}.png"
    return v1.ClassifyStreamRequest(image=v1.Image(data=data or picture(value), file=file), **fields)


def then_silent(messages: list[Message], ended: threading.Event) -> Iterator[Message]:
    yield from messages
    ended.wait(30)


def failure(answers: Iterator[Message]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        list(answers)
    return caught.value


def test_each_image_is_answered_in_order(classifier: ripen_v1_pb2_grpc.ClassifierStub) -> None:
    values = [*range(0, 250, 5)]
    answers = list(classifier.ClassifyStream(iter([asked(value) for value in values]), timeout=20))
    assert [one.prediction.probability for one in answers] == pytest.approx([value / 255 for value in values])
    assert [one.prediction.file for one in answers] == [f"{value}.png" for value in values]
    assert answers[0].prediction.label == "apple"
    assert (answers[0].model.name, answers[0].model.version) == ("default", 2)


def test_an_answer_comes_before_the_next_image_is_sent(classifier: ripen_v1_pb2_grpc.ClassifierStub) -> None:
    answered = threading.Event()

    def one_by_one() -> Iterator[Message]:
        yield asked(51, version=1)
        assert answered.wait(20)
        yield asked(204)

    answers = classifier.ClassifyStream(one_by_one(), timeout=20)
    first = next(answers)
    answered.set()
    second = next(answers)
    assert (first.model.version, second.model.version) == (1, 2)
    assert (first.prediction.probability, second.prediction.probability) == pytest.approx((0.2, 0.8))
    assert not list(answers)


def test_a_bad_image_is_an_error_for_itself_alone(classifier: ripen_v1_pb2_grpc.ClassifierStub) -> None:
    answers = list(classifier.ClassifyStream(iter([asked(), asked(1, data=b"hello"), asked(255)]), timeout=20))
    assert [one.prediction.error.code for one in answers] == ["", "invalid_image", ""]
    assert (answers[1].prediction.file, answers[1].prediction.label) == ("1.png", "")
    assert answers[2].prediction.label == "orange"


@pytest.mark.parametrize("error", [Overloaded("Full."), EngineUnavailable("Died.")])
def test_no_room_for_one_image_does_not_end_the_stream(
    service: RunningService, classifier: ripen_v1_pb2_grpc.ClassifierStub, error: RipenError
) -> None:
    answered = threading.Event()

    def two() -> Iterator[Message]:
        yield asked()
        assert answered.wait(20)
        yield asked(255)

    service.predictor.error = error
    answers = classifier.ClassifyStream(two(), timeout=20)
    assert next(answers).prediction.error.code == error.code
    service.predictor.error = None
    answered.set()
    assert next(answers).prediction.label == "orange"


def test_what_is_no_image_s_fault_ends_the_stream_after_the_answers_before(
    classifier: ripen_v1_pb2_grpc.ClassifierStub,
) -> None:
    answers = classifier.ClassifyStream(iter([asked(), asked(255), asked(model="other"), asked()]), timeout=20)
    assert [next(answers).prediction.label for _ in range(2)] == ["apple", "orange"]
    error = failure(answers)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert dict(error.trailing_metadata())["ripen-error-code"] == "unknown_model"


def test_only_some_images_of_a_stream_are_in_flight(
    service: RunningService, classifier: ripen_v1_pb2_grpc.ClassifierStub, ended: threading.Event
) -> None:
    service.hold()
    service.predictor.asked.clear()
    answers = classifier.ClassifyStream(then_silent([asked() for _ in range(100)], ended), timeout=20)
    try:
        assert service.predictor.waiting.wait(20)
        service.wait_for(lambda: len(service.predictor.asked) >= 8)
        for _ in range(50):  # time for the service to read on, if it did
            assert httpx.get(f"{service.rest_url}/healthz").status_code == 200
    finally:
        service.release()
    assert len([next(answers) for _ in range(100)]) == 100
    assert service.predictor.most_in_flight <= 2 * 4 + 2
    answers.cancel()


def test_a_cancelled_stream_cancels_its_predictions(
    service: RunningService, classifier: ripen_v1_pb2_grpc.ClassifierStub, ended: threading.Event
) -> None:
    service.hold()
    service.predictor.cancelled.clear()
    answers = classifier.ClassifyStream(then_silent([asked()], ended), timeout=20)
    try:
        assert service.predictor.waiting.wait(20)
        answers.cancel()
        assert service.predictor.cancelled.wait(20)
    finally:
        service.release()


def test_a_silent_stream_is_ended(classifier: ripen_v1_pb2_grpc.ClassifierStub, ended: threading.Event) -> None:
    answers = classifier.ClassifyStream(then_silent([asked()], ended), timeout=20)
    assert next(answers).prediction.label == "apple"
    error = failure(answers)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert dict(error.trailing_metadata())["ripen-error-code"] == "deadline_exceeded"
    assert "1.5 s" in str(error.details())


def test_a_stream_whose_answers_nobody_takes_is_ended(
    service: RunningService, classifier: ripen_v1_pb2_grpc.ClassifierStub
) -> None:
    message = v1.ClassifyStreamRequest(image=v1.Image(data=picture(), file="x" * 1000))
    series = 'ripen_requests_total{code="DEADLINE_EXCEEDED",method="ClassifyStream"'
    before = service.metric(series)
    answers = classifier.ClassifyStream((message for _ in range(9000)), timeout=60)
    service.wait_for(lambda: service.metric(series) > before)
    answers.cancel()


def test_streams_are_bounded_in_number_and_messages(
    classifier: ripen_v1_pb2_grpc.ClassifierStub, ended: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_streams, "MAX_MESSAGES", 3)
    answers = classifier.ClassifyStream(iter([asked()] * 5), timeout=20)
    assert len([next(answers) for _ in range(3)]) == 3
    error = failure(answers)
    assert (error.code(), "more than 3 messages" in str(error.details())) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    monkeypatch.setattr(grpc_streams, "MAX_STREAMS", 1)
    first = classifier.ClassifyStream(then_silent([asked()], ended), timeout=20)
    next(first)
    error = failure(classifier.ClassifyStream(iter([asked()]), timeout=20))
    first.cancel()
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    told = dict(error.trailing_metadata())
    assert told["retry-after"] in ("1", "2", "3", "4", "5")
    assert told["grpc-retry-pushback-ms"] == told["retry-after"] + "000"


def test_a_crash_tells_nothing_but_the_call_s_id(
    service: RunningService, classifier: ripen_v1_pb2_grpc.ClassifierStub, caplog: pytest.LogCaptureFixture
) -> None:
    service.predictor.error = ValueError("secret")
    error = failure(classifier.ClassifyStream(iter([asked()]), timeout=20))
    service.predictor.error = None
    assert error.code() is grpc.StatusCode.INTERNAL
    metadata = dict(error.trailing_metadata())
    assert metadata["ripen-error-code"] == "internal"
    assert metadata["x-request-id"] in caplog.text
    assert "secret" not in f"{error.details()} {metadata}"


def test_streams_are_counted(service: RunningService, classifier: ripen_v1_pb2_grpc.ClassifierStub) -> None:
    series = 'ripen_requests_total{code="OK",method="ClassifyStream",model="default",protocol="grpc",version="2"}'
    before = service.metric(series)
    list(classifier.ClassifyStream(iter([asked(), asked()]), timeout=20))
    assert service.metric(series) == before + 1
