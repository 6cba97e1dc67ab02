"""What a user of TensorFlow Serving has: the unmodified client packages and TensorFlow itself, in a process of its own.

usage: tensorflow_client.py predict ADDRESS IMAGE...     probabilities by PredictionService over gRPC
       tensorflow_client.py load FOLDER IMAGE...         probabilities by tf.saved_model.load of a published folder
"""

import json
import sys
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


def predict(address: str, images: list[bytes]) -> dict[str, object]:
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "default"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images, dtype=tf.string))
        answer = stub.Predict(request, timeout=30)
        metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        metadata.model_spec.name = "default"
        fields = stub.GetModelMetadata(metadata, timeout=30).metadata
        signatures = get_model_metadata_pb2.SignatureDefMap()
        fields["signature_def"].Unpack(signatures)
        status_request = get_model_status_pb2.GetModelStatusRequest()
        status_request.model_spec.name = "default"
        status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status_request, timeout=30)
    return {
        "version": answer.model_spec.version.value,
        "probabilities": tf.make_ndarray(answer.outputs["probability"])[:, 0].tolist(),
        "labels": [label.decode() for label in tf.make_ndarray(answer.outputs["label"])[:, 0]],
        "signatures": sorted(signatures.signature_def),
        "states": {entry.version: entry.state for entry in status.model_version_status},
    }


def load(folder: str, images: list[bytes]) -> dict[str, object]:
    model = tf.saved_model.load(folder)
    outputs = model.signatures["serving_default"](image_bytes=tf.constant(images))
    return {"probabilities": outputs["probability"].numpy()[:, 0].tolist()}


if __name__ == "__main__":
    kind, where, *files = sys.argv[1:]
    contents = [Path(file).read_bytes() for file in files]
    print(json.dumps(predict(where, contents) if kind == "predict" else load(where, contents)))
