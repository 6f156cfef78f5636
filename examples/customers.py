"""The example table: invented customers of a shop, the same bytes wherever it is generated.

    python -m examples.customers                        # writes examples/customers.csv anew
    python -m examples.customers --rows 600000 --csv big.csv
    python -m examples.customers --parquet customers.parquet

Nobody in it exists. Resident ids carry the code of a whole city where a real one carries a
county's, phone numbers begin where no operator's do or lie in ranges kept for fiction, cards
have the prefixes of payment tests, and mail goes to reserved domains. Check digits are right,
so validators see what they would see in a real table.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeVar

import click
import pyarrow as pa
import pyarrow.parquet as pq

T = TypeVar("T")

ROWS: Final = 3_000
CSV_PATH: Final = Path(__file__).with_name("customers.csv")

CLASSES: Final = {
    "customer_no": "general",
    "name": "general",
    "gender": "general",
    "birthday": "sensitive",
    "national_id": "core",
    "phone": "sensitive",
    "email": "sensitive",
    "city": "general",
    "address": "sensitive",
    "bank_card": "core",
    "member_level": "general",
    "orders": "general",
    "total_spent": "general",
    "last_order": "general",
    "note": "general",
}
"""Which class each column belongs to, in the order of the columns."""

_SEED: Final = 20_240_630
_TODAY: Final = date(2024, 6, 30)


@dataclass(frozen=True, slots=True)
class Customer:
    """One row; None is an empty cell in CSV and a null in Parquet."""

    customer_no: str
    name: str
    gender: str | None
    birthday: date | None
    national_id: str | None
    phone: str | None
    email: str | None
    city: str
    address: str | None
    bank_card: str | None
    member_level: str | None
    orders: int
    total_spent: Decimal
    last_order: date | None
    note: str | None


def customers(rows: int = ROWS, seed: int = _SEED) -> Iterator[Customer]:
    """Draw `rows` customers; a longer table begins with the rows of a shorter one."""
    draw = _Draw(seed)
    for number in range(1, rows + 1):
        make = _chinese if draw.chance(0.7) else _latin
        yield make(draw, f"C{number:07d}")


def csv_bytes(table: Iterable[Customer]) -> bytes:
    """Return the table as CSV: UTF-8, a header row, line feeds, quotes only where needed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CLASSES)
    writer.writerows(astuple(customer) for customer in table)
    return text.getvalue().encode()


def parquet_table(table: Iterable[Customer]) -> pa.Table:
    """Return the table typed: dates, integers, decimals with two places, and real nulls."""
    rows = list(table)
    types = {
        "birthday": pa.date32(),
        "orders": pa.int32(),
        "total_spent": pa.decimal128(12, 2),
        "last_order": pa.date32(),
    }
    columns = {
        field.name: pa.array(
            [getattr(row, field.name) for row in rows], types.get(field.name, pa.string())
        )
        for field in fields(Customer)
    }
    return pa.table(columns)


@click.command()
@click.option("--rows", default=ROWS, show_default=True, type=click.IntRange(min=0))
@click.option("--csv", "csv_path", default=CSV_PATH, type=click.Path(path_type=Path))
@click.option("--parquet", "parquet_path", type=click.Path(path_type=Path), help="Instead of CSV.")
def main(rows: int, csv_path: Path, parquet_path: Path | None) -> None:
    """Write the example table of invented customers."""
    if parquet_path is None:
        csv_path.write_bytes(csv_bytes(customers(rows)))
    else:
        pq.write_table(parquet_table(customers(rows)), parquet_path)
    click.echo(f"{rows} customers in {parquet_path or csv_path}")


# --- drawing


