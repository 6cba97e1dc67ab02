"""The two signatures of a version, as TensorFlow Serving's clients see them. LINE A step 1, for REST and gRPC alike.

`serving_default`: image_bytes, string [N]; `pixels`: image, uint8 [N, H, W, 3]. Both give probability float32 [N, 1]
and label string [N, 1]. Source of the message texts: tensorflow_serving/servables/tensorflow/predict_util.cc.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from contract.artifact import Manifest
from contract.errors import InvalidRequest, RipenError, UnknownModel, UnknownVersion
from contract.records import Prediction
from service.predictor import Answer
from service.protocols.tensors import Message
from service.tf_serving_stubs import get_model_metadata_pb2, meta_graph_pb2, types_pb2

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"
MAX_IMAGES = 256


@dataclass(frozen=True)
class Signature:
    """One way in: the name of the input, and whether it takes encoded images or pixels."""

    name: str
    input_name: str
    encoded: bool


SIGNATURES = {
    DEFAULT_SIGNATURE: Signature(DEFAULT_SIGNATURE, "image_bytes", encoded=True),
    "pixels": Signature("pixels", "image", encoded=False),
}
OUTPUTS = {"label": types_pb2.DT_STRING, "probability": types_pb2.DT_FLOAT}


def check_inputs(signature: Signature, names: Collection[str]) -> None:
    """Accept exactly the signature's input.

    Raises:
        InvalidRequest: in TensorFlow Serving's words.
    """
    wanted = {signature.input_name}
    sent = set(names)
    if sent != wanted:
        raise InvalidRequest(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({_braces(sent)}) != len({_braces(wanted)}). "
            f"Sent extra: {_braces(sent - wanted)}. Missing but required: {_braces(wanted - sent)}."
        )


def all_predictions(answer: Answer) -> list[Prediction]:
    """Every prediction of an answer: a tensor has no place for the error of one image.

    Raises:
        RipenError: the first image's error, naming its index.
    """
    good: list[Prediction] = []
    for index, one in enumerate(answer.predictions):
        if isinstance(one, RipenError):
            raise type(one)(f"Image {index} of {len(answer.predictions)}: {one.message}")
        good.append(one)
    return good


def in_tf_serving_words(error: RipenError, model: str, version: int | None) -> RipenError:
    """The same error with the text that TensorFlow Serving's clients look for."""
    if isinstance(error, UnknownModel | UnknownVersion):
        which = f"Latest({model})" if version is None else f"Specific({model}, {version})"
        return type(error)(f"Servable not found for request: {which}")
    return error


def no_versions(model: str, version: int | None) -> UnknownVersion:
    """What TensorFlow Serving says where a status has nothing to show."""
    what = "any versions" if version is None else f"version {version}"
    return UnknownVersion(f"Could not find {what} of model {model}")


def signature_definitions(manifest: Manifest) -> Message:
    """A SignatureDefMap of both signatures at the manifest's image size."""
    definitions = get_model_metadata_pb2.SignatureDefMap()
    height, width = manifest.image_size
    for signature in SIGNATURES.values():
        definition = definitions.signature_def[signature.name]
        definition.method_name = PREDICT_METHOD
        dtype = types_pb2.DT_STRING if signature.encoded else types_pb2.DT_UINT8
        shape = [-1] if signature.encoded else [-1, height, width, 3]
        _describe(definition.inputs[signature.input_name], f"{signature.name}_{signature.input_name}:0", dtype, shape)
        for index, (name, output_dtype) in enumerate(OUTPUTS.items()):
            _describe(definition.outputs[name], f"StatefulPartitionedCall:{index}", output_dtype, [-1, 1])
    return definitions


def _describe(tensor: meta_graph_pb2.TensorInfo, name: str, dtype: int, shape: Sequence[int]) -> None:
    tensor.name = name
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add().size = size


def _braces(names: Collection[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
