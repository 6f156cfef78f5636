"""Columns that look like core or sensitive data, by their names and by a look at some values.

It only advises (docs/adr/0022): a class is what somebody says, or what everybody gets. A name is
matched word by word, in English and Chinese; values by their shape, and by the check digit where
there is one, so that order numbers are not taken for cards.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import pyarrow as pa

from client.tables.cells import decoded
from client.tables.source import Source
from client.tables.text_forms import text_form
from protocol.blocks import FieldClass

LOOKED_ROWS: Final = 200
_LEAST_MATCHES: Final = 3
_SHARE: Final = 0.8
_LONGEST: Final = 64
_NAME_LOOKED: Final = 200


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a column looks like, by what, and the least class that such data deserves."""

    what: str
    by: str
    least: FieldClass


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of data: how columns of it are called, and what its values are, where they tell."""

    what: str
    least: FieldClass
    names: re.Pattern[str]
    fits: Callable[[str], bool] | None = None


def likenesses(source: Source) -> dict[str, Likeness]:
    """Return what columns look like, of a table that can be read again by its values too.

    Raises: TableError, for a row among the first that cannot be read.
    """
    first = next(source.batches(LOOKED_ROWS), None) if source.rereadable else None
    found = {}
    for at, column in enumerate(source.columns):
        values = [] if first is None else _some_texts(first.column(at))
        likeness = likeness_of(column.name, values)
        if likeness is not None:
            found[column.name] = likeness
    return found


def likeness_of(name: str, values: Sequence[str]) -> Likeness | None:
    """Return what a column of this name, with these values, looks like; None for nothing known.

    The check digits of its values say more than its name.
    """
    words, filled = _words(name), [value for value in map(_bare, values) if value]
    named = next((kind for kind in _KINDS if kind.names.search(words)), None)
    shaped = next((kind for kind in _KINDS if _mostly(kind, filled)), None)
    kind = shaped or named
    if kind is None:
        return None
    by = [*(["its name"] if named is kind else []), *(["its values"] if shaped is kind else [])]
    return Likeness(kind.what, " and ".join(by), kind.least)


def _mostly(kind: _Kind, values: Sequence[str]) -> bool:
    if kind.fits is None or not values:
        return False
    fitting = sum(map(kind.fits, values))
    return fitting >= max(min(_LEAST_MATCHES, len(values)), _SHARE * len(values))


def _some_texts(column: pa.Array) -> list[str]:
    try:
        texts = text_form(decoded(column)).to_pylist()
    except ValueError:  # a date beyond the years that have a text
        return []
    return [text for text in texts if text and len(text) <= _LONGEST]


def _words(name: str) -> str:
    """Return a name as words in small letters, parted by one blank: `bankCardNo` is three."""
    plain = unicodedata.normalize("NFKC", name[:_NAME_LOOKED])  # patterns look back and forth
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Za-z])(?=\d)", " ", plain)
    return " ".join(re.split(r"[\W_]+", parted.casefold())).strip()


def _bare(value: str) -> str:
    """Return a value without what people and spreadsheets put into numbers."""
    return re.sub(r"[\s'\"=-]", "", unicodedata.normalize("NFKC", value))


# --- values


def is_chinese_id(value: str) -> bool:
    """Say whether a value is an identity number of the PRC: a day of birth, and its check digit."""
    if not re.fullmatch(r"[1-9]\d{16}[\dXx]", value):
        return False
    try:
        date(int(value[6:10]), int(value[10:12]), int(value[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * pow(2, 17 - at, 11) for at, digit in enumerate(value[:17]))
    return "10X98765432"[total % 11] == value[17].upper()


def is_card_number(value: str) -> bool:
    """Say whether a value is the number of a payment card: its length, and Luhn's check digit."""
    if not re.fullmatch(r"[2-9]\d{12,18}", value):
        return False
    doubled = (2 * int(digit) for digit in value[-2::-2])
    return (sum(map(int, value[-1::-2])) + sum(n // 10 + n % 10 for n in doubled)) % 10 == 0


def is_iban(value: str) -> bool:
    """Say whether a value is an IBAN: its form, and its two check digits."""
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", value):
        return False
    return int("".join(str(int(each, 36)) for each in value[4:] + value[:4])) % 97 == 1


def _is_account(value: str) -> bool:
    return is_card_number(value) or is_iban(value)


def _is_phone(value: str) -> bool:
    return re.fullmatch(r"(\+?86)?1[3-9]\d{9}|\+[1-9]\d{7,14}", value) is not None


def _is_mail(value: str) -> bool:
    return re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", value) is not None


_CORE, _SENSITIVE = FieldClass.CORE, FieldClass.SENSITIVE
_KINDS: Final = (
    _Kind(
        "identity numbers",
        _CORE,
        re.compile(
            r"\b(national|citizen|identity|personal) (id|number|no|card)\b|\bid ?(card|no|number)\b"
            r"|\bpassports?\b|\bssn\b|\bsocial security\b|\bdrivers?( s)? licen[cs]e|\btax (id|no)"
            r"|身份证|证件号|护照|社保号|社会保障号|驾驶证|军官证"
        ),
        is_chinese_id,
    ),
    _Kind(
        "bank cards or accounts",
        _CORE,
        re.compile(
            r"\b(bank|credit|debit|payment) ?(card|account|no|number)|\bcard (no|number)\b|\biban\b"
            r"|\baccount (no|number)\b|\bcv[vc]\b"
            r"|银行卡|信用卡|借记卡|(银行|开户|收款|付款).*[账帐]号|(?<!会员)卡号"
        ),
        _is_account,
    ),
    _Kind(
        "passwords or secrets",
        _CORE,
        re.compile(r"\bpass ?(word|wd|phrase|code)s?\b|\bpwd\b|\bapi key\b|\bsecret\b|密码|口令"),
    ),
    _Kind(
        "mail addresses",
        _SENSITIVE,
        re.compile(r"\be ?mails?\b|邮箱|电子邮件"),
        _is_mail,
    ),
    _Kind(
        "phone numbers",
        _SENSITIVE,
        re.compile(
            r"\b(tele|mobile|cell)? ?phones?\b|\b(mobile|tel|telephone)\b|手机|电话|联系方式"
        ),
        _is_phone,
    ),
    _Kind(
        "days of birth",
        _SENSITIVE,
        re.compile(r"\bbirth ?(day|date|dates)?\b|\bdate of birth\b|\bdob\b|出生|生日"),
    ),
    _Kind(
        "addresses of people",
        _SENSITIVE,
        re.compile(r"(?<!\bip )(?<!\bmac )(?<!\bweb )\baddress(es)?\b|\bstreet\b|地址|住址"),
    ),
)
