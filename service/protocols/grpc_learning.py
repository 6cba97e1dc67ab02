"""Our own gRPC: ripen.v1.Learning, which mirrors our REST. LINE B steps 1-2 and 4."""

import asyncio
import re

import grpc

from contract.errors import (
    Draining,
    ImageTooLarge,
    InvalidImage,
    InvalidRequest,
    LabelConflict,
    RipenError,
    UnknownLabel,
)
from contract.recipe import check
from contract.records import DEFAULT_MODEL, Bucket, GatePolicy, Job, Model, check_model_name
from protos import ripen_v1_pb2
from service.grpc_access import Call, GrpcAccess
from service.grpc_streams import GrpcStreams, Messages, Say
from service.protocols.core import Core
from service.protocols.protobuf_records import file_of, read_set_fields, refuse_unstorable, write_record
from service.protocols.rest_answers import ExamplesAnswer, JobsAnswer, ModelAnswer, ModelsAnswer, StoredExample
from service.protocols.rest_job_events import LOOK_EVERY_S, look
from service.protocols.rest_versions import describe_row, describe_version, describe_versions
from service.protocols.tensors import Message
from service.split import Asked, check_group
from service.status_map import client_message

LEARNING = "ripen.v1.Learning"
ABOUT_THE_IMAGE = (InvalidImage, ImageTooLarge, UnknownLabel, LabelConflict)
PAGE, MAX_PAGE = 100, 1000
MAX_VERSION = 2**31
MAX_CURSOR_LENGTH = 64
ADDING = 2  # images stored at once over gRPC; more would take the threads that everything else needs too
IDEMPOTENCY_KEY = r"[\x21-\x7e]{1,255}"


