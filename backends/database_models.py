"""Models and their examples in SQL. LINE B step 1 writes them, both lines read them.

Functions over one open transaction; `database` gives each of its methods one.
"""

import secrets
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.engine import RowMapping

from backends.database_audit import write_audit
from backends.database_connection import try_insert
from backends.database_schema import examples, jobs, live_changes, models, to_record, to_row, versions
from contract.errors import ClassesFixed, JobRunning, LabelConflict, UnknownExample, UnknownModel
from contract.keys import AuditAction
from contract.records import Bucket, Example, ExampleCount, Model


def create_model(
    connection: Connection, name: str, classes: tuple[str, str] | None, *, actor: str, now: datetime
) -> Model:
    """Create the model, or declare the classes of one that had none."""
    row = {"name": name, "split_key": secrets.token_hex(16), "next_version": 1, "created_at": now}
    is_new = try_insert(connection, models, row, unique=("name",))
    stored = lock_model(connection, name).classes
    if stored is None and classes is not None:
        changes = {"class_0": classes[0], "class_1": classes[1]}
        connection.execute(update(models).where(models.c.name == name).values(changes))
    elif classes is not None and stored != classes:
        raise ClassesFixed(
            f"The classes {list(classes)} came for model {name!r}; its classes are {list(stored or ())}, in this "
            "order, and never change. Use these names, or another model."
        )
    if is_new:
        write_audit(connection, AuditAction.MODEL_CREATED, name, "", actor=actor, now=now)
    return get_model(connection, name)


def get_model(connection: Connection, name: str) -> Model:
    """The model, or UnknownModel."""
    return _to_model(connection.execute(select(models).where(models.c.name == name)).mappings().first(), name)


def lock_model(connection: Connection, name: str) -> Model:
    """The model, whose jobs, versions and live version nobody else changes until this transaction ends.

    Every writer of those takes this lock first; new examples do not wait for it. SQLite, where all writers wait for
    each other anyway, ignores it.
    """
    statement = select(models).where(models.c.name == name).with_for_update(key_share=True)  # FOR NO KEY UPDATE
    return _to_model(connection.execute(statement).mappings().first(), name)


def pin_model(connection: Connection, name: str, *, pinned: bool, actor: str, now: datetime) -> Model:
    """Pin or unpin; what is so already stays as it is."""
    if lock_model(connection, name).pinned is not pinned:
        connection.execute(update(models).where(models.c.name == name).values(pinned=pinned))
        action = AuditAction.MODEL_PINNED if pinned else AuditAction.MODEL_UNPINNED
        write_audit(connection, action, name, "", actor=actor, now=now)
    return get_model(connection, name)


def delete_model(connection: Connection, name: str, *, actor: str, now: datetime) -> Model:
    """Remove the model and every row that names it, unless a job of it has not ended."""
    everybody_waits = select(models).where(models.c.name == name).with_for_update()  # new examples too
    model = _to_model(connection.execute(everybody_waits).mappings().first(), name)
    unfinished = (jobs.c.model == name) & jobs.c.finished_at.is_(None)
    job_id = connection.execute(select(jobs.c.id).where(unfinished)).scalar()
    if job_id is not None:
        raise JobRunning(f"The job {job_id!r} of model {name!r} has not ended; cancel it before deleting the model.")
    removed = {
        owned.name: connection.execute(delete(owned).where(owned.c.model == name)).rowcount
        for owned in (live_changes, versions, jobs, examples)  # what refers goes before what it refers to
    }
    connection.execute(delete(models).where(models.c.name == name))
    detail = f"{removed['examples']} examples, {removed['versions']} versions"
    write_audit(connection, AuditAction.MODEL_DELETED, name, detail, actor=actor, now=now)
    return model


def list_models(connection: Connection) -> list[Model]:
    """All models by name."""
    rows = connection.execute(select(models).order_by(models.c.name)).mappings()
    return [_to_model(row, row["name"]) for row in rows]


