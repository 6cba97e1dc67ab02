"""TensorProto without TensorFlow: read every spelling of it, refuse what is not one."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from contract.errors import InvalidRequest
from service.protocols.tensors import Message, read_pixels, read_strings, write_floats, write_strings
from service.tf_serving_stubs import tensor_pb2, types_pb2

MOST = 1000


def tensor(dtype: int, *shape: int, **fields: object) -> Message:
    made = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


def test_strings() -> None:
    assert read_strings("x", tensor(types_pb2.DT_STRING, 2, string_val=[b"a", b"b"]), most=2) == [b"a", b"b"]
    assert read_strings("x", tensor(types_pb2.DT_STRING, 3, string_val=[b"a"]), most=3) == [b"a"] * 3
    assert read_strings("x", tensor(types_pb2.DT_STRING, 0), most=3) == []


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (tensor(types_pb2.DT_FLOAT, 1, float_val=[1.0]), "DT_FLOAT with shape \\[1\\]; expected DT_STRING"),
        (tensor(99, 1), "no known dtype"),
        (tensor(types_pb2.DT_STRING, string_val=[b"a"]), "shape \\[\\]"),
        (tensor(types_pb2.DT_STRING, 1, 1, string_val=[b"a"]), "shape \\[1, 1\\]"),
        (tensor(types_pb2.DT_STRING, -1, string_val=[b"a"]), "shape \\[-1\\]"),
        (tensor(types_pb2.DT_STRING, 1, string_val=[b"a", b"b"]), "2 values for the shape \\[1\\]"),
        (tensor(types_pb2.DT_STRING, 2), "0 values for the shape \\[2\\]"),
        (tensor(types_pb2.DT_STRING, 10**12, string_val=[b"a"]), "shape"),
        (tensor(types_pb2.DT_STRING, 10**9, string_val=[b"a"]), "at most 1000"),
    ],
)
def test_bad_strings(bad: Message, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        read_strings("x", bad, most=MOST)


def test_pixels() -> None:
    pixels = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    content = tensor(types_pb2.DT_UINT8, 2, 3, 4, 3, tensor_content=pixels.tobytes())
    values = tensor(types_pb2.DT_UINT8, 2, 3, 4, 3, int_val=pixels.ravel().tolist())
    repeated = tensor(types_pb2.DT_UINT8, 1, 2, 2, 3, int_val=[7])
    assert np.array_equal(read_pixels("x", content, most=MOST), pixels)
    assert np.array_equal(read_pixels("x", values, most=MOST), pixels)
    assert np.array_equal(read_pixels("x", repeated, most=MOST), np.full((1, 2, 2, 3), 7))


@pytest.mark.parametrize("read", [read_strings, read_pixels])
def test_too_many_values_are_counted_not_copied(read: Callable[..., object]) -> None:
    strings = tensor(types_pb2.DT_STRING, 1, string_val=[b""] * 100_000)
    numbers = tensor(types_pb2.DT_UINT8, 1, 1, 1, 3, int_val=[7] * 100_000)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="100000 values"):
            read("x", strings if read is read_strings else numbers, most=MOST)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (tensor(types_pb2.DT_INT64, 1, 1, 1, 3), "DT_INT64"),
        (tensor(types_pb2.DT_UINT8, 1, 1, 3, int_val=[1]), "shape \\[1, 1, 3\\]"),
        (tensor(types_pb2.DT_UINT8, 1, 1, 1, 3, tensor_content=b"ab"), "2 bytes of content"),
        (tensor(types_pb2.DT_UINT8, 1, 1, 1, 3, int_val=[1, 2, 3, 4]), "4 values"),
        (tensor(types_pb2.DT_UINT8, 1, 1, 1, 3, int_val=[256]), "outside 0-255"),
        (tensor(types_pb2.DT_UINT8, 1000, 1000, 1000, 3, int_val=[1]), "at most 1000"),
    ],
)
def test_bad_pixels(bad: Message, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        read_pixels("x", bad, most=MOST)


def test_columns() -> None:
    floats, strings = write_floats([0.25, 1.0]), write_strings(["a", "é"])
    assert (list(floats.float_val), [dim.size for dim in floats.tensor_shape.dim]) == ([0.25, 1.0], [2, 1])
    assert list(strings.string_val) == [b"a", "é".encode()]
