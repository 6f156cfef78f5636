"""Heads of requests that are hard to read: they cost little, and let nobody in (THREATS: D7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.crypto.identity import Identity
from client.request_signing import sign_request
from protocol import api
from tests.casts import staged_cast
from tests.servers import live_vault

DEEP = 2_000
HARD = {
    "a list in a list in a list": "(" * DEEP + ")" * DEEP,
    "ten thousand parameters": 'sig1=("@method")' + ";a" * 3_000,
    "a number without an end": "sig1=" + "9" * 7_000,
    "a text full of escapes": 'sig1="' + "\\\\" * 3_000 + '"',
    "a text that does not end": 'sig1="' + "a" * 7_000,
    "bytes that do not end": "sig1=:" + "A" * 7_000,
    "nothing but commas": "," * 7_000,
    "components without end": "sig1=(" + '"a" ' * 2_000 + ")",
}


@pytest.mark.threat("D7")
async def test_a_head_that_is_hard_to_read_lets_nobody_in(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        await staged_cast(live)
        assert live.asker is not None
        path, nobody = live.at(api.LOG) + "?from=0", Identity.generate()
        for who in (live.owner, nobody):
            sound = sign_request(
                "GET",
                live.asker.url + path,
                None,
                api.CONTENT_TYPE,
                who.request_key,
                who.member_id,
                live.now,
            )
            for name in ("Signature-Input", "Signature"):
                for hard in HARD.values():
                    answer = await live.asker.send("GET", path, {**sound, name: hard})
                    assert answer.status == 401, (name, hard[:40])
                    assert len(answer.body) < 300
        # The control: the same head as it should be.
        assert (await live.get(live.owner, path)).status == 200
