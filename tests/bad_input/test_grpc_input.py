"""Rows F3-F8, and G over gRPC: messages that are none, streams without end, labels, jobs and versions that are not."""

import threading
from collections.abc import Callable, Iterator

import grpc
import pytest
import tiny_version
from bad_input_case import GOOD, Answer, Case, Victim, rows, serving

from protos import ripen_v1_pb2 as v1
from service.protocols.tensors import Message
from service.tf_serving_stubs import model_service_pb2, prediction_service_pb2

SILENCE_S = 3
OURS = [
    method
    for module in (v1, prediction_service_pb2, model_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if service.name != "PredictionService" or method.name in ("Predict", "GetModelMetadata")
    if method.name != "HandleReloadConfigRequest"
]
BAD_TEXT = b"\x0a\x02\xff\xfe"  # field 1 of every request of ours that has texts is one
NO_TEXT_FIRST = ("ListModels", "AddExamples")
BAD = "INVALID_ARGUMENT"
INVALID = (BAD, "invalid_request")


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with serving(tmp_path_factory.mktemp("victim"), RIPEN_REQUEST_TIMEOUT_S=SILENCE_S) as victim:
        yield victim


def grpc_answer(call: Callable[[], object]) -> Answer:
    """What came back, errors with all that they carry."""
    try:
        answered = call()
        if isinstance(answered, Iterator):
            answered = list(answered)
    except grpc.RpcError as error:
        metadata = dict(error.trailing_metadata() or ())
        code = metadata.get("ripen-error-code")
        return Answer(error.code().name, code and str(code), f"{error.details()} {metadata}")
    return Answer(200, None, str(answered))


def raw(path: str, *messages: bytes) -> Callable[[Victim], Answer]:
    """Sends bytes as the messages of any kind of call."""
    return lambda victim: grpc_answer(lambda: victim.channel.stream_stream(path)(iter(messages), timeout=20))


def path_of(method: object) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"  # type: ignore[attr-defined]  # protobuf's


def said(method: str, *messages: Message, service: str = "Learning") -> Callable[[Victim], Answer]:
    return raw(f"/ripen.v1.{service}/{method}", *(message.SerializeToString() for message in messages))


NOT_PROTOBUF = [
    *(Case(f"F3-bytes-{one.full_name}", raw(path_of(one), b"\xff\xff\xff"), *INVALID) for one in OURS),
    *(
        Case(f"F3-text-{one.full_name}", raw(path_of(one), BAD_TEXT), *INVALID)
        for one in OURS
        if one.containing_service.file.package == "ripen.v1" and one.name not in NO_TEXT_FIRST
    ),
    Case("F3-text-in-a-stream", said("AddExamples", v1.AddExampleRequest()), BAD, "unknown_label"),
    Case("F3-a-later-message", raw("/ripen.v1.Learning/AddExamples", b"", b"\xff"), *INVALID),
]
EMPTY = [
    Case("F4-classify", said("Classify", v1.ClassifyRequest(), service="Classifier"), *INVALID),
    Case(
        "F4-no-image",
        said("Classify", v1.ClassifyRequest(images=[v1.Image()]), service="Classifier"),
        BAD,
        "invalid_image",
    ),
    Case(
        "F4-257-images", said("Classify", v1.ClassifyRequest(images=[v1.Image()] * 257), service="Classifier"), *INVALID
    ),
    Case(
        "F4-version",
        said("Classify", v1.ClassifyRequest(version=-1, images=[v1.Image()]), service="Classifier"),
        "NOT_FOUND",
        "unknown_version",
    ),
    Case("F4-no-messages", said("AddExamples"), *INVALID),
    Case("F4-predict", raw("/tensorflow.serving.PredictionService/Predict", b""), *INVALID),
    Case("F4-bucket", said("AddExamples", v1.AddExampleRequest(label="apple", bucket="mine")), *INVALID),
    Case("F5-method", raw("/ripen.v1.Learning/Zq7marker", b""), "UNIMPLEMENTED"),
    Case("F5-service", raw("/ripen.v2.Learning/GetJob", b""), "UNIMPLEMENTED"),
    Case("F5-tensorflow-serving", raw("/tensorflow.serving.PredictionService/Classify", b""), "UNIMPLEMENTED"),
    Case("F5-channelz", raw("/grpc.channelz.v1.Channelz/GetServers", b""), "UNIMPLEMENTED"),
]


def example(label: str = "apple", **fields: object) -> Message:
    return v1.AddExampleRequest(**{"label": label, "data": tiny_version.picture(7), **fields})


def labelled(label: str) -> Callable[[Victim], Answer]:
    return said("AddExamples", example(label))


def classes(*names: str) -> Callable[[Victim], Answer]:
    return said("CreateModel", v1.CreateModelRequest(name="grpc", classes=names))


def started(**fields: object) -> Callable[[Victim], Answer]:
    return said("StartJob", v1.StartJobRequest(**fields))


LABELS = {"blank": "   ", "300": "a" * 300, "control": "a\x07", "override": "a\u202eb", "path": "../x"}
LEARNING = [
    Case("G1-empty", labelled(""), BAD, "unknown_label"),
    *(Case(f"G1-G2-label-{name}", labelled(label), BAD, "unknown_label") for name, label in LABELS.items()),
    *(Case(f"G1-G2-class-{name}", classes(label, "b"), *INVALID) for name, label in LABELS.items()),
    Case("G2-nul", labelled("a\x00"), *INVALID),
    Case("G3-equal-but-for-composition", classes("\u00e4", "a\u0308"), *INVALID),
    Case("G4-unknown", labelled("pear"), BAD, "unknown_label"),
    Case("G8-no-images", started(), BAD, "invalid_dataset"),
    Case("G9-epochs", started(recipe=v1.Recipe(head_epochs=10**9)), *INVALID),
    Case("G9-rate", started(recipe=v1.Recipe(learning_rate=float("nan"))), *INVALID),
    Case("G9-batch", started(recipe=v1.Recipe(batch_size=0)), *INVALID),
    Case("G9-weights", started(recipe=v1.Recipe(weights="/etc/passwd")), *INVALID),
    Case("G9-gate", started(gate_policy="never"), *INVALID),
    Case("G10-key", started(idempotency_key="x" * 1000), *INVALID),
    Case(
        "G11-unknown",
        said("PromoteVersion", v1.PromoteVersionRequest(version=99, reason="x")),
        "NOT_FOUND",
        "unknown_version",
    ),
    Case("G11-range", said("PromoteVersion", v1.PromoteVersionRequest(version=2**62, reason="x")), *INVALID),
    Case("G11-reason", said("PromoteVersion", v1.PromoteVersionRequest(version=1)), *INVALID),
    Case("G11-rollback", said("RollBack", v1.RollBackRequest()), "FAILED_PRECONDITION", "nothing_to_roll_back"),
    Case("G12-job", said("CancelJob", v1.CancelJobRequest(id="x" * 1000)), "NOT_FOUND", "unknown_job"),
    Case("F7-file", said("AddExamples", v1.AddExampleRequest(label="apple", file="x" * 2000)), *INVALID),
    Case("G12-large", said("CancelJob", v1.CancelJobRequest(id="x" * 2**20)), *INVALID),
    Case("G12-watch", said("WatchJob", v1.WatchJobRequest(id="none")), "NOT_FOUND", "unknown_job"),
    Case("G12-nul", said("GetJob", v1.GetJobRequest(id="\x00")), *INVALID),
]


@rows([*NOT_PROTOBUF, *EMPTY, *LEARNING])
def test_a_bad_message_has_its_stated_answer(victim: Victim, case: Case) -> None:
    case.check(victim)


def test_f6_deadlines_are_kept_and_capped(victim: Victim) -> None:
    classify = victim.channel.unary_unary("/ripen.v1.Classifier/Classify")
    request = v1.ClassifyRequest(images=[v1.Image(data=GOOD)]).SerializeToString()
    for timeout_s in (0, 1e-6):
        assert (
            grpc_answer(lambda timeout_s=timeout_s: classify(request, timeout=timeout_s)).status == "DEADLINE_EXCEEDED"
        )
    assert grpc_answer(lambda: classify(request, timeout=1e9)).status == 200
    victim.check_unharmed()


def test_f7_a_stream_has_an_end(victim: Victim) -> None:
    """10001 messages are refused; many large ones are taken one by one, so that they need no memory together."""
    empty = v1.AddExampleRequest(model="none").SerializeToString()
    many = (v1.ClassifyStreamRequest(image=v1.Image()).SerializeToString() for _ in range(10_001))
    stream = victim.channel.stream_stream("/ripen.v1.Classifier/ClassifyStream")
    assert grpc_answer(lambda: stream(many, timeout=60)).status == "RESOURCE_EXHAUSTED"
    before = victim.resident_bytes()
    large = (example(data=bytes(900_000)).SerializeToString() for _ in range(200))
    gather = victim.channel.stream_unary("/ripen.v1.Learning/AddExamples")
    assert grpc_answer(lambda: gather(large, timeout=60)).code == "invalid_image"
    assert grpc_answer(lambda: gather(iter([empty]), timeout=60)).code == "unknown_model"
    assert victim.resident_bytes() - before < 48 * 2**20
    victim.check_unharmed()


@pytest.mark.parametrize("path", ["/ripen.v1.Classifier/ClassifyStream", "/ripen.v1.Learning/AddExamples"])
def test_f8_a_silent_stream_is_ended(victim: Victim, path: str) -> None:
    ended = threading.Event()

    def silence() -> Iterator[bytes]:
        ended.wait(30)
        yield from ()

    answer = grpc_answer(lambda: victim.channel.stream_stream(path)(silence(), timeout=60))
    ended.set()
    assert (answer.status, answer.code) == ("DEADLINE_EXCEEDED", "deadline_exceeded")
    victim.check_unharmed()


def test_g5_g6_the_same_image_is_one_example_of_one_class(victim: Victim) -> None:
    messages = [example(file="first.jpg"), example(file="again.jpg"), example("orange", file="other.jpg")]
    add = victim.channel.stream_unary(
        "/ripen.v1.Learning/AddExamples", response_deserializer=v1.AddExamplesResponse.FromString
    )
    first, again, other = add(iter([message.SerializeToString() for message in messages]), timeout=20).examples
    assert (first.duplicate, again.duplicate, first.id) == (False, True, again.id)
    assert other.error.code == "label_conflict"
    victim.check_unharmed()
