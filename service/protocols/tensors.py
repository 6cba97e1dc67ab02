"""TensorFlow's TensorProto, read and built with numpy alone. LINE A step 1.

Source: tensorflow/core/framework/tensor.proto: values stand in `tensor_content` or in the typed `*_val` field; fewer
typed values than elements mean that the last one is repeated.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from contract.errors import InvalidRequest
from contract.images import Pixels
from service.tf_serving_stubs import tensor_pb2, types_pb2

Message = Any  # protobuf's generated classes carry no types
MAX_ELEMENTS: Final = 2**31 - 1


def read_strings(name: str, tensor: Message, *, most: int) -> list[bytes]:
    """Read a DT_STRING tensor of shape [N].

    Raises:
        InvalidRequest: another dtype or shape, more than `most` elements, or values that do not fit the shape.
    """
    shape = _shape(name, tensor, dtype=types_pb2.DT_STRING, wanted="DT_STRING with shape [N]", rank=1)
    if shape[0] > most:
        raise InvalidRequest(f'Input "{name}" has {shape[0]} elements; at most {most} are accepted per request.')
    _check_count(name, len(tensor.string_val), shape)
    values = list(tensor.string_val)
    return values if len(values) == shape[0] else values + values[-1:] * (shape[0] - len(values))


def read_pixels(name: str, tensor: Message, *, most: int) -> Pixels:
    """Read a DT_UINT8 tensor of shape [N, H, W, 3].

    Raises:
        InvalidRequest: another dtype or shape, more than `most` bytes, or values that do not fit the shape.
    """
    wanted = "DT_UINT8 with shape [N, H, W, 3]"
    shape = _shape(name, tensor, dtype=types_pb2.DT_UINT8, wanted=wanted, rank=4)
    if math.prod(shape) > most:
        raise InvalidRequest(f'Input "{name}" has {math.prod(shape)} values; at most {most} are accepted.')
    if tensor.tensor_content:
        content = np.frombuffer(tensor.tensor_content, dtype=np.uint8)
        if content.size != math.prod(shape):
            raise InvalidRequest(f'Input "{name}" has {content.size} bytes of content for the shape {list(shape)}.')
        return content.reshape(shape)  # (N, H, W, 3) uint8
    _check_count(name, len(tensor.int_val), shape)
    values = np.fromiter(tensor.int_val, dtype=np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 255:
        raise InvalidRequest(f'Input "{name}" holds values outside 0-255; expected uint8.')
    pixels = np.full(math.prod(shape), values[-1] if values.size else 0, dtype=np.uint8)
    pixels[: values.size] = values
    return pixels.reshape(shape)  # (N, H, W, 3) uint8


def write_floats(values: Sequence[float]) -> Message:
    """A DT_FLOAT tensor of shape [N, 1] in its typed field."""
    tensor = _column(types_pb2.DT_FLOAT, len(values))
    tensor.float_val.extend(values)
    return tensor


def write_strings(values: Sequence[str]) -> Message:
    """A DT_STRING tensor of shape [N, 1] in its typed field."""
    tensor = _column(types_pb2.DT_STRING, len(values))
    tensor.string_val.extend(value.encode() for value in values)
    return tensor


def _column(dtype: int, rows: int) -> Message:
    tensor = tensor_pb2.TensorProto(dtype=dtype)
    add = tensor.tensor_shape.dim.add
    add(size=rows)
    add(size=1)
    return tensor


def _shape(name: str, tensor: Message, *, dtype: int, wanted: str, rank: int) -> tuple[int, ...]:
    shape = tuple([dim.size for dim in tensor.tensor_shape.dim])
    if tensor.dtype != dtype or len(shape) != rank or not _whole(shape):
        known = types_pb2.DataType.values()  # a list that is made anew each time: 10 us
        found = types_pb2.DataType.Name(tensor.dtype) if tensor.dtype in known else "no known dtype"
        raise InvalidRequest(f'Input "{name}" is {found} with shape {list(shape)}; expected {wanted}.')
    return shape


def _whole(shape: Iterable[int]) -> bool:
    return all(0 <= size <= MAX_ELEMENTS for size in shape)


def _check_count(name: str, count: int, shape: tuple[int, ...]) -> None:
    elements = math.prod(shape)
    if count > elements or (elements and not count):
        raise InvalidRequest(f'Input "{name}" has {count} values for the shape {list(shape)}; expected {elements}.')
