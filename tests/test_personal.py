"""What columns look like: by words of their names, by shapes and check digits of their values."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.personal import is_card_number, is_chinese_id, is_iban, likeness_of, likenesses
from client.tables import open_source
from client.vault import Vault
from protocol.blocks import FieldClass
from tests.deals import a_vault

CORE, SENSITIVE, GENERAL = FieldClass.CORE, FieldClass.SENSITIVE, FieldClass.GENERAL
CARDS = ["4111111111111111", "5500 0000 0000 0004", "3782-822463-10005", "6011111111111117"]

NAMES = [
    ("national_id", "identity numbers"), ("IDCard", "identity numbers"),
    ("id no", "identity numbers"), ("PassportNumber", "identity numbers"),
    ("SSN", "identity numbers"), ("\u8eab\u4efd\u8bc1\u53f7", "identity numbers"),
    ("\u8bc1\u4ef6\u53f7\u7801", "identity numbers"),
    ("bankCardNo", "bank cards or accounts"), ("IBAN", "bank cards or accounts"),
    ("credit_card", "bank cards or accounts"), ("cvv2", "bank cards or accounts"),
    ("\u94f6\u884c\u5361\u53f7", "bank cards or accounts"),
    ("\u5f00\u6237\u8d26\u53f7", "bank cards or accounts"),
    ("Password", "passwords or secrets"), ("pwd", "passwords or secrets"),
    ("\u767b\u5f55\u5bc6\u7801(MD5)", "passwords or secrets"),
    ("phone2", "phone numbers"), ("Mobile", "phone numbers"),
    ("\u624b\u673a\u53f7\u7801", "phone numbers"), ("e-mail", "mail addresses"),
    ("Email Address", "mail addresses"), ("birthDate", "days of birth"), ("DOB", "days of birth"),
    ("\u51fa\u751f\u65e5\u671f", "days of birth"), ("home_address", "addresses of people"),
    ("\u6536\u8d27\u5730\u5740", "addresses of people"),
    ("\uff30\uff48\uff4f\uff4e\uff45", "phone numbers"),
]  # fmt: skip
PLAIN = [
    "id", "customer_id", "name", "order_no", "cardinality", "ip_address", "token_count", "gender",
    "city", "note", "", "\u4f1a\u5458\u5361\u53f7", "\u59d3\u540d", "passenger", "idle no more",
]  # fmt: skip


@pytest.mark.parametrize(("name", "what"), NAMES)
def test_a_name_tells_by_its_words_in_two_languages(name: str, what: str) -> None:
    found = likeness_of(name, [])
    assert found is not None
    assert (found.what, found.by) == (what, "its name")
    expected = CORE if what.split()[0] in ("identity", "bank", "passwords") else SENSITIVE
    assert found.least is expected


@pytest.mark.parametrize("name", PLAIN)
def test_a_name_that_only_holds_such_letters_tells_nothing(name: str) -> None:
    assert likeness_of(name, ["1", "2", "3"]) is None


def chinese_id(first: str) -> str:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(first, weights, strict=True))
    return first + "10X98765432"[total % 11]


DAYS = st.dates(date(1900, 1, 1), date(2099, 12, 31))


@given(st.integers(110_000, 659_999), DAYS, st.integers(0, 999))
def test_identity_numbers_have_a_day_and_a_check_digit(place: int, day: date, n: int) -> None:
    number = chinese_id(f"{place}{day:%Y%m%d}{n:03}")
    assert is_chinese_id(number)
    assert is_chinese_id(number.lower())
    others = [each for each in "0123456789X" if each != number[-1]]
    assert not any(is_chinese_id(number[:-1] + each) for each in others)
    assert not is_chinese_id(chinese_id(number[:10] + "1332" + number[14:17]))
    assert not is_chinese_id(number[:-1])


@given(st.integers(10**11, 10**17 - 1))
def test_of_ten_last_digits_one_is_luhns(first: int) -> None:
    body = f"4{first}"
    assert sum(is_card_number(f"{body}{digit}") for digit in range(10)) == 1


def test_cards_and_accounts_have_their_check_digits() -> None:
    assert all(is_card_number(card.replace(" ", "").replace("-", "")) for card in CARDS)
    for wrong in ("4111111111111112", "0000000000000000", "411111111111", "4" * 20, "x"):
        assert not is_card_number(wrong)
    assert is_iban("DE89370400440532013000")
    for wrong in ("DE88370400440532013000", "de89370400440532013000", "DE89", ""):
        assert not is_iban(wrong)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (CARDS, "bank cards or accounts"),
        ([f"={card!r}" for card in CARDS], "bank cards or accounts"),
        (["DE89 3704 0044 0532 0130 00"] * 3, "bank cards or accounts"),
        ([chinese_id("11010119900307123"), "", "\t" + chinese_id("44010619851224002")],
         "identity numbers"),
        (["13800138000", "+8613912345678", "199 1234 5678"], "phone numbers"),
        (["a@b.example", "c@d.example", "e@f.example"], "mail addresses"),
        ([*CARDS, "unknown"], "bank cards or accounts"),
        ([*CARDS, "unknown", "4111111111111112"], None),
        (["4111111111111111", "4111111111111112", "4111111111111113"], None),
        (["10012345678", "20012345678", "30012345678"], None),
        (["", ""], None),
    ],
)  # fmt: skip
def test_values_tell_where_most_of_them_fit(values: list[str], what: str | None) -> None:
    found = likeness_of("x", values)
    assert (found.what if found else None) == what
    assert found is None or found.by == "its values"


def test_check_digits_say_more_than_a_name() -> None:
    told = likeness_of("phone", CARDS)
    assert told is not None
    assert (told.what, told.by) == ("bank cards or accounts", "its values")
    both = likeness_of("card_no", CARDS)
    assert both is not None
    assert both.by == "its name and its values"


def test_a_table_is_looked_at_in_its_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,card no,n\n" + "".join(f"{card},,{at}\n" for at, card in enumerate(CARDS)))
    found = likenesses(open_source(path))
    assert {name: each.by for name, each in found.items()} == {
        "a": "its values", "card no": "its name",
    }  # fmt: skip
    # What can be read once is left to whoever reads it.
    table = pa.table({"a": CARDS, "pwd": ["x"] * 4})
    assert list(likenesses(open_source(table))) == ["pwd"]


def test_values_without_a_text_tell_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    late = pa.array([2**30] * 4, pa.date32())
    pq.write_table(pa.table({"day": late, "n": [1, 2, 3, 4]}), path)
    assert likenesses(open_source(path)) == {}


async def planned(vault: Vault, **said: object) -> dict[str, tuple[str, str | None]]:
    table = pa.table({"card no": CARDS, "phone": ["x"] * 4, "note": ["y"] * 4})
    plan = await vault.plan_upload(table, collection="c", **said)  # type: ignore[arg-type]
    return {each.name: (each.field_class, each.advised) for each in plan.fields}


async def test_it_advises_and_decides_nothing(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (_, vault):
        assert await planned(vault) == {
            "card no": ("sensitive", "core"), "phone": ("sensitive", None),
            "note": ("sensitive", None),
        }  # fmt: skip
        assert await planned(vault, default=GENERAL) == {
            "card no": ("general", "core"), "phone": ("general", "sensitive"),
            "note": ("general", None),
        }  # fmt: skip
        assert (await planned(vault, default=CORE))["card no"] == ("core", None)
        # Whatever somebody gave it, somebody gave it.
        assert (await planned(vault, classes={"card no": GENERAL}))["card no"] == ("general", None)
        await vault.upload(pa.table({"card no": CARDS, "phone": ["x"] * 4, "note": ["y"] * 4}),
                           collection="c")  # fmt: skip
        assert (await vault.collection("c")).fields[0].field_class == "sensitive"
        # What is there keeps its classes, so there is nothing to advise.
        assert (await planned(vault))["card no"] == ("sensitive", None)
