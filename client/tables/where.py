"""Conditions on values: which rows of an opened batch are wanted.

A value is compared as what its column is: numbers as numbers, dates as dates, text by its
characters' code points. Null fits no condition.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.arrow_types import is_text, type_from_text, type_to_text
from client.tables.cells import decoded, taken
from client.tables.errors import TableFormat
from client.tables.inferring import parsed
from client.tables.source import Column
from client.tables.text_forms import text_form

_CONDITION: Final = re.compile(r"(.+?)\s*(!=|<=|>=|=|<|>|~)(.*)", re.DOTALL)
_COMPARE: Final = {
    "=": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater,
    ">=": pc.greater_equal,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: a field, an operator (=, !=, <, <=, >, >=, or ~ for contains), a value."""

    field: str
    operator: str
    value: str


def parse_condition(text: str, fields: Sequence[str] = ()) -> Condition:
    """Read FIELD=VALUE, FIELD<VALUE, FIELD~PART and the like.

    The longest of the names in `fields` with which it begins is the field, so that names with
    operators in them can be meant. Raises: TableFormat.
    """
    known = sorted((name for name in fields if text.startswith(name)), key=len, reverse=True)
    for name in known:
        rest = _CONDITION.fullmatch("x" + text[len(name) :])
        if rest is not None and rest[1] == "x":
            return Condition(name, rest[2], rest[3].strip() if rest[2] != "~" else rest[3])
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise TableFormat(
            f"{text[:60]!r} is no condition", hint="write FIELD=VALUE, FIELD<VALUE or FIELD~PART"
        )
    return Condition(found[1].strip(), found[2], found[3].strip())


class Filter:
    """The conditions that a row has to meet, all of them."""

    def __init__(self, conditions: Sequence[Condition], columns: Sequence[Column]) -> None:
        types = {column.name: type_from_text(column.type) for column in columns}
        self._tests = [(each, _value(each, types[each.field])) for each in conditions]

    def kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows of a batch that meet every condition."""
        mask: Any = None
        for condition, value in self._tests:
            met = _met(condition, value, decoded(batch.column(condition.field)))
            mask = met if mask is None else pc.and_(mask, met)
        return batch if mask is None else taken(batch, pc.indices_nonzero(mask))


def _met(condition: Condition, value: pa.Scalar | None, array: pa.Array) -> pa.Array:
    if condition.operator == "~":
        return pc.match_substring(_texts(array), condition.value)
    if value is None:
        return _COMPARE[condition.operator](_texts(array), condition.value)
    return _COMPARE[condition.operator](array, value)


def _texts(array: pa.Array) -> pa.Array:
    try:
        return text_form(array)
    except ValueError:
        raise TableFormat("a date or time beyond the years that have a text") from None


def _value(condition: Condition, data_type: pa.DataType) -> pa.Scalar | None:
    """Return the value as the column's type; None where texts are compared.

    Raises: TableFormat for a value that is none of that type.
    """
    kind = data_type.value_type if pa.types.is_dictionary(data_type) else data_type
    plain = pa.types.is_binary(kind) or pa.types.is_interval(kind) or pa.types.is_null(kind)
    if condition.operator == "~" or is_text(kind) or plain:
        return None
    try:
        return parsed(pa.array([condition.value], pa.string()), kind)[0]
    except (pa.ArrowException, ValueError):
        raise TableFormat(
            f"{condition.value[:40]!r} is no value of {condition.field!r}, which is "
            f"{type_to_text(data_type)}",
            hint="write dates as 2024-12-31, times as 2024-12-31T12:00:00",
        ) from None
