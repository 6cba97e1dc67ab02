"""BentoML: the raw body, a thread pool for OpenVINO, adaptive batches for TensorFlow. Started by `bentoml serve`."""

from pathlib import Path
from typing import Annotated

import bentoml
import classifiers
from bentoml.validators import ContentType

Jpeg = Annotated[Path, ContentType("image/jpeg")]


@bentoml.service(
    workers=1,
    threads=2 * classifiers.CORES,
    traffic={"timeout": 60, "max_concurrency": 512},
    logging={"access": {"enabled": False}},
)
class Classifier:
    def __init__(self) -> None:
        self.classifier = classifiers.load()

    if classifiers.OPENVINO:

        @bentoml.api(route="/predict")
        def predict(self, image: Jpeg, /) -> float:
            return self.classifier.classify([image.read_bytes()])[0]

    else:

        @bentoml.api(route="/predict", batchable=True, max_batch_size=32, max_latency_ms=20_000)
        def predict(self, images: list[Jpeg]) -> list[float]:
            return self.classifier.classify([image.read_bytes() for image in images])
