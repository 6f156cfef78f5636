"""Making an input out of others: bytes changed, moved or repeated, and lies told about lengths."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

MOST_BYTES: Final = 64 * 1024
"""Inputs grow no longer than this by themselves: what is slow at this size is slow per byte."""

HEADS: Final = (
    # msgpack: lengths that nothing follows, depth, maps, floats, extensions, what is never used
    b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\xc6\x00\x10\x00\x00", b"\xdb\x7f\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01", b"\x91" * 40,
    b"\x90" * 64, b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    b"\xca\x00\x00\x00\x00", b"\xd3\xff\xff\xff\xff\xff\xff\xff\xff", b"\xcf" + b"\xff" * 8,
    b"\xcc\x01", b"\xcd\x00\x01", b"\xd0\x00", b"\xc4\x00", b"\xd9\x01a", b"\x81\xa1a\x01",
    b"\x82\xa1a\x01\xa1a\x01", b"\xd6\xff\x00\x00\x00\x00",
    # text
    b"\n", b"\r\n", b"\n\n", b"\0", b"+", b"=", b"==", b"#", b".", b" ", b",", b'"', b'""', b";",
    b"\xe2\x80\x94 ", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff", b"\xc3", b"\xed\xa0\x80", b"%2f",
    b"..", b"0", b"-1", b"00", b"18446744073709551616", b"9" * 30, b"sealroom",
)  # fmt: skip


def changed(pool: Sequence[bytes], draw: random.Random) -> bytes:
    """Return a new input out of those of a pool; the same draws give the same input."""
    made = bytearray(draw.choice(pool))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        _change(made, pool, draw)
    return bytes(made[:MOST_BYTES])


def _change(made: bytearray, pool: Sequence[bytes], draw: random.Random) -> None:
    at = draw.randrange(len(made) + 1)
    some = draw.choice((1, 1, 2, 4, 16, 64))
    match draw.randrange(9):
        case 0:
            made[at : at + 1] = bytes([draw.randrange(256)])
        case 1 if at < len(made):
            made[at] ^= 1 << draw.randrange(8)
        case 2 if at < len(made):
            made[at] = (made[at] + draw.choice((-1, 1, 127, 128))) % 256
        case 3:
            del made[at : at + some]
        case 4:
            made[at:at] = made[at : at + some] * draw.choice((1, 2, 50))
        case 5:
            head = draw.choice(HEADS)
            made[at : at + draw.choice((0, len(head)))] = head
        case 6:
            other = draw.choice(pool)
            start = draw.randrange(len(other) + 1)
            made[at : at + some] = other[start : start + draw.choice((some, len(other)))]
        case 7:
            made[at : at + some] = draw.randbytes(some)
        case _:
            del made[at:]
