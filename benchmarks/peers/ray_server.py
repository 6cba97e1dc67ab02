"""Ray Serve: a replica per core, the raw body, `serve.batch` for TensorFlow. usage: ray_server.py PORT"""

import sys
import threading

import classifiers
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(
    num_replicas=classifiers.CORES,
    max_ongoing_requests=32,
    ray_actor_options={"num_cpus": 1},
    logging_config={"enable_access_log": False},
)
class Classifier:
    def __init__(self) -> None:
        self.classifier = classifiers.load(threads=1)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.005)
    async def classify(self, images):
        return self.classifier.classify(images)

    async def __call__(self, request: Request):
        image = await request.body()
        if classifiers.OPENVINO:
            return {"probability": self.classifier.classify([image])[0]}
        return {"probability": await self.classify(image)}


ray.init(num_cpus=classifiers.CORES, include_dashboard=False, logging_level="error")
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(Classifier.bind(), route_prefix="/predict")
threading.Event().wait()