class _Draw:
    """Draws by `Random.random` only: the one method whose sequence Python promises to keep."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def between(self, least: int, most: int) -> int:
        return least + int(self._random() * (most - least + 1))

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.between(0, len(choices) - 1)]

    def digits(self, count: int) -> str:
        return "".join(str(self.between(0, 9)) for _ in range(count))

    def day(self, first: date, last: date) -> date:
        return first + timedelta(days=self.between(0, (last - first).days))

    def unless_empty(self, value: T, empty: float) -> T | None:
        return None if self.chance(empty) else value


def _chinese(draw: _Draw, customer_no: str) -> Customer:
    gender = draw.pick("FM")
    family, given = draw.pick(_FAMILIES), draw.pick(_GIVEN[gender])
    name = family + given + (draw.pick(_SECOND) if draw.chance(0.6) else "")
    if draw.chance(0.03):
        name = draw.pick(_RARE_NAMES)
    city, code = draw.pick(_CITIES)
    birthday = draw.day(date(1945, 1, 1), date(2005, 12, 31))
    street = f"{draw.pick(_STREETS)}{draw.between(1, 999)}号"
    flat = f"{draw.between(1, 28)}栋{draw.between(101, 3304)}室" if draw.chance(0.8) else ""
    phone = f"100{draw.digits(8)}"
    return _customer(
        draw,
        customer_no=customer_no,
        name=name,
        gender=gender,
        birthday=birthday,
        national_id=draw.unless_empty(_resident_id(draw, code, birthday, gender), 0.04),
        phone=f"+86 {phone[:3]} {phone[3:7]} {phone[7:]}" if draw.chance(0.1) else phone,
        mailbox=f"{draw.pick(_MAILBOXES)}{draw.between(1, 9999)}",
        city=city,
        address=f"{city}{street}{flat}",
        bank_card=_with_luhn_digit("620000" + draw.digits(12)),
        notes=_CHINESE_NOTES,
    )


def _latin(draw: _Draw, customer_no: str) -> Customer:
    gender = draw.pick("FM")
    first, last = draw.pick(_FIRST_NAMES[gender]), draw.pick(_LAST_NAMES)
    city, phone = draw.pick(_LATIN_CITIES)
    passport = f"{draw.pick('EGKPX')}{draw.digits(8)}"
    address = f"{draw.between(1, 480)} {draw.pick(_LATIN_STREETS)}, {city}"
    return _customer(
        draw,
        customer_no=customer_no,
        name=f"{first} {last}",
        gender=gender,
        birthday=draw.day(date(1945, 1, 1), date(2005, 12, 31)),
        national_id=draw.unless_empty(passport, 0.4),
        phone=phone + draw.digits(2),
        mailbox=f"{draw.pick(_MAILBOXES)}.{draw.between(1, 999)}",
        city=city,
        address=f"Flat {draw.between(1, 60)}, {address}" if draw.chance(0.3) else address,
        bank_card=_with_luhn_digit("400000" + draw.digits(9)),
        notes=_LATIN_NOTES,
    )


def _customer(
    draw: _Draw,
    *,
    customer_no: str,
    name: str,
    gender: str,
    birthday: date,
    national_id: str | None,
    phone: str,
    mailbox: str,
    city: str,
    address: str,
    bank_card: str,
    notes: Sequence[str],
) -> Customer:
    orders = 0 if draw.chance(0.12) else draw.between(1, 60)
    spent = sum(draw.between(990, 480_000) for _ in range(orders))
    return Customer(
        customer_no=customer_no,
        name=name,
        gender=draw.unless_empty(gender, 0.05),
        birthday=draw.unless_empty(birthday, 0.06),
        national_id=national_id,
        phone=draw.unless_empty(phone, 0.03),
        email=draw.unless_empty(f"{mailbox}@{draw.pick(_DOMAINS)}", 0.15),
        city=city,
        address=draw.unless_empty(address, 0.05),
        bank_card=draw.unless_empty(bank_card, 0.2),
        member_level=draw.unless_empty(draw.pick(_LEVELS), 0.1),
        orders=orders,
        total_spent=Decimal(spent).scaleb(-2).quantize(Decimal("0.01")),
        last_order=draw.day(date(2019, 1, 1), _TODAY) if orders else None,
        note=draw.pick(notes) if draw.chance(0.22) else None,
    )


def _resident_id(draw: _Draw, code: str, birthday: date, gender: str) -> str:
    """Return 18 characters: place, birthday, a number odd for men, check digit (mod 11-2)."""
    number = draw.between(0, 499) * 2 + (gender == "M")
    digits = f"{code}{birthday:%Y%m%d}{number:03d}"
    weighted = sum(int(digit) * 2 ** (17 - place) for place, digit in enumerate(digits))
    return digits + "10X98765432"[weighted % 11]


def _with_luhn_digit(digits: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return digits + str(-total % 10)


# --- what names, places and notes are drawn from

_FAMILIES: Final = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧"
_GIVEN: Final = {
    "F": "芳娜敏静丽艳娟霞秀玲桂英兰红梅雪琳慧颖洁",
    "M": "伟强磊军勇杰涛明超刚平辉鹏浩宇轩博文斌峰",
}
_SECOND: Final = "子梓雨欣思佳宁安晨阳乐言一诺然嘉怡铭远"
_RARE_NAMES: Final = (
    "欧阳文澜",
    "司马相宜",
    "阿依古丽·买买提",
    "扎西多吉",
    "𠮷田𣇉",
    "㛃䶮",
    "尉迟恭安",
)
_CITIES: Final = (
    ("北京市", "110100"),
    ("上海市", "310100"),
    ("广州市", "440100"),
    ("深圳市", "440300"),
    ("杭州市", "330100"),
    ("成都市", "510100"),
    ("武汉市", "420100"),
    ("南京市", "320100"),
    ("西安市", "610100"),
    ("重庆市", "500100"),
)
_STREETS: Final = (
    "长青路",
    "望江街",
    "人民东路",
    "桂花巷",
    "青年大道",
    "湖滨路",
    "科技二街",
    "老槐树胡同",
)
_FIRST_NAMES: Final = {
    "F": ("Amélie", "Grace", "Ngọc", "Zoë", "Ingrid", "María José", "Aoife", "Łucja", "Hannah"),
    "M": ("Søren", "Liam", "José", "Jürgen", "Tomáš", "Kwame", "Owen", "İbrahim", "Pierre-Yves"),
}
_LAST_NAMES: Final = (
    "O'Neill",
    "Smith",
    "García López",
    "Müller",
    "Ångström",
    "Nguyễn",
    "Dvořák",
    "van der Berg",
    "Mac Giolla",
    "Smith-Jones",
    "Œuvrard",
    "Mensah, Jr.",
)
_LATIN_CITIES: Final = (
    ("London", "+44 20 7946 09"),
    ("Leeds", "+44 113 496 00"),
    ("Belfast", "+44 28 9649 60"),
    ("Seattle", "+1 206-555-01"),
    ("Boston", "+1 617-555-01"),
    ("Montréal", "+1 514-555-01"),
    ("Sydney", "+61 2 5550 10"),
)
_LATIN_STREETS: Final = ("High Street", "Église Lane", "Mill Road", 'The "Old" Quay', "Ash Grove")
_MAILBOXES: Final = (
    "blue.heron",
    "teapot",
    "lihua",
    "xiaoming",
    "nightowl",
    "m.w",
    "kaffee",
    "tuzi",
)
_DOMAINS: Final = ("example.com", "example.org", "example.net", "mail.example", "shop.example")
_LEVELS: Final = ("bronze", "bronze", "bronze", "silver", "silver", "gold", "platinum")
_CHINESE_NOTES: Final = (
    "老客户",
    "投诉过物流,已补偿",
    "生日送 🎂,不要打电话",
    "地址有误\n以电话确认为准",
    '称呼"王老师"',
    "发票抬头:个人",
    "VIP客户,周末配送",
    "👨‍👩‍👧 家庭装 ×2",
    "0012",
    " ",
)
_LATIN_NOTES: Final = (
    "prefers mail",
    "Leave with neighbour, no. 12",
    'Says "call me Al"',
    "Moved house\nsee ticket, second line",
    "allergic to nuts 🥜",
    "VIP; handle with care",
    "=SUM(A1:A9)",
    "NULL",
    "naïve café — déjà vu",
    "1e5",
)


if __name__ == "__main__":
    main()
