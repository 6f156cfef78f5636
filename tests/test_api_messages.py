from __future__ import annotations

from typing import Any

import pytest

from protocol import api, observations
from protocol.errors import LimitExceeded, MalformedMessage, SealroomError
from protocol.ledger.sides import Gone, SentPart
from protocol.limits import LIMITS
from protocol.observations import ObservationBody
from protocol.wire import encode, from_bytes, to_bytes

H, U, NOTE = b"h" * 32, b"u" * 16, b"note"
MESSAGES: list[Any] = [
    api.LimitValue("act_bytes", 1),
    api.ServerInfo((1,), H, 5, True, (api.LimitValue("act_bytes", 1),)),
    api.CreateVault("token", b"genesis"),
    api.SubmitAct(b"envelope", (b"part", b"")),
    api.Receipt((H,), ()),
    api.Submitted(3, NOTE, None),
    api.Submitted(3, NOTE, api.Receipt((H,), (H, H))),
    api.LogPart(b"part", None),
    api.LogPart(b"", None),
    api.LogPart(None, H),
    api.LogLeaf(b"leaf", ()),
    api.LogPage(0, (api.LogLeaf(b"leaf", (api.LogPart(b"p", None), api.LogPart(None, H))),), NOTE),
    api.ConsistencyProof((H, H)),
    ObservationBody(H, H, H, 5, U, (0, 7), (U, b"a" * 16)),
    api.Observation(3, H, b"envelope"),
    api.ObservationsPage((api.Observation(3, H, b"envelope"),)),
    api.Staged((b"a" * 16, U)),
    api.WantedBatch(U, (0, 7)),
    api.FetchBlocks(U, (api.WantedBatch(U, (0,)),)),
    api.ErrorBody("not_found", "nothing there", None, 5),
    api.ErrorBody("stale_act", "another act landed", "Try again.", 5),
]


def name(message: Any) -> str:
    return type(message).__name__


@pytest.mark.parametrize("message", MESSAGES, ids=name)
def test_every_message_comes_back_as_it_was(message: Any) -> None:
    assert from_bytes(type(message), to_bytes(message)) == message


def test_every_message_is_tried() -> None:
    declared = {
        cls.__name__
        for module in (api, observations)
        for cls in vars(module).values()
        if isinstance(cls, type) and cls.__module__ == module.__name__
    }
    assert declared == {name(message) for message in MESSAGES}


@pytest.mark.threat("D2")
@pytest.mark.parametrize("message", MESSAGES, ids=name)
def test_no_byte_changed_gives_the_same_message(message: Any) -> None:
    encoded = to_bytes(message)
    for at in range(len(encoded)):
        for flip in (1, 0x80, 0xFF):
            changed = bytearray(encoded)
            changed[at] ^= flip
            try:
                parsed = from_bytes(type(message), bytes(changed))
            except SealroomError:
                continue
            assert parsed != message
            assert to_bytes(parsed) == bytes(changed)


@pytest.mark.parametrize(
    ("cls", "value"),
    [
        (api.ServerInfo, ((2, 1), H, 5, True, ())),
        (api.ServerInfo, ((), H, 5, True, ())),
        (api.ServerInfo, ((1,), H, 5, 1, ())),
        (api.CreateVault, ("token", b"")),
        (api.SubmitAct, (b"", ())),
        (api.Submitted, (3, b"", None)),
        (api.Submitted, (3, NOTE)),
        (api.Submitted, (3, NOTE, ((H,), (b"short",)))),
        (api.LogPart, (None, None)),
        (api.LogPart, (b"part", H)),
        (api.LogPart, (None, b"short")),
        (api.LogLeaf, (b"leaf", (b"part",))),
        (api.LogPage, (-1, (), NOTE)),
        (api.ConsistencyProof, ((b"short",),)),
        (api.WantedBatch, (U, ())),
        (api.WantedBatch, (U, (7, 0))),
        (api.WantedBatch, (U, (0, 0))),
        (api.FetchBlocks, (U, ())),
        (api.FetchBlocks, (U, ((U, (0,)), (U, (1,))))),
        (api.Staged, ((U, b"a" * 16),)),
        (ObservationBody, (H, H, H, 5, U, (), (U,))),
        (api.ErrorBody, ("code", b"bytes", None, 5)),
    ],
)
def test_what_is_no_such_message(cls: type, value: Any) -> None:
    with pytest.raises(MalformedMessage):
        from_bytes(cls, encode(value))


@pytest.mark.threat("D1")
@pytest.mark.parametrize(
    ("cls", "value"),
    [
        (api.LogPage, (0, ((b"leaf", ()),) * (LIMITS.log_page_leaves + 1), NOTE)),
        (api.ConsistencyProof, ((H,) * (LIMITS.proof_hashes + 1),)),
        (api.CreateVault, ("t" * 129, b"genesis")),
        (api.Submitted, (0, bytes(api.NOTE_BYTES + 1), None)),
        (api.Submitted, (0, NOTE, ((H,) * (LIMITS.proof_hashes + 1), ()))),
        (api.LogLeaf, (b"leaf", ((b"", None),) * (LIMITS.side_parts + 1))),
        (api.SubmitAct, (b"e", (b"",) * (LIMITS.side_parts + 1))),
        (api.FetchBlocks, (U, ((U, (0,)),) * (LIMITS.fetch_blocks + 1))),
    ],
)
def test_more_than_a_message_holds(cls: type, value: Any) -> None:
    with pytest.raises(LimitExceeded):
        from_bytes(cls, encode(value))


@pytest.mark.parametrize("part", [b"", b"part", Gone(H)])
def test_a_part_travels_as_what_is_left_of_it(part: SentPart) -> None:
    travels = api.LogPart.of(part)
    assert travels.sent() == part
    assert from_bytes(api.LogPart, to_bytes(travels)).sent() == part


# --- paths


def test_paths_name_their_ids() -> None:
    for path in (api.LOG, api.CONSISTENCY, api.ACTS, api.OBSERVATIONS, api.BLOCKS):
        assert path.format(vault="V").startswith("/v1/vaults/V/")
    path = api.BATCH.format(vault="V", upload="U", batch="B")
    assert path == api.BATCHES.format(vault="V", upload="U") + "/B"
    assert path == api.UPLOAD.format(vault="V", upload="U") + "/batches/B"