class LearningGrpc:
    """Translates messages to calls of the learning core and back."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._learning = core.learning
        self._adding = asyncio.Semaphore(ADDING)

    def handlers(self, access: GrpcAccess, streams: GrpcStreams) -> list[grpc.GenericRpcHandler]:
        """The generic handler of the service, for a server to add."""
        v1 = ripen_v1_pb2
        unary = {
            "CreateModel": (v1.CreateModelRequest, v1.Model, self.create_model),
            "ListModels": (v1.ListModelsRequest, v1.ListModelsResponse, self.list_models),
            "GetModel": (v1.GetModelRequest, v1.Model, self.get_model),
            "PinModel": (v1.PinModelRequest, v1.Model, self.pin_model),
            "DeleteModel": (v1.DeleteModelRequest, v1.Model, self.delete_model),
            "ListExamples": (v1.ListExamplesRequest, v1.ListExamplesResponse, self.list_examples),
            "DeleteExample": (v1.DeleteExampleRequest, v1.DeletedExample, self.delete_example),
            "StartJob": (v1.StartJobRequest, v1.Job, self.start_job),
            "GetJob": (v1.GetJobRequest, v1.Job, self.get_job),
            "ListJobs": (v1.ListJobsRequest, v1.ListJobsResponse, self.list_jobs),
            "CancelJob": (v1.CancelJobRequest, v1.Job, self.cancel_job),
            "ListVersions": (v1.ListVersionsRequest, v1.ListVersionsResponse, self.list_versions),
            "GetVersion": (v1.GetVersionRequest, v1.Version, self.get_version),
            "PromoteVersion": (v1.PromoteVersionRequest, v1.LiveChange, self.promote_version),
            "RollBack": (v1.RollBackRequest, v1.LiveChange, self.roll_back),
            "PinVersion": (v1.PinVersionRequest, v1.Version, self.pin_version),
            "DeleteVersion": (v1.DeleteVersionRequest, v1.Version, self.delete_version),
        }
        methods = {name: access.method(name, *row) for name, row in unary.items()}
        methods["AddExamples"] = streams.gather(
            "AddExamples", v1.AddExampleRequest, v1.AddExamplesResponse, self.add_examples
        )
        methods["WatchJob"] = streams.tell("WatchJob", v1.WatchJobRequest, v1.Job, self.watch_job)
        return [grpc.method_handlers_generic_handler(LEARNING, methods)]

    # Models
    async def create_model(self, request: Message, call: Call) -> Message:
        """CreateModelRequest -> Model."""
        name = _named(call, request.name)
        classes = tuple(request.classes) or None
        refuse_unstorable(request)
        return _model_message(await asyncio.to_thread(self._learning.create_model, name, classes, actor=call.actor))

    async def list_models(self, _: Message, __: Call) -> Message:
        """ListModelsRequest -> ListModelsResponse."""
        models = await asyncio.to_thread(self._learning.models)
        answer = ModelsAnswer(tuple(ModelAnswer.of(model) for model in models))
        return write_record(answer, ripen_v1_pb2.ListModelsResponse())

    async def get_model(self, request: Message, call: Call) -> Message:
        """GetModelRequest -> Model."""
        return _model_message(await asyncio.to_thread(self._learning.model, _named(call, request.name)))

    async def pin_model(self, request: Message, call: Call) -> Message:
        """PinModelRequest -> Model."""
        name = _named(call, request.name)
        return _model_message(
            await asyncio.to_thread(self._learning.pin_model, name, pinned=request.pinned, actor=call.actor)
        )

    async def delete_model(self, request: Message, call: Call) -> Message:
        """DeleteModelRequest -> the Model as it was."""
        call.model = request.name
        name = check_model_name(request.name)  # an empty name must not remove `default`
        return _model_message(await asyncio.to_thread(self._learning.delete_model, name, actor=call.actor))

    # Examples
    async def add_examples(self, messages: Messages, call: Call) -> Message:
        """A stream of AddExampleRequest -> AddExamplesResponse. Each image is stored before the next is read."""
        response = ripen_v1_pb2.AddExamplesResponse()
        first: RipenError | None = None  # not all of them: a traceback keeps the bytes of its message alive
        async for message in messages:
            entry = response.examples.add(file=file_of(message))
            try:
                write_record(await self._add_example(message, call), entry)
            except ABOUT_THE_IMAGE as error:
                entry.error.code, entry.error.message = error.code, client_message(error)
                first = first or error
        if not response.examples:
            raise InvalidRequest("The stream ended without an image; expected one per message.")
        if first is not None and all(entry.error.code for entry in response.examples):
            raise first
        return response

    async def _add_example(self, message: Message, call: Call) -> StoredExample:
        model = _model(call, message)
        bucket = _bucket(message.bucket)
        check(bucket in (None, Bucket.HOLDOUT), "bucket", message.bucket, "`holdout`, or none")
        async with self._adding:
            target = await asyncio.to_thread(self._learning.check_label, model, message.label)
            example, new = await asyncio.to_thread(
                self._learning.add_example,
                target,
                label=message.label,
                data=message.data,
                file=message.file,
                contributor=self._core.callers.contributor(call.actor),
                asked=Asked(bucket, check_group(message.group) if message.group else None),
            )
        return StoredExample.of(example, message.file, duplicate=not new)

    async def list_examples(self, request: Message, call: Call) -> Message:
        """ListExamplesRequest -> ListExamplesResponse."""
        check(len(request.after) <= MAX_CURSOR_LENGTH, "after", request.after, "`next` of the page before")
        limit = _limit(request.limit)
        page, counts = await asyncio.to_thread(
            self._learning.examples,
            _model(call, request),
            label=request.label or None,
            bucket=_bucket(request.bucket),
            limit=limit,
            after=request.after or None,
        )
        following = page[-1].id if len(page) == limit else None
        answer = ExamplesAnswer(tuple(page), tuple(counts), following)
        return write_record(answer, ripen_v1_pb2.ListExamplesResponse())

    async def delete_example(self, request: Message, call: Call) -> Message:
        """DeleteExampleRequest -> DeletedExample."""
        model = _model(call, request)
        deletion = await asyncio.to_thread(self._learning.delete_example, model, request.id, actor=call.actor)
        return write_record(deletion, ripen_v1_pb2.DeletedExample())

    # Jobs
    async def start_job(self, request: Message, call: Call) -> Message:
        """StartJobRequest -> Job."""
        key = request.idempotency_key or None
        check(key is None or re.fullmatch(IDEMPOTENCY_KEY, key) is not None, "idempotency_key", key, IDEMPOTENCY_KEY)
        job = await asyncio.to_thread(
            self._learning.start,
            _model(call, request),
            changes=read_set_fields(request.recipe),
            gate_policy=_gate_policy(request.gate_policy),
            dry_run=request.dry_run,
            idempotency_key=key,
        )
        return _job_message(job)

    async def get_job(self, request: Message, call: Call) -> Message:
        """GetJobRequest -> Job."""
        return _job_message(await self._job(request, call))

    async def list_jobs(self, request: Message, call: Call) -> Message:
        """ListJobsRequest -> ListJobsResponse."""
        model, limit = _model(call, request), _limit(request.limit)
        jobs = await asyncio.to_thread(self._learning.jobs, model, limit=limit)
        return write_record(JobsAnswer(tuple(jobs)), ripen_v1_pb2.ListJobsResponse())

    async def cancel_job(self, request: Message, call: Call) -> Message:
        """CancelJobRequest -> Job."""
        return _job_message(await asyncio.to_thread(self._learning.cancel, _model(call, request), request.id))

    async def watch_job(self, request: Message, call: Call, say: Say) -> None:
        """WatchJobRequest -> the Job at once and at each change, until it has ended."""
        job = await self._job(request, call)
        await say(_job_message(job))
        while not job.state.ended:
            if await self._core.readiness.stopped_within(LOOK_EVERY_S):
                raise Draining("The service is stopping; watch the job again in a moment.")
            before, job = job, await look(self._core, job)
            if job != before:
                await say(_job_message(job))

    async def _job(self, request: Message, call: Call) -> Job:
        return await asyncio.to_thread(self._learning.job, _model(call, request), request.id)

    # Versions
    async def list_versions(self, request: Message, call: Call) -> Message:
        """ListVersionsRequest -> ListVersionsResponse."""
        answer = await describe_versions(self._core, _model(call, request))
        return write_record(answer, ripen_v1_pb2.ListVersionsResponse())

    async def get_version(self, request: Message, call: Call) -> Message:
        """GetVersionRequest -> Version with its manifest."""
        answer = await describe_version(self._core, _model(call, request), _number(request.version))
        return write_record(answer, ripen_v1_pb2.Version())

    async def promote_version(self, request: Message, call: Call) -> Message:
        """PromoteVersionRequest -> LiveChange."""
        model, number = _model(call, request), _number(request.version)
        change = await asyncio.to_thread(self._learning.promote, model, number, reason=request.reason, actor=call.actor)
        return write_record(change, ripen_v1_pb2.LiveChange())

    async def roll_back(self, request: Message, call: Call) -> Message:
        """RollBackRequest -> LiveChange."""
        model = _model(call, request)
        change = await asyncio.to_thread(self._learning.rollback, model, reason=request.reason, actor=call.actor)
        return write_record(change, ripen_v1_pb2.LiveChange())

    async def pin_version(self, request: Message, call: Call) -> Message:
        """PinVersionRequest -> Version."""
        model, number = _model(call, request), _number(request.version)
        row = await asyncio.to_thread(
            self._learning.pin_version, model, number, pinned=request.pinned, actor=call.actor
        )
        return write_record(describe_row(self._core, row), ripen_v1_pb2.Version())

    async def delete_version(self, request: Message, call: Call) -> Message:
        """DeleteVersionRequest -> the Version without its files."""
        model, number = _model(call, request), _number(request.version)
        row = await asyncio.to_thread(self._learning.delete_version, model, number, actor=call.actor)
        return write_record(describe_row(self._core, row), ripen_v1_pb2.Version())


def _model(call: Call, request: Message) -> str:
    """The model that a request names, whose texts can all be stored."""
    refuse_unstorable(request)
    return _named(call, request.model)


def _named(call: Call, name: str) -> str:
    call.model = name or DEFAULT_MODEL
    return check_model_name(call.model)


def _number(number: int) -> int:
    check(1 <= number <= MAX_VERSION, "version", number, f"1 to {MAX_VERSION}")
    return number


def _limit(limit: int) -> int:
    check(0 <= limit <= MAX_PAGE, "limit", limit, f"1 to {MAX_PAGE}, or 0 for {PAGE}")
    return limit or PAGE


def _bucket(name: str) -> Bucket | None:
    check(name in ("", *Bucket), "bucket", name, f"one of {', '.join(Bucket)}, or none")
    return Bucket(name) if name else None


def _gate_policy(name: str) -> GatePolicy | None:
    check(name in ("", *GatePolicy), "gate_policy", name, f"one of {', '.join(GatePolicy)}, or none")
    return GatePolicy(name) if name else None


def _model_message(model: Model) -> Message:
    return write_record(ModelAnswer.of(model), ripen_v1_pb2.Model())


def _job_message(job: Job) -> Message:
    return write_record(job, ripen_v1_pb2.Job())
