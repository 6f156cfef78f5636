"""Hostile requests to a running server: refused with a code or cut off, soon, and in bounds.

This is a slice; `make fuzz` goes on with others (`python -m tests.fuzzing.besieging`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from client.crypto.identity import Identity
from protocol import api
from protocol.limits import MIB
from tests.fuzzing.besieging import AT_ONCE, besieged, storm
from tests.fuzzing.requests import Told, hostile_bytes
from tests.servers import Answer
from tests.test_server_door import signed
from vault.handlers.blocks import FETCH_BODY_BYTES

SIGNED = 500
RAW = 120
MOST_GROWN = 64 * MIB


@pytest.mark.threat("R18")
@pytest.mark.threat("H8")
async def test_whatever_is_asked_is_refused_with_a_code_soon_and_in_bounds(tmp_path: Path) -> None:
    async with besieged(tmp_path / "server") as (server, target):
        live = target.live
        before, files = server.memory("VmHWM"), server.open_files()
        size = live.ledger.size
        told = await storm(server, target, 1, SIGNED, RAW)
        assert told.wrong == []
        assert told.requests > SIGNED + RAW - 50
        assert set(told.statuses) > {200, 400, 403, 404, 405, 413, 415}
        assert told.dropped < RAW / 2
        grown = server.memory("VmHWM") - before
        assert grown < MOST_GROWN, f"{grown:,} bytes"
        assert not {"internal_error"} & {line["event"] for line in server.logged()}
        print(f"\n{told.requests} hostile requests: {dict(sorted(told.statuses.items()))},"
              f" {told.dropped} dropped, the slowest {told.slowest:.2f} s,"
              f" peak memory grew by {grown / MIB:.1f} MiB")  # fmt: skip
        # and everybody else is served as before, from a log that has grown by honest reads alone
        page = (await live.get(live.owner, live.at(api.LOG) + "?from=0")).read(api.LogPage)
        assert len(page.leaves) >= size
        assert server.open_files() <= files + 2 * AT_ONCE


REFUSALS = ((400, "malformed"), (413, "limit_exceeded"))
BOMBS: Final[dict[str, Callable[[int], bytes]]] = {
    "elements": lambda size: b"\xdd" + (size - 5).to_bytes(4, "big") + b"\xc0" * (size - 5),
    "depth": lambda size: b"\x91" * (size - 1) + b"\x90",
    "equal keys": lambda size: b"\xdf\x00\x10\x00\x00" + b"\xa1a\x01" * (size // 3 - 5),
    "a length of nothing": lambda size: b"\xdb\xff\xff\xff\xff" + b"a" * (size - 5),
    "many in one": lambda size: (
        b"\x92\xc4\x01x\xdd\x00\xff\xff\xff" + b"\xc4\x00" * (size // 2 - 9)
    ),
}


@pytest.mark.threat("D1")
async def test_a_bomb_as_long_as_a_body_may_be_takes_little_more_than_its_bytes(
    tmp_path: Path,
) -> None:
    async with besieged(tmp_path / "server") as (server, target):
        live = target.live
        assert live.asker is not None
        before = server.memory("VmHWM")
        for bomb in BOMBS.values():
            for template, most in ((api.ACTS, api.ACT_BODY_BYTES), (api.BLOCKS, FETCH_BODY_BYTES)):
                path, body = live.at(template), bomb(most)
                headers = signed(live, live.owner, "POST", path, body)
                refused = await live.asker.send("POST", path, headers, BytesIO(body))
                assert (refused.status, refused.code) in REFUSALS
        grown = server.memory("VmHWM") - before
        assert grown < 4 * api.ACT_BODY_BYTES, f"{grown:,} bytes"
        print(f"\n{2 * len(BOMBS)} bombs of up to {api.ACT_BODY_BYTES:,} bytes,"
              f" peak memory grew by {grown / MIB:.1f} MiB")  # fmt: skip
        assert (await live.get(live.owner, live.at(api.LOG) + "?from=0")).status == 200


def test_the_same_seed_makes_the_same_bytes() -> None:
    made = [hostile_bytes(random.Random(seed)) for seed in range(300)]
    assert made == [hostile_bytes(random.Random(seed)) for seed in range(300)]
    assert len(set(made)) > 200


def test_what_no_server_may_answer_is_found() -> None:
    told = Told()
    for answer in (Answer(500, b"", {}), Answer(400, b"<html>", {}), Answer(404, b"", {})):
        told.take("asked", answer, 0.1)
    assert len(told.wrong) == 3
    told.take("asked", Answer(200, b"", {}), 0.2)
    assert len(told.wrong) == 3


@pytest.mark.threat("H10")
async def test_the_ids_of_one_vault_open_nothing_in_another(tmp_path: Path) -> None:
    """Whoever owns a vault gets, of another, what a stranger gets of a vault that is not there."""
    async with besieged(tmp_path / "server") as (_, target):
        live = target.live
        upload, batch = bytes(16), next(iter(live.blocks))
        nowhere = Identity.generate()
        for template in (api.LOG, api.CONSISTENCY, api.OBSERVATIONS, api.UPLOAD):
            query = {api.UPLOAD: "", api.CONSISTENCY: "?from=1&to=1"}.get(template, "?from=0")
            answers = set()
            for vault in (target.other, bytes(32)):
                for who in (live.owner, nowhere):
                    ids = {"vault": vault.hex(), "upload": upload.hex(), "batch": batch.hex()}
                    answer = await live.get(who, template.format(**ids) + query)
                    told = answer.error
                    answers.add((answer.status, told.code, told.message, told.hint))
            assert len(answers) == 1, answers
            assert next(iter(answers))[:2] == (404, "not_found")
