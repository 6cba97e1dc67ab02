"""TensorFlow Serving's gRPC: PredictionService and ModelService. LINE A step 1.

Only Predict, GetModelMetadata and GetModelStatus exist here; grpc answers the others with UNIMPLEMENTED itself.
Source: tensorflow_serving/apis/prediction_service.proto, model_service.proto.
"""

import grpc

from contract.errors import InvalidRequest, RipenError, UnknownModel, UnknownSignature
from contract.images import Pixels
from contract.records import VersionState
from service.grpc_access import Call, GrpcAccess
from service.predictor import PredictRequest
from service.protocols.core import Core
from service.protocols.signatures import (
    DEFAULT_SIGNATURE,
    MAX_IMAGES,
    OUTPUTS,
    SIGNATURES,
    Signature,
    all_predictions,
    check_inputs,
    in_tf_serving_words,
    no_versions,
    signature_definitions,
)
from service.protocols.tensors import Message, read_pixels, read_strings, write_floats, write_strings
from service.tf_serving_stubs import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
METADATA_FIELD = "signature_def"


class TfServingGrpc:
    """Translates messages to calls of the core and back."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def handlers(self, access: GrpcAccess) -> list[grpc.GenericRpcHandler]:
        """The generic handlers of both services, for a server to add."""
        status, metadata = get_model_status_pb2, get_model_metadata_pb2
        prediction = {
            "Predict": access.method("Predict", predict_pb2.PredictRequest, predict_pb2.PredictResponse, self.predict),
            "GetModelMetadata": access.method(
                "GetModelMetadata", metadata.GetModelMetadataRequest, metadata.GetModelMetadataResponse, self.metadata
            ),
        }
        model = {
            "GetModelStatus": access.method(
                "GetModelStatus", status.GetModelStatusRequest, status.GetModelStatusResponse, self.status
            ),
        }
        return [
            grpc.method_handlers_generic_handler(PREDICTION_SERVICE, prediction),
            grpc.method_handlers_generic_handler(MODEL_SERVICE, model),
        ]

    async def predict(self, request: Message, call: Call) -> Message:
        """PredictRequest -> PredictResponse."""
        model, version = _model_spec(request, call)
        try:
            self._core.versions.manifest(model, version)  # an unknown model is said before an unknown signature
            signature = _signature(request.model_spec.signature_name)
            images = self._images(signature, request.inputs)
            asked = PredictRequest(model, images, version, call.timeout_s, call.request_id)
            answer = await self._core.predictor.predict(asked)
        except RipenError as error:
            raise in_tf_serving_words(error, model, version) from error
        call.version = answer.version
        predictions = all_predictions(answer)
        response = predict_pb2.PredictResponse()
        _fill_spec(response.model_spec, model, answer.version, signature.name)
        for name in _wanted_outputs(request.output_filter):
            if name == "label":
                response.outputs[name].CopyFrom(write_strings([one.label for one in predictions]))
            else:
                response.outputs[name].CopyFrom(write_floats([one.probability for one in predictions]))
        return response

    async def metadata(self, request: Message, call: Call) -> Message:
        """GetModelMetadataRequest -> GetModelMetadataResponse."""
        model, version = _model_spec(request, call)
        if list(request.metadata_field) != [METADATA_FIELD]:
            raise InvalidRequest(
                f"Metadata field(s) {list(request.metadata_field)} not supported; expected {METADATA_FIELD!r} alone."
            )
        try:
            manifest = self._core.versions.manifest(model, version)
        except RipenError as error:
            raise in_tf_serving_words(error, model, version) from error
        call.version = manifest.version
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _fill_spec(response.model_spec, model, manifest.version, "")
        response.metadata[METADATA_FIELD].Pack(signature_definitions(manifest))
        return response

    async def status(self, request: Message, call: Call) -> Message:
        """GetModelStatusRequest -> GetModelStatusResponse."""
        model, version = _model_spec(request, call)
        try:
            found = [one for one in self._core.versions.status(model) if version in (None, one.number)]
        except UnknownModel:
            found = []
        if not found:
            raise no_versions(model, version)
        response = get_model_status_pb2.GetModelStatusResponse()
        for one in found:
            entry = response.model_version_status.add(version=one.number, state=state_number(one.state))
            entry.status.error_code = grpc_code_number(one.error_code)
            entry.status.error_message = one.message
        return response

    def _images(self, signature: Signature, inputs: Message) -> list[bytes] | Pixels:
        check_inputs(signature, inputs.keys())
        tensor = inputs[signature.input_name]
        if signature.encoded:
            return read_strings(signature.input_name, tensor, most=MAX_IMAGES)
        return read_pixels(signature.input_name, tensor, most=self._core.settings.max_request_bytes)


def state_number(state: VersionState) -> int:
    """TensorFlow Serving's number of a state."""
    return int(get_model_status_pb2.ModelVersionStatus.State.Value(state.value))


def grpc_code_number(name: str) -> int:
    """The number of a TensorFlow error name such as `INTERNAL`; the same as gRPC's."""
    return int(grpc.StatusCode[name].value[0])


def _model_spec(request: Message, call: Call) -> tuple[str, int | None]:
    if not request.HasField("model_spec"):
        raise InvalidRequest("Missing ModelSpec")
    spec = request.model_spec
    if not spec.name:
        raise InvalidRequest("ModelSpec has no name specified.")
    if spec.WhichOneof("version_choice") == "version_label":
        raise InvalidRequest(f"Unrecognized servable version label: {spec.version_label}")
    call.model = spec.name
    return spec.name, spec.version.value if spec.HasField("version") else None


def _signature(name: str) -> Signature:
    signature = SIGNATURES.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise UnknownSignature(f'Serving signature key "{name}" not found.')
    return signature


def _wanted_outputs(output_filter: Message) -> list[str]:
    unknown = sorted(set(output_filter) - OUTPUTS.keys())
    if unknown:
        raise InvalidRequest(
            f"output tensor alias not found in signature: {unknown[0]} "
            f"Outputs expected to be in the set {{{','.join(OUTPUTS)}}}."
        )
    return [name for name in OUTPUTS if not output_filter or name in output_filter]


def _fill_spec(spec: Message, model: str, version: int, signature: str) -> None:
    spec.name = model
    spec.version.value = version
    spec.signature_name = signature
