"""The messages import without TensorFlow, and TensorFlow still imports afterwards and understands them."""

import subprocess
import sys

WITHOUT = """
import sys
import service.servers
loaded = [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras")]
assert not loaded, loaded
"""

WITH = """
import numpy as np
from service.protocols.tensors import read_pixels, read_strings, write_floats, write_strings
from service.tf_serving_stubs import predict_pb2, tensor_pb2
import tensorflow as tf

assert float(tf.reduce_sum(tf.constant([1.0, 2.0]))) == 3.0
assert tf.core.framework.tensor_pb2 if hasattr(tf, "core") else True
assert tf.make_ndarray(write_floats([0.25, 0.5])).tolist() == [[0.25], [0.5]]
assert tf.make_ndarray(write_strings(["a", "b"])).tolist() == [[b"a"], [b"b"]]
request = predict_pb2.PredictRequest()
request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([b"x", b"yz"]))
assert read_strings("x", request.inputs["image_bytes"], most=9) == [b"x", b"yz"]
pixels = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
assert np.array_equal(read_pixels("x", tf.make_tensor_proto(pixels), most=99), pixels)
assert np.array_equal(read_pixels("x", tf.make_tensor_proto(pixels[:1, :1, :1]), most=99), pixels[:1, :1, :1])
assert isinstance(tf.make_tensor_proto(1.0), tensor_pb2.TensorProto)
from tensorflow_serving.apis import prediction_log_pb2
"""

AFTER = """
import tensorflow
import service.tf_serving_stubs as stubs
assert isinstance(tensorflow.make_tensor_proto(1.0), stubs.tensor_pb2.TensorProto)
"""


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_front_process_loads_no_tensorflow() -> None:
    run(WITHOUT)


def test_tensorflow_imports_afterwards_and_shares_the_messages() -> None:
    run(WITH)


def test_tensorflow_may_be_there_first() -> None:
    run(AFTER)