def add_example(connection: Connection, example: Example) -> tuple[Example, bool]:
    """Store the row, or find the one with the same digest."""
    there = select(models).where(models.c.name == example.model).with_for_update(read=True, key_share=True)
    _to_model(connection.execute(there).mappings().first(), example.model)  # and it stays, until this is over
    same_digest = (examples.c.model == example.model) & (examples.c.digest == example.digest)
    while not try_insert(connection, examples, to_row(example), unique=("model", "digest")):
        row = connection.execute(select(examples).where(same_digest)).mappings().first()
        if row is not None:  # else it was deleted between the two statements, which PostgreSQL allows
            return _same_label(to_record(Example, row), example), False
    return example, True


def list_examples(
    connection: Connection,
    model: str,
    *,
    label: str | None,
    bucket: Bucket | None,
    limit: int | None,
    after: str | None,
) -> list[Example]:
    """One page of rows by id."""
    get_model(connection, model)
    statement = select(examples).where(examples.c.model == model).order_by(examples.c.id).limit(limit)
    if label is not None:
        statement = statement.where(examples.c.label == label)
    if bucket is not None:
        statement = statement.where(examples.c.bucket == bucket)
    if after is not None:
        statement = statement.where(examples.c.id > after)
    return [to_record(Example, row) for row in connection.execute(statement).mappings()]


def get_example(connection: Connection, model: str, example_id: str) -> Example:
    """The example, or UnknownModel, or UnknownExample."""
    this = (examples.c.model == model) & (examples.c.id == example_id)
    row = connection.execute(select(examples).where(this)).mappings().first()
    if row is None:
        get_model(connection, model)
        raise UnknownExample(f"Model {model!r} has no example {example_id!r}; `examples` lists those it has.")
    return to_record(Example, row)


def delete_example(connection: Connection, model: str, example_id: str, *, actor: str, now: datetime) -> Example:
    """Remove the row and return it."""
    example = get_example(connection, model, example_id)
    this = (examples.c.model == model) & (examples.c.id == example_id)
    if connection.execute(delete(examples).where(this)).rowcount == 1:  # else somebody else was faster
        detail = f"model {model}, label {example.label}"
        write_audit(connection, AuditAction.EXAMPLE_DELETED, example_id, detail, actor=actor, now=now)
    return example


def count_examples(connection: Connection) -> list[ExampleCount]:
    """Counts per model, label and bucket."""
    groups = (examples.c.model, examples.c.label, examples.c.bucket)
    statement = select(*groups, func.count().label("count")).group_by(*groups).order_by(*groups)
    return [to_record(ExampleCount, row) for row in connection.execute(statement).mappings()]


def settle_examples(connection: Connection, model: str, settled: Iterable[Example]) -> None:
    """Write bucket and group of those that are not settled yet."""
    this = (examples.c.model == model) & (examples.c.id == bindparam("this")) & ~examples.c.settled
    values = {"bucket": bindparam("new_bucket"), "group_id": bindparam("new_group"), "settled": True}
    rows = [{"this": one.id, "new_bucket": one.bucket, "new_group": one.group_id} for one in settled]
    if rows:
        connection.execute(update(examples).where(this).values(values), rows)


def _same_label(stored: Example, example: Example) -> Example:
    if stored.label != example.label:
        raise LabelConflict(
            f"{example.file!r} came with the label {example.label!r}; the same image is stored as {stored.label!r} "
            f"(example {stored.id}). Delete that example first if its label is wrong."
        )
    return stored


def _to_model(row: RowMapping | None, name: str) -> Model:
    if row is None:
        raise UnknownModel(f"There is no model {name!r}; use one that exists, or create it by importing a data set.")
    classes = (row["class_0"], row["class_1"]) if row["class_0"] is not None else None
    return Model(
        name=row["name"],
        classes=classes,
        live_version=row["live_version"],
        split_key=row["split_key"],
        created_at=row["created_at"],
        pinned=row["pinned"],
    )
