"""What is too much for one act: cut into parts, which land one after the other (SPEC 7.3, 9.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from client.session import Build, Session

T = TypeVar("T")


def in_parts(
    items: Iterable[T], weigh: Callable[[T], tuple[int, ...]], most: tuple[int, ...]
) -> Iterator[list[T]]:
    """Cut items, in their order, into as many parts as they need.

    `weigh` returns an item's weights, of which a part has at most `most`, each in its place; an
    item that weighs more is a part by itself. The same items are always cut the same way, so that
    whoever goes on after an interruption finds the parts that have landed.
    """
    part: list[T] = []
    weight = (0,) * len(most)
    for item in items:
        more = weigh(item)
        weight = tuple(a + b for a, b in zip(weight, more, strict=True))
        if part and any(a > b for a, b in zip(weight, most, strict=True)):
            yield part
            part, weight = [], more
        part.append(item)
    if part:
        yield part


async def land_parts(
    session: Session,
    upload: bytes,
    parts: Sequence[Sequence[T]],
    say: Callable[[int, bool, tuple[T, ...]], Build],
) -> int | None:
    """Land those parts of an upload that have not landed yet; return the last one's index.

    `say` is told a part's number, whether it is the last one, and what is in it. None is returned
    where there was nothing to land.

    Raises:
        Refused: a part is not allowed; those before it stand.
    """
    pending = session.state.pending.get(upload)
    index = None
    for number in range(pending.parts if pending else 0, len(parts)):
        last = number == len(parts) - 1
        index = await session.act(say(number, last, tuple(parts[number])))
    return index
