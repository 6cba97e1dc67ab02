"""Our own gRPC: ripen.v1.Classifier. LINE A step 1."""

import uuid

import grpc

from contract.errors import InvalidRequest, RipenError
from contract.records import DEFAULT_MODEL
from protos import ripen_v1_pb2
from service.grpc_access import Call, GrpcAccess
from service.predictor import PredictRequest
from service.protocols.core import Core
from service.protocols.signatures import MAX_IMAGES
from service.protocols.tensors import Message
from service.status_map import client_message

CLASSIFIER = "ripen.v1.Classifier"


class RipenGrpc:
    """Translates ClassifyRequest to a prediction and back."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def handlers(self, access: GrpcAccess) -> list[grpc.GenericRpcHandler]:
        """The generic handler of the service, for a server to add."""
        classify = access.method("Classify", ripen_v1_pb2.ClassifyRequest, ripen_v1_pb2.ClassifyResponse, self.classify)
        return [grpc.method_handlers_generic_handler(CLASSIFIER, {"Classify": classify})]

    async def classify(self, request: Message, call: Call) -> Message:
        """Classify each image on its own; raises only if every image is bad, or for reasons that are not an image's."""
        call.model = request.model or DEFAULT_MODEL
        if len(request.images) > MAX_IMAGES:  # said before millions of messages are made into objects
            raise InvalidRequest(f"The request has {len(request.images)} images; expected 1 to {MAX_IMAGES}.")
        images = [image.data for image in request.images]
        asked = PredictRequest(call.model, images, request.version or None, call.timeout_s)
        answer = await self._core.predictor.predict(asked)
        call.version = answer.version
        first = answer.predictions[0]
        if isinstance(first, RipenError) and all(isinstance(one, RipenError) for one in answer.predictions):
            raise first
        response = ripen_v1_pb2.ClassifyResponse(request_id=uuid.uuid4().hex)
        response.model.name, response.model.version = answer.model, answer.version
        for image, one in zip(request.images, answer.predictions, strict=True):
            entry = response.predictions.add(file=image.file)
            if isinstance(one, RipenError):
                entry.error.code, entry.error.message = one.code, client_message(one)
            else:
                entry.label, entry.probability, entry.threshold = one.label, one.probability, one.threshold
        return response
