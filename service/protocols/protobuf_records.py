"""Records as protobuf messages whose fields have the same names. LINE A step 1, LINE B steps 1-2."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime

import msgspec
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]  # protobuf ships no types
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]  # as above

from contract.errors import InvalidRequest
from service.protocols.tensors import Message

MAX_FILE_LENGTH = 1024


def file_of(message: Message) -> str:
    """The client's name for an image, which comes back in the answer.

    Raises:
        InvalidRequest: it is longer than a name; many such would fill the memory while their stream lasts.
    """
    if len(message.file) > MAX_FILE_LENGTH:
        raise InvalidRequest(
            f"`file` has {len(message.file)} characters; expected a name of {MAX_FILE_LENGTH} at most."
        )
    return str(message.file)


def write_record(record: object, message: Message) -> Message:
    """Fill a message from a dataclass, field by field; None leaves a field out.

    A record's field that the message lacks is an AttributeError: the two must be kept alike.
    """
    assert is_dataclass(record)
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, tuple):
            _write_each(value, getattr(message, field.name))
        elif is_dataclass(value) or isinstance(value, datetime):
            _write_inner(value, getattr(message, field.name))
        elif value is not None:
            setattr(message, field.name, value)
    return message


def read_set_fields(message: Message) -> Mapping[str, object]:
    """The fields of a flat message that its sender has set."""
    return {field.name: value for field, value in message.ListFields()}


def refuse_unstorable(message: Message) -> None:
    """Raise InvalidRequest for a NUL in any text: PostgreSQL cannot store it."""
    for field, value in message.ListFields():
        texts = [value] if isinstance(value, str) else value
        if field.type == field.TYPE_STRING and any("\x00" in text for text in texts):
            raise InvalidRequest(f"The field {field.name} has a NUL in it; expected text without.")


def _write_each(values: tuple[object, ...], repeated: Message) -> None:
    for value in values:
        if is_dataclass(value):
            write_record(value, repeated.add())
        else:
            repeated.append(value)


def _write_inner(value: object, message: Message) -> None:
    if isinstance(message, Timestamp):
        message.FromDatetime(value)
    elif isinstance(message, Struct):
        message.update(msgspec.to_builtins(value))
    else:
        message.SetInParent()  # else one whose fields all are zero would look like one that was left out
        write_record(value, message)
