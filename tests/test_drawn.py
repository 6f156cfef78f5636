"""Characters that nobody sees, by the database that Python has and the property that it lacks."""

from __future__ import annotations

import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from client.drawn import BLANK, IGNORABLE, alike, drawn

LISTED = {code for first, last in IGNORABLE for code in range(first, last + 1)}

WITH_A_LOOK = {
    # Prepended_Concatenation_Mark, and what Unicode takes out of the property by name.
    *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD,
    *range(0xFFF9, 0xFFFC), *range(0x13430, 0x13441),
}  # fmt: skip
"""Format characters that are drawn, and so not ignorable."""

OTHERS = ("VARIATION SELECTOR", "FILLER", "GRAPHEME JOINER", "VOWEL INHERENT")


def test_the_table_has_as_many_code_points_as_the_database_says() -> None:
    assert len(LISTED) == 4_174
    assert list(IGNORABLE) == sorted(IGNORABLE)


def test_the_table_has_every_format_character_that_is_not_drawn() -> None:
    formats = {
        code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"
    }
    assert formats - LISTED <= WITH_A_LOOK
    assert not LISTED & WITH_A_LOOK


def test_the_table_has_nothing_else_but_what_is_called_so() -> None:
    for code in LISTED:
        kind, name = unicodedata.category(chr(code)), unicodedata.name(chr(code), "")
        assert kind in ("Cf", "Cn") or any(each in name for each in OTHERS), name


def test_the_table_has_every_selector_and_filler() -> None:
    named = {
        code
        for code in range(sys.maxunicode + 1)
        if any(each in unicodedata.name(chr(code), "") for each in OTHERS)
        and unicodedata.category(chr(code)) != "Po"  # lines and dots that fill gaps
    }
    assert named - LISTED == {ord(each) for each in BLANK if "FILLER" in unicodedata.name(each)}


@given(st.text(st.sampled_from([chr(code) for code in LISTED if code < 0xE0000] + [*BLANK, " "])))
def test_no_text_of_them_alone_is_drawn(text: str) -> None:
    assert [is_drawn for is_drawn in drawn(text) if is_drawn] == [True] * text.count(" ")


@given(st.text())
def test_what_has_no_such_character_is_drawn_if_it_can_be_printed(text: str) -> None:
    for each, is_drawn in zip(text, drawn(text), strict=True):
        if ord(each) not in LISTED and each not in BLANK:
            assert is_drawn == (each.isprintable() or unicodedata.category(each) == "Zs")


SPACES = "".join(chr(code) for code in range(0x3001) if unicodedata.category(chr(code)) == "Zs")


@given(st.text(), st.text(), st.text(SPACES, min_size=1), st.text("\u200b\u2800\xad", max_size=2))
def test_names_that_look_the_same_are_alike(one: str, two: str, spaces: str, unseen: str) -> None:
    name = f"{one} {two}"
    assert alike(f"{spaces}{one}{spaces}{unseen}{two}{spaces}") == alike(name)
    assert alike(unicodedata.normalize("NFD", name)) == alike(unicodedata.normalize("NFC", name))


def test_names_that_somebody_can_tell_apart_are_not_alike() -> None:
    told_apart = ["Bo", "B o", "Bob", "Bö", "B\u043e", "", "0"]
    assert len({alike(each) for each in told_apart}) == len(told_apart)
    assert alike("STRASSE\u3000 Lynx") == alike("straße lynx")
