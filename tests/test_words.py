from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mnemonic import Mnemonic

from client.words import (
    compare_words,
    normalise_words,
    pair_words,
    words_from_bits,
)
from protocol.errors import ApiMisuse, MalformedMessage, PinMismatch
from protocol.labels import Label, digest

VAULT, ONE, OTHER = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
LIST = Mnemonic("english").wordlist
BITS = st.binary(min_size=17, max_size=17)


def test_the_list_is_the_published_one() -> None:
    # Another list would show two people different words for the same identities.
    joined = "\n".join(LIST) + "\n"
    published = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
    assert hashlib.sha256(joined.encode()).hexdigest() == published


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (bytes(17), " ".join(["abandon"] * 12)),
        (bytes([255]) * 17, " ".join(["zoo"] * 12)),
        (bytes([0, 32]) + bytes(15), " ".join(["ability"] + ["abandon"] * 11)),
        (bytes(16) + bytes([0b0001_0000]), " ".join(["abandon"] * 11 + ["ability"])),
        (bytes(16) + bytes([0b0000_1111]), " ".join(["abandon"] * 12)),
    ],
)
def test_words_are_eleven_bits_each_from_the_top(value: bytes, words: str) -> None:
    assert words_from_bits(value) == words


@given(BITS)
def test_words_tell_all_132_bits(value: bytes) -> None:
    number = 0
    for word in words_from_bits(value).split():
        number = number << 11 | LIST.index(word)
    assert number == int.from_bytes(value, "big") >> 4


@pytest.mark.parametrize("size", [0, 16, 18])
def test_bits_of_another_size_are_our_own_bug(size: int) -> None:
    with pytest.raises(ApiMisuse):
        words_from_bits(bytes(size))


def test_both_sides_see_the_same_words() -> None:
    words = pair_words(VAULT, ONE, OTHER)
    assert words == pair_words(VAULT, OTHER, ONE)
    assert words == words_from_bits(digest(Label.WORDS, VAULT, ONE, OTHER)[:17])


@pytest.mark.threat("K1")
def test_words_bind_the_vault_and_both_members() -> None:
    changed = bytes([9]) * 32
    seen = {
        pair_words(VAULT, ONE, OTHER),
        pair_words(changed, ONE, OTHER),
        pair_words(VAULT, changed, OTHER),
        pair_words(VAULT, ONE, changed),
    }
    assert len(seen) == 4


@pytest.mark.parametrize(
    "ids",
    [(VAULT, ONE, ONE), (VAULT[:31], ONE, OTHER), (VAULT, ONE[:31], OTHER), (VAULT, ONE, b"")],
)
def test_ids_of_another_size_or_the_same_are_our_own_bug(ids: tuple[bytes, bytes, bytes]) -> None:
    with pytest.raises(ApiMisuse):
        pair_words(*ids)


@given(BITS, st.sampled_from([" ", "\n", ", ", "-", "  \t", "\u3000"]), st.data())
def test_what_people_type_is_understood(value: bytes, separator: str, data: st.DataObject) -> None:
    words = words_from_bits(value)
    typed = []
    for word in words.split():
        short = word[: data.draw(st.integers(4, 8))]
        typed.append(data.draw(st.sampled_from([short, short.upper(), short.title()])))
    given_text = separator.join(typed)
    assert normalise_words(f" {given_text}\n") == tuple(words.split())
    compare_words(words, given_text)


def test_a_whole_short_word_is_not_taken_for_a_longer_one() -> None:
    assert normalise_words("act " * 12) == ("act",) * 12
    assert normalise_words("acto " * 12) == ("actor",) * 12


@pytest.mark.parametrize("typed", ["abo", "ab", "abandonx", "abandn", "qqqqqq", "词"])
def test_a_word_off_the_list_is_named_by_its_place(typed: str) -> None:
    with pytest.raises(MalformedMessage, match="word 7 ") as caught:
        normalise_words(" ".join(["zoo"] * 6 + [typed] + ["zoo"] * 5))
    assert typed not in str(caught.value)
    assert caught.value.hint


def test_a_near_miss_gets_a_suggestion() -> None:
    with pytest.raises(MalformedMessage) as caught:
        normalise_words("abandn " * 12)
    assert caught.value.hint is not None
    assert "abandon" in caught.value.hint


@pytest.mark.parametrize("count", [0, 11, 13])
def test_twelve_are_needed(count: int) -> None:
    with pytest.raises(MalformedMessage, match=f"^{count} words"):
        compare_words(words_from_bits(bytes(17)), "zoo " * count)


@pytest.mark.threat("K1")
@given(BITS, st.integers(0, 11), st.integers(1, 2047))
def test_any_other_word_is_a_mismatch(value: bytes, place: int, step: int) -> None:
    words = words_from_bits(value).split()
    other = list(words)
    other[place] = LIST[(LIST.index(words[place]) + step) % 2048]
    with pytest.raises(PinMismatch) as caught:
        compare_words(" ".join(words), " ".join(other))
    assert caught.value.hint
    compare_words(" ".join(words), " ".join(words))


def test_swapped_words_are_a_mismatch() -> None:
    words = words_from_bits(bytes(range(17))).split()
    swapped = [words[1], words[0], *words[2:]]
    with pytest.raises(PinMismatch):
        compare_words(" ".join(words), " ".join(swapped))
