"""One bit of one answer is another: there is no bit that a command does not look at.

Drawn by a seed: which of the commands that change nothing, which answer of those that it gets, and
which bit. An answer is changed as it travels, and parsed as the client parses what it receives.
SEALROOM_CHANGED_ANSWERS is how often.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Iterator
from typing import TypeVar

import pytest

from client.cli.exits import FAILED, UNTRUE
from client.transport import Transport
from protocol import api
from protocol.merkle import HASH_BYTES
from protocol.wire import from_bytes, to_bytes
from tests.commands_lied_to import COMMANDS, WRITING
from tests.liars import Lie
from tests.lied_to import BEHIND, CURRENT, Command, Stage, Told, a_stage

T = TypeVar("T")
TIMES = int(os.environ.get("SEALROOM_CHANGED_ANSWERS", "40"))


class OneBit(Lie):
    """The truth, but for one bit of answer number `at`; counts the answers otherwise."""

    def __init__(self, drawn: random.Random, at: int | None = None) -> None:
        super().__init__()
        self.drawn, self.at = drawn, at
        self.answers = 0
        self.changed = False

    def turned(self, encoded: bytes) -> bytes:
        mine, self.answers = self.answers, self.answers + 1
        if mine != self.at or not encoded:
            return encoded
        self.changed = True
        bit = self.drawn.randrange(8 * len(encoded))
        at = bit // 8
        return encoded[:at] + bytes([encoded[at] ^ 1 << bit % 8]) + encoded[at + 1 :]

    async def message(self, kind: type[T], work: Awaitable[T]) -> T:
        encoded = to_bytes(await work)
        return from_bytes(kind, self.turned(encoded), max_bytes=api.LOG_PAGE_BYTES)

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> api.LogPage:
        return await self.message(api.LogPage, honest.log_page(vault_id, start))

    async def consistency(
        self, honest: Transport, vault_id: bytes, old: int, new: int
    ) -> tuple[bytes, ...]:
        hashes = await honest.consistency(vault_id, old, new)
        joined = self.turned(b"".join(hashes))
        return tuple(joined[i : i + HASH_BYTES] for i in range(0, len(joined), HASH_BYTES))

    async def submit(self, honest: Transport, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        return await self.message(api.Submitted, honest.submit(vault_id, act))

    async def observations(
        self, honest: Transport, vault_id: bytes, start: int
    ) -> api.ObservationsPage:
        return await self.message(api.ObservationsPage, honest.observations(vault_id, start))

    async def staged(self, honest: Transport, vault_id: bytes, upload: bytes) -> api.Staged:
        return await self.message(api.Staged, honest.staged(vault_id, upload))

    async def fetch(
        self,
        honest: Transport,
        vault_id: bytes,
        request: api.FetchBlocks,
        sizes: tuple[int, ...],
    ) -> AsyncGenerator[bytes, None]:
        async for block in honest.fetch(vault_id, request, sizes):
            yield self.turned(block)


READING = sorted(name for name in COMMANDS if name not in (*WRITING, "join"))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with a_stage(tmp_path_factory.mktemp("stage")) as made:
        yield made


def test_any_bit_of_an_answer_that_is_another_is_found(stage: Stage) -> None:
    controls: dict[tuple[str, str], tuple[Told, int]] = {}
    ended: Counter[str] = Counter()
    for seed in range(TIMES):
        drawn = random.Random(seed)
        name, age = drawn.choice(READING), drawn.choice((BEHIND, CURRENT))
        command = COMMANDS[name]
        if (name, age) not in controls:
            counting = OneBit(drawn)
            control = tell(stage, command, counting, age)
            assert control.code == 0, (name, control.err)
            controls[name, age] = control, counting.answers
        control, answers = controls[name, age]
        lie = OneBit(drawn, drawn.randrange(answers))
        told = tell(stage, command, lie, age)
        assert lie.changed, (seed, name)
        # A version or a kind of act that is another is looked at before who signed it.
        right = (told.code, told.error) == (FAILED, "unsupported") or told.code == UNTRUE
        assert right, (seed, name, told.out, told.err)
        assert list(json.loads(told.out)) == ["error"]
        # What it keeps all the same is true: the honest run keeps it too.
        assert told.left <= control.left, (seed, name)
        ended[told.error] += 1
    print(f"{TIMES} bits: {dict(ended)}")
    assert len(ended) > 2


def tell(stage: Stage, command: Command, lie: Lie, age: str) -> Told:
    """Run a command on a copy of a home, with an empty folder for its files."""
    shutil.rmtree(stage.directory / "out", ignore_errors=True)
    return stage.run(command, lie, age, copied=True)
