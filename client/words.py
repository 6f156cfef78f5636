"""The twelve words that two people compare out of band (SPEC section 4.2).

Use `pair_words` to show them and `compare_words` to check what the other person read out.
The words carry 132 bits and no checksum: a mistyped word is caught by the list or by the
comparison. The list is BIP-39's English one, in which four letters name a word.
"""

from __future__ import annotations

import difflib
import hmac
import re
from functools import cache
from typing import Final

from mnemonic import Mnemonic

from protocol.errors import ApiMisuse, MalformedMessage, PinMismatch
from protocol.labels import Label, digest

WORDS: Final = 12
WORD_BITS: Final = 11
_BITS: Final = WORDS * WORD_BITS
_BITS_BYTES: Final = 17
_ID_BYTES: Final = 32
_PREFIX_LETTERS: Final = 4
_SEPARATORS: Final = re.compile(r"[\s,;-]+")


def pair_words(vault_id: bytes, one: bytes, other: bytes) -> str:
    """Return two members' words in a vault (SPEC section 4.2): the same whichever comes first.

    They bind the vault id and both member ids, 32 bytes each. That the ids are those of the
    replayed ledger, and whom the caller speaks to, is the caller's to know.

    Raises:
        ApiMisuse: an id of another size, or one member paired with itself.
    """
    if any(len(part) != _ID_BYTES for part in (vault_id, one, other)) or one == other:
        raise ApiMisuse("words are over a vault id and two different member ids")
    return words_from_bits(
        digest(Label.WORDS, vault_id, min(one, other), max(one, other))[:_BITS_BYTES]
    )


def words_from_bits(value: bytes) -> str:
    """Return the 12 words of the top 132 bits of 17 bytes, 11 bits a word (SPEC section 4.2).

    Raises:
        ApiMisuse: not 17 bytes.
    """
    if len(value) != _BITS_BYTES:
        raise ApiMisuse(f"12 words are {_BITS_BYTES} bytes")
    bits = int.from_bytes(value, "big") >> (8 * _BITS_BYTES - _BITS)
    shifts = range(_BITS - WORD_BITS, -1, -WORD_BITS)
    return " ".join(_word_list()[(bits >> shift) & (2**WORD_BITS - 1)] for shift in shifts)


def normalise_words(text: str) -> tuple[str, ...]:
    """Return the 12 words that somebody typed, in full and in small letters (SPEC section 4.2).

    Spaces, line ends, commas and hyphens separate; the first four letters, or more, stand for
    their word.

    Raises:
        MalformedMessage: a word that is not on the list, named by its place, or not 12 of them.
    """
    typed = [word for word in _SEPARATORS.split(text.casefold()) if word]
    if len(typed) != WORDS:
        raise MalformedMessage(
            f"{len(typed)} words were given, {WORDS} are needed",
            hint="type all twelve, in the order in which they were read out",
        )
    return tuple(_full_word(place, word) for place, word in enumerate(typed, 1))


def compare_words(expected: str, given: str) -> None:
    """Compare the words that this client shows with those that the other person reads out.

    Returning says that both clients see the same two identities in the same vault, if
    `expected` is from `pair_words` and `given` came over a channel that the server is not on.

    Raises:
        MalformedMessage: `given` is not 12 words of the list.
        PinMismatch: they are other words.
    """
    ours, theirs = " ".join(normalise_words(expected)), " ".join(normalise_words(given))
    if not hmac.compare_digest(ours.encode(), theirs.encode()):
        raise PinMismatch(
            "the words are not the same",
            hint="Words differ for each pair: read each other's row of 'sealroom members'. "
            "If they still differ, do not go on: somebody is in between.",
        )


@cache
def _word_list() -> tuple[str, ...]:
    return tuple(Mnemonic("english").wordlist)


def _full_word(place: int, typed: str) -> str:
    if typed in _word_list():
        return typed
    if len(typed) >= _PREFIX_LETTERS:
        for word in _word_list():
            if word.startswith(typed):
                return word
    close = difflib.get_close_matches(typed, _word_list(), n=3)
    raise MalformedMessage(
        f"word {place} is not on the list",
        hint=f"did you mean {' or '.join(close)}?" if close else "ask for it to be spelled",
    )
