from __future__ import annotations

import csv
import io
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from examples.customers import (
    CLASSES,
    CSV_PATH,
    ROWS,
    Customer,
    csv_bytes,
    customers,
    main,
    parquet_table,
)

RESIDENT_ID = re.compile(r"[0-9]{17}[0-9X]")


@pytest.fixture(scope="module")
def table() -> list[Customer]:
    return list(customers())


@pytest.fixture(scope="module")
def cells() -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(CSV_PATH.read_text(encoding="utf-8")), strict=True))


def test_generating_gives_the_committed_bytes(table: list[Customer]) -> None:
    assert csv_bytes(table) == CSV_PATH.read_bytes(), "run `make table` and look at the difference"


def test_another_seed_gives_another_table_and_more_rows_the_same_start() -> None:
    assert list(customers(5, seed=1)) != list(customers(5))
    assert list(customers(50))[:5] == list(customers(5))


def test_the_csv_holds_every_row_and_the_named_columns(
    table: list[Customer], cells: list[dict[str, str]]
) -> None:
    assert len(table) == len(cells) == ROWS
    assert len({row["customer_no"] for row in cells}) == ROWS
    for row, customer in zip(cells, table, strict=True):
        expected = {name: getattr(customer, name) for name in CLASSES}
        assert row == {n: "" if v is None else str(v) for n, v in expected.items()}


def test_each_column_has_its_class() -> None:
    by_class: dict[str, set[str]] = {}
    for column, name in CLASSES.items():
        by_class.setdefault(name, set()).add(column)
    assert by_class.pop("core") == {"national_id", "bank_card"}
    assert by_class.pop("sensitive") == {"phone", "email", "birthday", "address"}
    assert set(by_class) == {"general"}


def resident_ids(table: list[Customer]) -> list[tuple[str, Customer]]:
    ids = [(row.national_id, row) for row in table if row.national_id is not None]
    return [(text, row) for text, row in ids if RESIDENT_ID.fullmatch(text)]


def check_character(digits: str) -> str:
    """Find the character that makes an ISO 7064 mod 11-2 sum come out as 1, step by step."""
    remainder = 0
    for digit in digits:
        remainder = (remainder + int(digit)) * 2 % 11
    value = (12 - remainder) % 11
    return "X" if value == 10 else str(value)


def test_the_check_character_is_that_of_a_published_example() -> None:
    assert check_character("11010519491231002") == "X"  # the example of GB 11643


def test_resident_ids_check_and_agree_with_birthday_and_gender(table: list[Customer]) -> None:
    found = resident_ids(table)
    assert len(found) > 1_500
    assert {text[-1] for text, _ in found} == set("0123456789X")
    for text, row in found:
        assert text[-1] == check_character(text[:-1])
        born = date.fromisoformat(f"{text[6:10]}-{text[10:12]}-{text[12:14]}")
        assert row.birthday in (None, born)
        assert row.gender in (None, "M" if int(text[16]) % 2 else "F")


def test_no_resident_id_is_one_that_is_issued(table: list[Customer]) -> None:
    # A real one names a county, so its fifth and sixth digit are not both zero.
    assert all(text[4:6] == "00" for text, _ in resident_ids(table))


def luhn_sum(digits: str) -> int:
    pairs = [divmod(int(digit) * (1 + place % 2), 10) for place, digit in enumerate(digits[::-1])]
    return sum(tens + ones for tens, ones in pairs)


def test_bank_cards_pass_the_luhn_check(table: list[Customer]) -> None:
    assert luhn_sum("4111111111111111") % 10 == 0  # the test card that everybody uses
    assert luhn_sum("4111111111111112") % 10 != 0
    cards = [row.bank_card for row in table if row.bank_card is not None]
    assert {(card[:6], len(card)) for card in cards} == {("400000", 16), ("620000", 19)}
    assert all(luhn_sum(card) % 10 == 0 for card in cards)


def test_contacts_reach_nobody(table: list[Customer]) -> None:
    reserved = re.compile(r".+@(example\.(com|org|net)|(mail|shop)\.example)")
    fiction = re.compile(
        r"(\+86 )?100 ?[0-9]{4} ?[0-9]{4}|\+1 [0-9]{3}-555-01[0-9]{2}"
        r"|\+44 (20 7946 09|113 496 00|28 9649 60)[0-9]{2}|\+61 2 5550 10[0-9]{2}"
    )
    assert all(reserved.fullmatch(row.email) for row in table if row.email)
    assert all(fiction.fullmatch(row.phone) for row in table if row.phone)


def test_the_table_is_as_untidy_as_a_real_one(cells: list[dict[str, str]]) -> None:
    everything = [cell for row in cells for cell in row.values()]
    for wanted in (",", '"', "\n", "🎂", "\u200d", "·", "𠮷", "é", "'"):
        assert any(wanted in cell for cell in everything), wanted
    always = {"customer_no", "name", "city", "orders", "total_spent"}
    empty = {name for name in CLASSES if any(row[name] == "" for row in cells)}
    assert empty == set(CLASSES) - always
    assert sum(row["note"] != "" for row in cells) < ROWS / 3


def test_orders_and_spending_agree(table: list[Customer]) -> None:
    for row in table:
        assert (row.orders == 0) == (row.total_spent == 0) == (row.last_order is None)
        assert row.total_spent.as_tuple().exponent == -2
        assert row.total_spent < Decimal(10**10)


def test_the_parquet_form_is_typed_and_has_nulls(table: list[Customer], tmp_path: Path) -> None:
    path = tmp_path / "customers.parquet"
    pq.write_table(parquet_table(table), path)
    read = pq.read_table(path)
    types = {field.name: field.type for field in read.schema}
    special = {
        "birthday": pa.date32(),
        "orders": pa.int32(),
        "total_spent": pa.decimal128(12, 2),
        "last_order": pa.date32(),
    }
    assert types == {name: special.get(name, pa.string()) for name in CLASSES}
    assert [Customer(**row) for row in read.to_pylist()] == table
    assert read["note"].null_count > 0
    assert read["orders"].null_count == 0


def test_the_command_writes_what_was_asked_for(tmp_path: Path) -> None:
    run = CliRunner().invoke
    file = tmp_path / "few.csv"
    assert run(main, ["--rows", "7", "--csv", str(file)]).exit_code == 0
    assert file.read_bytes() == csv_bytes(customers(7))
    typed = tmp_path / "few.parquet"
    assert run(main, ["--rows", "7", "--parquet", str(typed)]).output.startswith("7 customers")
    assert pq.read_table(typed).num_rows == 7
    assert run(main, ["--rows", "-1", "--csv", str(file)]).exit_code == 2
