"""TensorFlow Serving's own protobuf messages, imported without TensorFlow's runtime.

LINE A step 1. The generated modules import `tensorflow.core.*`; a stand-in `tensorflow` package that only knows the
folder lets them find those files: 0.13 s and 33 MB instead of 2.5 s and 550 MB. The stand-in leaves `sys.modules`
afterwards, so that the real TensorFlow still imports in the same process; both then share the message classes, because
protobuf keeps one class per descriptor.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def _stand_in() -> Iterator[None]:
    """Let `tensorflow.core.*` be imported from the installed folder without running TensorFlow's `__init__`."""
    if "tensorflow" in sys.modules:  # the real one is here already: nothing to spare
        yield
        return
    spec = importlib.util.find_spec("tensorflow")  # finds, does not import
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("TensorFlow is not installed; install Ripen with its extra `service`.")
    package = ModuleType("tensorflow")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = package
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name == "tensorflow" or name.startswith("tensorflow.")]:
            del sys.modules[name]


with _stand_in():
    from tensorflow.core.framework import tensor_pb2, types_pb2
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2,
        predict_pb2,
        prediction_service_pb2,
    )

__all__ = [
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "meta_graph_pb2",
    "model_service_pb2",
    "predict_pb2",
    "prediction_service_pb2",
    "tensor_pb2",
    "types_pb2",
]
