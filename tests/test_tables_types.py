from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.tables import TableType, type_from_text, type_to_text
from client.tables.type_texts import PLAIN, is_type_text
from protocol.limits import LIMITS
from tests.table_values import DICTIONARIES, VALUES

EXAMPLES = {
    "float16": pa.float16(),
    "string": pa.string(),
    "date32": pa.date32(),
    "time64[ns]": pa.time64("ns"),
    "timestamp[ms]": pa.timestamp("ms"),
    "timestamp[us, tz=Europe/Berlin]": pa.timestamp("us", "Europe/Berlin"),
    "timestamp[ns, tz=-03:00]": pa.timestamp("ns", "-03:00"),
    "fixed_size_binary[16]": pa.binary(16),
    "decimal128(38,10)": pa.decimal128(38, 10),
    "decimal256(76,-5)": pa.decimal256(76, -5),
    "dictionary<values=string, indices=int8, ordered=1>": pa.dictionary(
        pa.int8(), pa.string(), ordered=True
    ),
    "dictionary<values=timestamp[s, tz=UTC], indices=uint32, ordered=0>": pa.dictionary(
        pa.uint32(), pa.timestamp("s", "UTC")
    ),
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_type_has_the_text_of_the_grammar(text: str) -> None:
    assert type_to_text(EXAMPLES[text]) == text
    assert type_from_text(text) == EXAMPLES[text]


@pytest.mark.parametrize("text", [*VALUES, *DICTIONARIES])
def test_every_text_comes_back(text: str) -> None:
    assert type_to_text(type_from_text(text)) == text


def test_every_plain_text_has_its_type() -> None:
    for text in PLAIN:
        assert type_to_text(type_from_text(text)) == text


NOT_TYPES = [
    "",
    "int",
    "Int8",
    " int8",
    "int8\n",
    "int24",
    "utf8",
    "list<item: int8>",
    "struct<a: int8>",
    "time32[us]",
    "time64[s]",
    "timestamp",
    "timestamp[us,tz=UTC]",
    "timestamp[us, tz=]",
    "timestamp[us, tz=a b]",
    "timestamp[us, tz=é]",
    "timestamp[us, tz=" + "a" * 65 + "]",
    "fixed_size_binary[0]",
    "fixed_size_binary[08]",
    "fixed_size_binary[-1]",
    f"fixed_size_binary[{LIMITS.cell_bytes + 1}]",
    "fixed_size_binary[99999999]",
    "decimal128(39,0)",
    "decimal128(0,0)",
    "decimal128(38, 0)",
    "decimal128(38,-0)",
    "decimal128(38,01)",
    "decimal32(10,0)",
    "decimal16(1,0)",
    "decimal128(٣,0)",
    "dictionary<values=int8, indices=float32, ordered=0>",
    "dictionary<values=int8, indices=int8, ordered=2>",
    "dictionary<values=int8, indices=int8>",
    "dictionary<values=list, indices=int8, ordered=0>",
    "dictionary<values=dictionary<values=int8, indices=int8, ordered=0>, indices=int8, ordered=0>",
    "dictionary<values=" + "x" * 300 + ", indices=int8, ordered=0>",
]


@pytest.mark.parametrize("text", NOT_TYPES)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(TableType):
        type_from_text(text)


@given(st.text(max_size=40) | st.sampled_from([*VALUES, *DICTIONARIES]).map(str.swapcase))
def test_what_parses_has_one_text(text: str) -> None:
    try:
        data_type = type_from_text(text)
    except TableType:
        return
    assert type_to_text(data_type) == text


@pytest.mark.parametrize(
    "data_type",
    [
        pa.list_(pa.int8()),
        pa.large_list(pa.string()),
        pa.list_(pa.int8(), 3),
        pa.list_view(pa.int8()),
        pa.struct([("a", pa.int8())]),
        pa.map_(pa.string(), pa.int8()),
        pa.dense_union([pa.field("a", pa.int8())]),
        pa.run_end_encoded(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.list_(pa.int8())),
        pa.dictionary(pa.int8(), pa.dictionary(pa.int8(), pa.string())),
        pa.uuid(),
        pa.binary(0),
        pa.decimal128(38, 2000),
        pa.timestamp("s", "no such, zone"),
    ],
    ids=str,
)
def test_types_that_cells_cannot_hold_name_their_column(data_type: pa.DataType) -> None:
    with pytest.raises(TableType, match="column 'tags'") as caught:
        type_to_text(data_type, column="tags")
    assert caught.value.hint


_PIECES = st.sampled_from([
    *EXAMPLES, *NOT_TYPES, "dictionary<values=", ", indices=int8, ordered=0>", "decimal", "32",
    "(", ")", "9", "10", "76", ",", "-1", "0", "timestamp[", "us", "]", ", tz=", "UTC",
    "fixed_size_binary[",
])  # fmt: skip


@given(st.one_of(_PIECES, st.lists(_PIECES, max_size=7).map("".join)))
def test_a_text_is_a_types_exactly_if_a_type_can_be_made_of_it(text: str) -> None:
    try:
        made = type_from_text(text)
    except TableType:
        assert not is_type_text(text)
    else:
        assert is_type_text(text)
        assert type_to_text(made) == text


@pytest.mark.parametrize("bits", [32, 64, 128, 256])
@pytest.mark.parametrize("digits", range(1, 100))
def test_a_decimal_has_as_many_digits_as_arrow_allows(bits: int, digits: int) -> None:
    try:
        getattr(pa, f"decimal{bits}")(digits, 0)
    except ValueError:
        allowed = False
    else:
        allowed = True
    assert is_type_text(f"decimal{bits}({digits},0)") is allowed
