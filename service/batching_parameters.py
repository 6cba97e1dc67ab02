"""TensorFlow Serving's `batching_parameters.pbtxt`, so that its users can bring theirs. Before LINE A step 4.

Its size and queue limits become ours. What tells TensorFlow Serving how long to wait for a batch, on how many threads
and in which shapes is read, checked and not needed: no image waits for company, and shapes are measured at warm-up.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # it ships no types
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)

from contract.errors import InvalidSetting
from contract.settings import Settings

SETTING = "RIPEN_BATCHING_PARAMETERS_FILE"
MOST_IMAGES = 256  # of a batch, as RIPEN_MAX_BATCH_SIZE
MOST_WAITING = 100_000  # as RIPEN_QUEUE_SIZE
NUMBERS = (
    *("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"),
    *("max_execution_batch_size", "low_priority_max_batch_size"),
)
SWITCHES = ("enable_large_batch_splitting", "pad_variable_length_inputs")
PLAIN = ("pad_variable_length_inputs", "allowed_batch_sizes")  # the others are wrapped: `{ value: 8 }`
NOT_NEEDED = {
    "batch_timeout_micros": "no image waits for company",
    "num_batch_threads": "the engine measures what it takes at once",
    "allowed_batch_sizes": "the engine measures batch sizes when it warms up",
    "thread_pool_name": "each version has its own process",
    "pad_variable_length_inputs": "images of one version have one shape",
    "enable_large_batch_splitting": "large requests are always split",
    "max_execution_batch_size": "large requests are always split",
}
logger = logging.getLogger(__name__)


def apply(settings: Settings) -> Settings:
    """The settings, with the limits of the file that they name; unchanged where they name none.

    Raises:
        InvalidSetting: the file cannot be read, has unknown fields, or sizes that contradict each other.

    Source: TensorFlow Serving, servables/tensorflow/session_bundle_config.proto, `BatchingParameters`.
    """
    path = settings.batching_parameters_file
    if path is None:
        return settings
    given = _read(path)
    for name, because in NOT_NEEDED.items():
        if name in given:
            logger.info("%s: %s is not needed: %s.", path, name, because)
    batch_size = int(given.get("max_batch_size", settings.max_batch_size))
    _check(path, given, batch_size)
    waiting = settings.queue_size
    if "max_enqueued_batches" in given:
        waiting = min(max(1, given["max_enqueued_batches"] * batch_size), MOST_WAITING)
    if batch_size > MOST_IMAGES:
        logger.info("%s: max_batch_size %d is taken as %d, the most that one has here.", path, batch_size, MOST_IMAGES)
    return replace(settings, max_batch_size=min(batch_size, MOST_IMAGES), queue_size=waiting)


def _read(path: Path) -> dict[str, Any]:
    """Each field that the file has, unwrapped."""
    message = _message_class()()
    try:
        text_format.Parse(path.read_text(), message)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise InvalidSetting(f"{SETTING} is {str(path)!r}, which cannot be used: {error}.") from error
    fields = {field.name: value for field, value in message.ListFields()}
    return {name: list(value) if name == "allowed_batch_sizes" else _bare(value) for name, value in fields.items()}


def _bare(value: Any) -> Any:
    return value.value if hasattr(value, "DESCRIPTOR") else value


def _check(path: Path, given: dict[str, Any], batch_size: int) -> None:
    for name in NUMBERS:
        if given.get(name, 1) < (0 if name == "batch_timeout_micros" else 1):
            raise InvalidSetting(f"{path}: {name} is {given[name]}; expected a positive number.")
    sizes = given.get("allowed_batch_sizes", [])
    if sizes and (sizes != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != batch_size):
        raise InvalidSetting(
            f"{path}: allowed_batch_sizes are {sizes}; expected increasing sizes, the last of them max_batch_size "
            f"({batch_size})."
        )


def _message_class() -> Any:
    """The message, in a descriptor pool of its own: TensorFlow Serving's package does not carry it."""
    file = descriptor_pb2.FileDescriptorProto(name="batching_parameters.proto", package="ripen", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    wrappers = {"Number": kinds.TYPE_INT64, "Switch": kinds.TYPE_BOOL, "Text": kinds.TYPE_STRING}
    for wrapper, kind in wrappers.items():
        file.message_type.add(name=wrapper).field.add(name="value", number=1, type=kind, label=kinds.LABEL_OPTIONAL)
    message = file.message_type.add(name="BatchingParameters")
    named = [*((name, "Number") for name in NUMBERS), *((name, "Switch") for name in SWITCHES)]
    named += [("thread_pool_name", "Text"), ("allowed_batch_sizes", "Number")]
    for number, (name, wrapper) in enumerate(named, 1):
        label = kinds.LABEL_REPEATED if name == "allowed_batch_sizes" else kinds.LABEL_OPTIONAL
        field = message.field.add(name=name, number=number, label=label)
        if name in PLAIN:
            field.type = wrappers[wrapper]
        else:
            field.type, field.type_name = kinds.TYPE_MESSAGE, f".ripen.{wrapper}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ripen.BatchingParameters"))
