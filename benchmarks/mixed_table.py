"""The table that is measured: ten fields as a customer list has them, the same for everyone.

Ids, names, telephone numbers, mail, addresses, accounts, amounts, dates, few-valued cities, and
notes of which every third is null: about 20 bytes a cell. A longer table begins with the rows
of a shorter one.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from protocol.blocks import FieldClass

SEED: Final = 20_251_101
NULL_TEXT: Final = ""

CLASSES: Final = {
    "customer": FieldClass.GENERAL,
    "name": FieldClass.GENERAL,
    "telephone": FieldClass.SENSITIVE,
    "email": FieldClass.SENSITIVE,
    "address": FieldClass.SENSITIVE,
    "city": FieldClass.GENERAL,
    "account": FieldClass.CORE,
    "spent": FieldClass.GENERAL,
    "since": FieldClass.GENERAL,
    "note": FieldClass.GENERAL,
}
"""Each column's class, in the order of the columns."""

_FIRST: Final = ("Ada", "Bao", "Chiara", "Dmitri", "Esperanza", "Fatima", "Gwen", "Haruto", "Ines")
_LAST: Final = ("Abara", "Bergström", "Castellanos", "Di Lorenzo", "Eze", "Fitzgerald", "Guo")
_STREETS: Final = (
    "Harbour Street",
    "Via dei Tigli",
    "Quai du Commerce",
    "Lindenallee",
    "Mill Lane",
)
_CITIES: Final = (
    "Göteborg, Sweden",
    "Shenzhen, China",
    "Milano, Italy",
    "Lagos, Nigeria",
    "Saint-Étienne, France",
    "Cork, Ireland",
)
_NOTES: Final = ("prefers to be called", "leave with the neighbour", "invoice by post", "pays late")


def write_mixed_csv(path: Path, records: int) -> None:
    """Write the table as CSV, UTF-8; an empty cell is a null."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(CLASSES)
        writer.writerows(mixed_rows(records))


def mixed_rows(records: int, seed: int = SEED) -> Iterator[tuple[str, ...]]:
    """Draw rows of invented customers."""
    draw = random.Random(seed)
    return (_row(draw, number) for number in range(1, records + 1))


def _row(draw: random.Random, number: int) -> tuple[str, ...]:
    first, last = draw.choice(_FIRST), draw.choice(_LAST)
    some = draw.randrange(10**9)
    return (
        f"C{number:09d}-{some % 97:02d}",
        f"{first} {last}",
        f"+1 555 {some % 1000:03d} {some // 1000 % 10_000:04d}",
        f"{first}.{last}.{some % 100_000}@example.com".replace(" ", "-").lower(),
        f"{draw.choice(_STREETS)} {some % 400 + 1}, flat {some % 31 + 1}",
        draw.choice(_CITIES),
        f"XX{some % 89 + 10} {some:09d} {draw.randrange(10**9):09d}",
        f"{some % 1_000_000 / 100:.2f}",
        (datetime(2005, 1, 1) + timedelta(minutes=some % 9_999_991)).isoformat(" ", "minutes"),
        NULL_TEXT if some % 3 == 0 else f"{draw.choice(_NOTES)}, as agreed on call {some % 5_000}",
    )
