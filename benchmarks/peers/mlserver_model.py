"""MLServer: a runtime of our own for BYTES tensors, parallel workers, adaptive batches for TensorFlow."""

import classifiers
import numpy
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Classifier(MLModel):
    async def load(self) -> bool:
        self.classifier = classifiers.load(threads=1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        images = [bytes(image) for image in payload.inputs[0].data]
        probabilities = numpy.array(self.classifier.classify(images), numpy.float32)[:, None]  # (N, 1)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("probability", probabilities)])
