"""Those who are members no more, under other keys, or not yet again: what they see and may do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from client.crypto.identity import Identity
from protocol import acts, api
from protocol.acts import Reason, Role, Statement
from protocol.blocks import FieldClass
from protocol.errors import IntegrityError, NotFound
from protocol.merkle import leaf_hash, verify_consistency, verify_inclusion
from tests.casts import Cast, staged_cast
from tests.heads import answered_by_the_head
from tests.servers import Answer, LiveVault, blocks_in, live_vault
from tests.world import joining, of_class, rotating
from vault.callers import ATTESTATION_BYTES

DESTROYED = acts.Attest(Statement.KEYS_DESTROYED)
UPLOAD = b"\x42" * 16


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.code


async def log_size(live: LiveVault, who: Any) -> int:
    page = (await live.get(who, live.at(api.LOG) + "?from=0")).read(api.LogPage)
    return live.checkpoint(page.checkpoint).size


def verify_receipt(live: LiveVault, leaf: bytes, cited: acts.Citation, sent: api.Submitted) -> None:
    """Check, as a former member does, that its act is in a tree that goes on from what it saw."""
    shown = live.checkpoint(sent.checkpoint)
    assert sent.receipt is not None
    assert shown.size == sent.index + 1
    verify_inclusion(leaf_hash(leaf), sent.index, shown.size, sent.receipt.inclusion, shown.root)
    verify_consistency(cited.size, cited.root, shown.size, shown.root, sent.receipt.consistency)


# --- attesting


async def test_a_former_member_attests_and_is_given_proofs(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        revoked = cast["revoked"]
        seen = await log_size(live, revoked)
        assert seen < live.ledger.size
        cited = live.citation(seen)
        leaf = live.leaf(revoked, DESTROYED, cited)
        sent = (await live.submit(revoked, leaf)).read(api.Submitted)
        assert sent.index == live.ledger.size
        verify_receipt(live, leaf, cited, sent)
        with pytest.raises(IntegrityError):
            verify_receipt(live, leaf + b"x", cited, sent)
        # it sees no more of the log than before; the others see what it said
        assert await log_size(live, revoked) == seen
        live.land_leaf(leaf, (), (revoked,))
        assert await log_size(live, live.owner) == live.ledger.size
        live.pushed = live.ledger.size


async def test_the_same_attestation_is_answered_again_and_another_refused(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        revoked = cast["revoked"]
        cited = live.citation(await log_size(live, revoked))
        leaf = live.leaf(revoked, DESTROYED, cited)
        first = (await live.submit(revoked, leaf)).read(api.Submitted)
        live.land_leaf(leaf, (), (revoked,))
        live.pushed = live.ledger.size
        live.land(live.owner, acts.Noop())
        await live.push()
        again = (await live.submit(revoked, leaf)).read(api.Submitted)
        assert again.index == first.index
        assert again.receipt == first.receipt
        verify_receipt(live, leaf, cited, again)
        twice = live.leaf(revoked, DESTROYED, cited)
        assert told(await live.submit(revoked, twice)) == (409, "out_of_order")
        ahead = live.leaf(revoked, DESTROYED, cited, step=1)
        assert told(await live.submit(revoked, ahead)) == (409, "out_of_order")
        assert await log_size(live, live.owner) == live.ledger.size


async def test_a_former_member_does_nothing_else(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        revoked = cast["revoked"]
        for payload in (
            acts.Noop(),
            acts.Heartbeat(),
            acts.Expire(),
            acts.Freeze(Reason.OTHER),
            acts.Revoke(cast["bidder"].member_id, Reason.OTHER),
            rotating(Identity.generate(), live.vault_id, revoked),
        ):
            refused = await live.submit(revoked, live.leaf(revoked, payload))
            assert told(refused) == (403, "not_authorised"), payload
        # nor in the name of somebody who is there, nor by another's key
        assert (await live.submit(revoked, live.leaf(cast["bidder"], DESTROYED))).status == 403
        forged = live.draft(revoked, DESTROYED)
        leaf = b"\x01" + live.signed(cast["bidder"], forged)
        assert told(await live.submit(revoked, leaf)) == (422, "integrity")
        sides = (b"x" * 64,)
        refused = await live.submit(revoked, live.leaf(revoked, DESTROYED), sides)
        assert told(refused) == (422, "context_mismatch")
        assert await log_size(live, live.owner) == live.ledger.size


@pytest.mark.threat("D1")
async def test_little_is_read_from_a_former_member(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        path = live.at(api.ACTS)
        for size, status in ((ATTESTATION_BYTES + 1, 403), (ATTESTATION_BYTES, None)):
            found = await answered_by_the_head(server, live, cast["revoked"], path, size)
            assert found == status
        honest = live.leaf(cast["revoked"], DESTROYED)
        assert len(honest) * 4 < ATTESTATION_BYTES


@pytest.mark.parametrize("phase", ["frozen", "offered", "destroyed"])
async def test_a_former_member_attests_whatever_became_of_the_vault(
    tmp_path: Path, phase: str
) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        if phase == "offered":
            live.offer(cast["bidder"])
        else:
            what = acts.Freeze if phase == "frozen" else acts.Destroy
            live.land(live.owner, what(Reason.OTHER))
        await live.push()
        cited = live.citation(await log_size(live, cast["revoked"]))
        leaf = live.leaf(cast["revoked"], DESTROYED, cited)
        verify_receipt(
            live, leaf, cited, (await live.submit(cast["revoked"], leaf)).read(api.Submitted)
        )


async def test_a_member_who_is_there_finds_its_attestation_in_the_log(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        for name in ("bidder", "unconfirmed", "auditor"):
            leaf = live.leaf(cast[name], DESTROYED)
            sent = (await live.submit(cast[name], leaf)).read(api.Submitted)
            assert sent.receipt is None
            live.land_leaf(leaf, (), (cast[name],))
            live.pushed = live.ledger.size
            assert live.checkpoint(sent.checkpoint).size == live.ledger.size


async def test_the_seller_attests_after_the_handover(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        seller, buyer = live.owner, cast["bidder"]
        live.offer(buyer)
        live.accept(buyer)
        await live.push()
        live.land(buyer, acts.Noop())
        await live.push()
        cited = live.citation(await log_size(live, seller))
        leaf = live.leaf(seller, DESTROYED, cited)
        verify_receipt(live, leaf, cited, (await live.submit(seller, leaf)).read(api.Submitted))


# --- under new keys


async def test_new_keys_take_the_place_of_old_ones_at_once(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        old, wanted = cast["bidder"], (cast.batch.batch_id, (0,))
        new = live.rotate(old)
        assert (await live.get(new, live.at(api.LOG) + "?from=0")).status == 404
        await live.push()
        seen = live.ledger.size
        live.land(live.owner, acts.Noop())
        await live.push()
        # nobody has made sure yet who it is, and it is served what its rules say
        answer = await live.fetch(new, cast.collection, wanted)
        assert blocks_in(answer.body) == [live.blocks[cast.batch.batch_id][0]]
        await live.pull()
        assert await log_size(live, new) == live.ledger.size
        assert told(await live.fetch(old, cast.collection, wanted)) == (404, "not_found")
        assert await log_size(live, old) == seen
        by_old = live.leaf(old, acts.Noop())
        assert told(await live.submit(old, by_old)) == (403, "not_authorised")
        cited = live.citation(seen)
        leaf = live.leaf(old, DESTROYED, cited)
        verify_receipt(live, leaf, cited, (await live.submit(old, leaf)).read(api.Submitted))


async def test_what_an_admin_began_under_its_old_keys_ends_with_them(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        old = cast["admin"]
        await live.stage(old, UPLOAD, live.records(cast.collection))
        new = live.rotate(old)
        await live.push()
        storage = server.service._storage
        assert await storage.staged_bytes(live.vault_id, old.member_id) == 0
        records = live.records(cast.collection)
        assert told(await live.stage(old, UPLOAD, records)) == (403, "not_authorised")
        assert told(await live.stage(new, UPLOAD, records)) == (403, "not_authorised")
        live.land(live.owner, acts.Confirm(new.member_id), readers=(new,))
        live.epochs(live.owner, (cast.collection, 0), (cast.collection, 1), readers=(new,))
        await live.push()
        records = live.records(cast.collection)
        assert (await live.stage(new, UPLOAD, records)).status == 200
        assert (await live.stage(live.owner, os.urandom(16), records)).status == 409


async def test_the_owner_goes_on_under_new_keys_as_it_is(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        old = live.owner
        live.rotate(old)
        live.epochs(live.owner, (cast.collection, 0), (cast.collection, 1))
        live.commit(live.owner, cast.collection, live.records(cast.collection))
        await live.push()
        wanted = (cast.batch.batch_id, (0, 1))
        assert (await live.fetch(live.owner, cast.collection, wanted)).status == 200
        assert (await live.fetch(old, cast.collection, wanted)).status == 404


# --- who rebuilds the owner's seed


@pytest.fixture
def rebuilder() -> Identity:
    return Identity.generate()


async def answers(live: LiveVault, cast: Cast, who: Any) -> dict[str, int]:
    wanted = (cast.batch.batch_id, (0,))
    asked = {
        "log": await live.get(who, live.at(api.LOG) + "?from=0"),
        "consistency": await live.get(who, live.at(api.CONSISTENCY) + "?from=1&to=2"),
        "observations": await live.get(who, live.at(api.OBSERVATIONS) + "?from=0"),
        "staged": await live.get(who, live.at(api.UPLOAD, upload=UPLOAD)),
        "stage": await live.stage(who, os.urandom(16), cast.batch),
        "bundle": await live.stage_several(who, os.urandom(16), cast.batch),
        "fetch": await live.fetch(who, cast.collection, wanted),
        "act": await live.submit(who, live.leaf(who, acts.Noop())),
        "attest": await live.submit(who, live.leaf(who, DESTROYED)),
    }
    return {name: answer.status for name, answer in asked.items()}


READS_THE_LOG = {
    "log": 200,
    "consistency": 200,
    "observations": 403,
    "staged": 403,
    "stage": 403,
    "bundle": 403,
    "fetch": 404,
    "act": 403,
    "attest": 403,
}


async def test_who_rebuilds_a_seed_reads_the_log_and_nothing_else(
    tmp_path: Path, rebuilder: Identity
) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        custodians = (cast["admin"], cast["bidder"])
        dealing = live.deal(*custodians)
        await live.push()
        nobody = dict.fromkeys(READS_THE_LOG, 404)
        assert await answers(live, cast, rebuilder) == nobody
        live.land(custodians[0], live.release(rebuilder))
        await live.push()
        assert await answers(live, cast, rebuilder) == READS_THE_LOG
        live.land(custodians[1], live.release(rebuilder))
        await live.push()
        assert await answers(live, cast, rebuilder) == READS_THE_LOG
        assert await log_size(live, rebuilder) == live.ledger.size
        # the owner, by its rebuilt seed, does nothing before it has new keys
        refused = await live.submit(live.owner, live.leaf(live.owner, acts.Custodians(None)))
        assert told(refused) == (409, "out_of_order")
        old = live.owner
        live.rotate(old, dealing)
        await live.push()
        assert await answers(live, cast, rebuilder) == nobody
        assert told(await live.get(rebuilder, live.at(api.LOG) + "?from=0")) == (404, "not_found")
        assert (await answers(live, cast, old))["log"] == 200


@pytest.mark.parametrize("how", ["ended", "another dealing", "destroyed", "sold"])
async def test_who_rebuilds_is_nobody_once_recovery_ends(
    tmp_path: Path, rebuilder: Identity, how: str
) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        custodians = (cast["admin"], cast["auditor"])
        live.deal(*custodians)
        live.land(custodians[0], live.release(rebuilder))
        await live.push()
        assert (await answers(live, cast, rebuilder))["log"] == 200
        if how == "ended":
            live.land(live.owner, acts.Custodians(None))
        elif how == "another dealing":
            live.deal(*custodians)
        elif how == "destroyed":
            live.land(live.owner, acts.Destroy(Reason.OTHER))
        else:
            live.offer(cast["bidder"])
            live.accept(cast["bidder"])
        await live.push()
        assert set((await answers(live, cast, rebuilder)).values()) == {404}


async def test_a_rebuilders_key_is_no_members_key(tmp_path: Path, rebuilder: Identity) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        custodians = (cast["admin"], cast["bidder"])
        live.deal(*custodians)
        live.land(custodians[0], live.release(rebuilder))
        await live.push()
        path = live.at(api.LOG) + "?from=0"
        assert (await live.get(rebuilder, path)).status == 200
        other = SigningKey(os.urandom(32))
        for signer in ((other, rebuilder.member_id), (rebuilder.request_key, other.encode())):
            assert (await live.get(signer, path)).status == 404
        # nor does anybody get in by one of its keys later
        _, invite = live.invite(live.owner, Role.BIDDER, (of_class(FieldClass.GENERAL),))
        await live.push()
        stolen = live.leaf(invite, joining(rebuilder, live.vault_id, invite))
        assert told(await live.submit(invite, stolen)) == (409, "conflict")


async def test_an_act_that_overtook_the_end_of_a_recovery_is_refused(
    tmp_path: Path, rebuilder: Identity
) -> None:
    """Its head was let in while it could be read; what it sends is judged where it would land."""
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        live.deal(cast["admin"], cast["bidder"])
        live.land(cast["admin"], live.release(rebuilder))
        live.land(live.owner, acts.Custodians(None))
        await live.push()
        sent = api.SubmitAct(live.leaf(rebuilder, acts.Noop())[1:], ())
        with pytest.raises(NotFound):
            await server.service.submit(live.vault_id, rebuilder.member_id, sent)
