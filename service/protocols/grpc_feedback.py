"""Our own gRPC: what ripen.v1.Learning has of feedback, which mirrors our REST. LINE B step 1."""

import asyncio
import re

import grpc

from contract.recipe import check
from contract.records import DEFAULT_MODEL, check_model_name
from protos import ripen_v1_pb2
from service.feedback import Said
from service.grpc_access import Call, GrpcAccess
from service.predictor import MAX_IMAGES
from service.protocols.core import Core
from service.protocols.grpc_learning import LEARNING
from service.protocols.protobuf_records import refuse_unstorable, write_record
from service.protocols.rest_answers import REQUEST_ID_PATTERN, ReviewAnswer, ReviewEntry, StoredExample
from service.protocols.rest_feedback import MOST_PROPOSALS, PROPOSALS
from service.protocols.tensors import Message


class FeedbackGrpc:
    """Translates messages to calls of the feedback core and back."""

    def __init__(self, core: Core) -> None:
        self._feedback = core.feedback
        self._callers = core.callers

    def handlers(self, access: GrpcAccess) -> list[grpc.GenericRpcHandler]:
        """The generic handler of these methods, for a server to add."""
        v1 = ripen_v1_pb2
        rows = {
            "GiveFeedback": (v1.FeedbackRequest, v1.AddedExample, self.give_feedback),
            "ListReview": (v1.ListReviewRequest, v1.ListReviewResponse, self.list_review),
            "GetReviewImage": (v1.GetReviewImageRequest, v1.ReviewImage, self.get_review_image),
        }
        methods = {name: access.method(name, *row) for name, row in rows.items()}
        return [grpc.method_handlers_generic_handler(LEARNING, methods)]

    async def give_feedback(self, request: Message, call: Call) -> Message:
        """FeedbackRequest -> AddedExample."""
        model = _model(request, call)
        said = Said(
            *_named_image(request),
            label=request.label if request.HasField("label") else None,
            correct=request.correct if request.HasField("correct") else None,
        )
        example, new = await asyncio.to_thread(self._feedback.give, model, said, self._callers.contributor(call.actor))
        return write_record(StoredExample.of(example, example.file, duplicate=not new), ripen_v1_pb2.AddedExample())

    async def list_review(self, request: Message, call: Call) -> Message:
        """ListReviewRequest -> ListReviewResponse."""
        model = _model(request, call)
        check(0 <= request.limit <= MOST_PROPOSALS, "limit", request.limit, f"1 to {MOST_PROPOSALS}, or 0")
        proposals = await asyncio.to_thread(self._feedback.review, model, request.limit or PROPOSALS)
        answer = ReviewAnswer(tuple(ReviewEntry.of(one) for one in proposals))
        return write_record(answer, ripen_v1_pb2.ListReviewResponse())

    async def get_review_image(self, request: Message, call: Call) -> Message:
        """GetReviewImageRequest -> ReviewImage."""
        model = _model(request, call)
        header, data = await asyncio.to_thread(self._feedback.image, model, *_named_image(request))
        return ripen_v1_pb2.ReviewImage(data=data, format=header.format)


def _model(request: Message, call: Call) -> str:
    refuse_unstorable(request)
    call.model = request.model or DEFAULT_MODEL
    return check_model_name(call.model)


def _named_image(request: Message) -> tuple[str, int]:
    named = re.fullmatch(REQUEST_ID_PATTERN, request.request_id) is not None
    check(named, "request_id", request.request_id, REQUEST_ID_PATTERN)
    check(0 <= request.index < MAX_IMAGES, "index", request.index, f"0 to {MAX_IMAGES - 1}")
    return request.request_id, request.index
