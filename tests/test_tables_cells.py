from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.columns import Cells
from client.tables import cells_to_array, column_cells, type_from_text
from protocol.errors import MalformedMessage
from protocol.limits import LIMITS
from tests.table_values import BINARY_TYPES, DICTIONARIES, TEXT_TYPES, VALUES, array_of, columns

FEW = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
VARIABLE = (*TEXT_TYPES, *BINARY_TYPES)


def cells_of(cells: Cells) -> list[bytes | None]:
    return [cells.cell(index) for index in range(cells.count)]


@pytest.mark.parametrize("type_text", [*VALUES, *DICTIONARIES])
@given(data=st.data())
@FEW
def test_every_type_goes_in_and_comes_back_to_the_bit(type_text: str, data: st.DataObject) -> None:
    array, expected = data.draw(columns(type_text))
    cells = column_cells(array)
    assert cells_of(cells) == expected
    back = cells_to_array(cells, type_text)
    back.validate(full=True)
    assert back.type == type_from_text(type_text)
    assert cells_of(column_cells(back)) == expected


@pytest.mark.parametrize("type_text", VARIABLE)
def test_text_and_binary_are_string_like(type_text: str) -> None:
    assert column_cells(array_of(type_text, [b"a"])).string_like


@pytest.mark.parametrize("type_text", sorted(set(VALUES) - set(VARIABLE)))
def test_fixed_widths_are_not_string_like(type_text: str) -> None:
    assert not column_cells(array_of(type_text, [None])).string_like


def test_the_bytes_are_those_of_the_specification() -> None:
    assert cells_of(column_cells(pa.array([1, None, -2], pa.int32()))) == [
        b"\x01\0\0\0",
        None,
        b"\xfe\xff\xff\xff",
    ]
    assert cells_of(column_cells(pa.array([True, False]))) == [b"\1", b"\0"]
    assert cells_of(column_cells(pa.array(["é", ""]))) == ["é".encode(), b""]
    interval = pa.array([(1, 2, 3)], pa.month_day_nano_interval())
    assert cells_of(column_cells(interval)) == [b"\x01\0\0\0" + b"\x02\0\0\0" + b"\x03" + bytes(7)]


def test_a_null_that_keeps_bytes_in_arrow_has_none_in_cells() -> None:
    offsets = pa.py_buffer(np.array([0, 2, 5, 6], np.int32))
    bitmap = pa.py_buffer(bytes([0b101]))
    array = pa.Array.from_buffers(pa.string(), 3, [bitmap, offsets, pa.py_buffer(b"abGHOz")])
    cells = column_cells(array)
    assert cells_of(cells) == [b"ab", None, b"z"]
    assert bytes(cells.values) == b"abz"


def test_a_null_inside_a_dictionary_is_a_null() -> None:
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["x", None]))
    assert cells_of(column_cells(array)) == [b"x", None, None]


def test_a_slice_shares_only_its_own_bytes() -> None:
    array = pa.array(["secret", "shown", "hidden"])[1:2]
    assert bytes(column_cells(array).values) == b"shown"


def test_an_empty_array_without_offsets_has_no_cells() -> None:
    array = pa.Array.from_buffers(pa.string(), 0, [None, None, pa.py_buffer(b"")])
    assert column_cells(array).count == 0


def one(cell: bytes, *, string_like: bool = False) -> Cells:
    return Cells.from_list([cell], string_like=string_like)


@pytest.mark.parametrize(
    ("type_text", "cell"),
    [
        ("int32", b"\0\0\0"),
        ("int32", b"\0\0\0\0\0"),
        ("int8", b""),
        ("bool", b"\2"),
        ("bool", b""),
        ("string", b"\xff"),
        ("large_string", b"\xed\xa0\x80"),
        ("string_view", b"a\x80"),
        ("date64", (1).to_bytes(8, "little")),
        ("time32[s]", (86_400).to_bytes(4, "little")),
        ("decimal32(2,0)", (100).to_bytes(4, "little")),
        ("fixed_size_binary[3]", b"ab"),
        ("null", b""),
        ("dictionary<values=string, indices=int8, ordered=0>", b"\xff"),
        ("dictionary<values=int16, indices=int8, ordered=0>", b"\xff"),
        ("list<int8>", b"\0"),
        ("", b""),
    ],
)
def test_a_lying_writers_cells_are_malformed(type_text: str, cell: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        cells_to_array(one(cell), type_text)
    assert caught.value.__cause__ is None


def test_more_distinct_values_than_the_indices_count_are_malformed() -> None:
    text = "dictionary<values=int16, indices=int8, ordered=0>"
    cells = [number.to_bytes(2, "little") for number in range(129)]
    with pytest.raises(MalformedMessage):
        cells_to_array(Cells.from_list(cells, string_like=False), text)
    assert len(cells_to_array(Cells.from_list(cells[:128], string_like=False), text)) == 128


def test_more_text_than_narrow_offsets_count_is_malformed() -> None:
    # Read-only zeros that take no memory: one byte seen 2 GiB times.
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (2**31,), (0,))
    cells = Cells(huge, np.array([0, 2**31]), np.array([True]), True)
    with pytest.raises(MalformedMessage):
        cells_to_array(cells, "string")


@given(st.lists(st.none() | st.binary(max_size=9), max_size=5), st.sampled_from([*VALUES]))
def test_whatever_opened_is_an_array_or_malformed(cells: list[bytes | None], text: str) -> None:
    try:
        array = cells_to_array(Cells.from_list(cells, string_like=True), text)
    except MalformedMessage:
        return
    array.validate(full=True)
    assert cells_of(column_cells(array)) == cells


def test_the_largest_cell_goes_through() -> None:
    large = one(b"x" * LIMITS.cell_bytes, string_like=True)
    assert cells_of(column_cells(cells_to_array(large, "string"))) == [b"x" * LIMITS.cell_bytes]
