"""Our own gRPC: ripen.v1.Classifier. LINE A step 1."""

import asyncio

import grpc

from contract.errors import (
    DeadlineExceeded,
    EngineUnavailable,
    ImageTooLarge,
    InvalidImage,
    InvalidRequest,
    Overloaded,
    RipenError,
)
from contract.records import DEFAULT_MODEL, Prediction
from protos import ripen_v1_pb2
from service.grpc_access import Call, GrpcAccess
from service.grpc_streams import GrpcStreams, Messages, Say
from service.predictor import Answer, PredictRequest
from service.protocols.core import Core
from service.protocols.protobuf_records import file_of
from service.protocols.signatures import MAX_IMAGES
from service.protocols.tensors import Message
from service.status_map import client_message

CLASSIFIER = "ripen.v1.Classifier"
FOR_ONE_IMAGE = (InvalidImage, ImageTooLarge, Overloaded, EngineUnavailable, DeadlineExceeded)
BATCHES_AHEAD = 2  # of one stream: one is being answered while the next one gathers
Outcome = Message | RipenError


class RipenGrpc:
    """Translates images to predictions and back."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def handlers(self, access: GrpcAccess, streams: GrpcStreams) -> list[grpc.GenericRpcHandler]:
        """The generic handler of the service, for a server to add."""
        v1 = ripen_v1_pb2
        methods = {
            "Classify": access.method("Classify", v1.ClassifyRequest, v1.ClassifyResponse, self.classify),
            "ClassifyStream": streams.converse(
                "ClassifyStream", v1.ClassifyStreamRequest, v1.ClassifyStreamResponse, self.classify_stream
            ),
        }
        return [grpc.method_handlers_generic_handler(CLASSIFIER, methods)]

    async def classify(self, request: Message, call: Call) -> Message:
        """Classify each image on its own; raises only if every image is bad, or for reasons that are not an image's."""
        if len(request.images) > MAX_IMAGES:
            raise InvalidRequest(f"The request has {len(request.images)} images; expected 1 to {MAX_IMAGES}.")
        asked = PredictRequest(
            request.model or DEFAULT_MODEL,
            [image.data for image in request.images],
            request.version or None,
            call.timeout_s,
            call.request_id,
            [image.file for image in request.images],
        )
        answer = await self._predict(asked, call)
        first = answer.predictions[0]
        if isinstance(first, RipenError) and all(isinstance(one, RipenError) for one in answer.predictions):
            raise first
        response = ripen_v1_pb2.ClassifyResponse(request_id=call.request_id)
        response.model.name, response.model.version = answer.model, answer.version
        for image, one in zip(request.images, answer.predictions, strict=True):
            _fill(response.predictions.add(file=file_of(image)), one)
        return response

    async def classify_stream(self, messages: Messages, call: Call, say: Say) -> None:
        """Answer each image in order; some are predicted while the first of them is still waited for."""
        asked: asyncio.Queue[asyncio.Task[Outcome] | RipenError | None] = asyncio.Queue(
            BATCHES_AHEAD * self._core.settings.max_batch_size
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ask_each(messages, call, asked, tasks))
                while (one := await asked.get()) is not None:
                    await say(_raised(await one if isinstance(one, asyncio.Task) else one))
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _ask_each(
        self,
        messages: Messages,
        call: Call,
        asked: "asyncio.Queue[asyncio.Task[Outcome] | RipenError | None]",
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Start a prediction per message; an error of the stream comes after the answers before it."""
        number = 0
        try:
            async for message in messages:
                await asked.put(tasks.create_task(self._classify_one(message, call, number)))
                number += 1
        except RipenError as error:
            await asked.put(error)
        await asked.put(None)

    async def _classify_one(self, message: Message, call: Call, number: int) -> Outcome:
        """The answer to one message of a stream, with a request id of its own, or the error that ends the stream."""
        model, request_id = message.model or DEFAULT_MODEL, f"{call.request_id}-{number}"
        response = ripen_v1_pb2.ClassifyStreamResponse(request_id=request_id)
        response.model.name = model
        try:
            response.prediction.file = file = file_of(message.image)
            asked = PredictRequest(
                model, [message.image.data], message.version or None, request_id=request_id, files=[file]
            )
            answer = await self._predict(asked, call)
        except FOR_ONE_IMAGE as error:
            _fill(response.prediction, error)
        except RipenError as error:
            return error
        else:
            response.model.version = answer.version
            _fill(response.prediction, answer.predictions[0])
        return response

    async def _predict(self, asked: PredictRequest, call: Call) -> Answer:
        call.model = asked.model
        answer = await self._core.predictor.predict(asked)
        call.version = answer.version
        return answer


def _fill(entry: Message, one: Prediction | RipenError) -> None:
    if isinstance(one, RipenError):
        entry.error.code, entry.error.message = one.code, client_message(one)
    else:
        entry.label, entry.probability, entry.threshold = one.label, one.probability, one.threshold


def _raised(one: Outcome) -> Message:
    if isinstance(one, RipenError):
        raise one
    return one
