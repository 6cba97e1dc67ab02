"""Triton behind its Python front PyTriton: BYTES tensors, dynamic batches. usage: triton_server.py HTTP GRPC"""

import sys

import classifiers
import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def bind():
    classifier = classifiers.load(threads=1)

    @batch
    def infer(image):
        probabilities = classifier.classify([bytes(one[0]) for one in image])
        return {"probability": np.array(probabilities, np.float32)[:, None]}  # (N, 1)

    return infer


def main(http_port: str, grpc_port: str) -> None:
    addresses = {"http_address": "127.0.0.1", "grpc_address": "127.0.0.1", "allow_metrics": False}
    config = TritonConfig(http_port=int(http_port), grpc_port=int(grpc_port), **addresses)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="classifier",
            infer_func=[bind() for _ in range(classifiers.CORES)],
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="probability", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=classifiers.BATCH, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":  # PyTriton starts processes that import this file again
    main(*sys.argv[1:])
