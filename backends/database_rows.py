"""All rows as JSON, for a backup, and back. Beside both lines.

Functions over one open transaction; `database` gives each of its methods one. Values are plain (a time is a number, a
record is text), so rows of one technology fit another: a backup of SQLite restores into PostgreSQL.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection, TableClause, column, func, insert, select, table
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError
from sqlalchemy.types import TypeDecorator, TypeEngine

from backends.database_schema import REVISION, live_changes, metadata
from contract.errors import InvalidRequest, NotEmpty

Value: TypeAlias = str | int | float | bool | None
ROWS_AT_ONCE = 500
OLDER: dict[str, dict[str, Value]] = {"examples": {"settled": True}}  # of rows older than the column, as migrated ones


class _Schema(msgspec.Struct):
    revision: str


def export_rows(connection: Connection) -> Iterator[tuple[str, bytes]]:
    """First the schema's revision, then each table's rows; a referenced table comes before its references."""
    yield "schema", msgspec.json.encode(_Schema(REVISION))
    for name, plain in _tables().items():
        with connection.execute(select(plain).execution_options(yield_per=ROWS_AT_ONCE)) as rows:
            for row in rows.mappings():
                yield name, msgspec.json.encode(dict(row))


def import_rows(connection: Connection, rows: Iterable[tuple[str, bytes]]) -> None:
    """Fill the empty tables."""
    tables = _tables()
    for name, plain in tables.items():
        if connection.execute(select(plain).limit(1)).first() is not None:
            raise NotEmpty(f"The database has rows already, for example in {name}; restore into an empty one.")
    remaining = iter(rows)
    _check_schema(next(remaining, ("", b"")))
    try:
        for name, group in groupby(remaining, key=lambda row: row[0]):
            _fill(connection, tables.get(name), (data for _, data in group))
    except (IntegrityError, DataError, ProgrammingError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidRequest("The rows do not fit this release's tables; take an unaltered backup.") from error
    if connection.dialect.name == "postgresql":
        _continue_numbers(connection)


def _check_schema(first: tuple[str, bytes]) -> None:
    name, data = first
    try:
        revision = msgspec.json.decode(data, type=_Schema).revision if name == "schema" else ""
    except msgspec.DecodeError:
        revision = ""
    if not revision:
        raise InvalidRequest("These are no rows of a backup; expected them to begin with the schema's revision.")
    if revision > REVISION:
        raise InvalidRequest(
            f"The backup's schema is {revision}, made by a newer release; this one knows {REVISION}. Install that "
            "release, or take an older backup."
        )


def _fill(connection: Connection, target: TableClause | None, rows: Iterator[bytes]) -> None:
    """Insert the rows of one table; columns that an older release did not know yet take their defaults, or `OLDER`."""
    batch: list[dict[str, Value]] = []
    for data in rows:
        row = msgspec.json.decode(data, type=dict[str, Value])
        if target is None or not row.keys() <= {known.name for known in target.columns}:
            raise InvalidRequest("The rows have a table or column that this release does not know.")
        row = OLDER.get(target.name, {}) | row
        if len(batch) == ROWS_AT_ONCE or (batch and batch[0].keys() != row.keys()):
            connection.execute(insert(target), batch)
            batch = []
        batch.append(row)
    if batch and target is not None:
        connection.execute(insert(target), batch)


def _continue_numbers(connection: Connection) -> None:
    """PostgreSQL numbers rows by a counter of its own, which knows nothing of imported ones."""
    largest = select(func.max(live_changes.c.id)).scalar_subquery()
    counter = func.pg_get_serial_sequence(live_changes.name, "id")
    connection.execute(select(func.setval(counter, largest)))


def _tables() -> dict[str, TableClause]:
    """Every table with its columns' plain types, in the order of their references."""
    return {
        known.name: table(known.name, *(column(each.name, _plain(each.type)) for each in known.columns))
        for known in metadata.sorted_tables
    }


def _plain(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    return kind.impl_instance if isinstance(kind, TypeDecorator) else kind
