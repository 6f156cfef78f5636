"""Creating vaults, sending acts, reading the log: what is answered, and what it changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from client.crypto.identity import Identity
from protocol import acts, api
from protocol.acts import Citation, Role
from protocol.blocks import FieldClass
from protocol.checkpoint import signed_message
from protocol.errors import NotAuthorised, OutOfOrder, StaleAct
from protocol.labels import Label, digest
from protocol.ledger import act_leaf
from protocol.limits import LIMITS, limits_table
from protocol.merkle import verify_consistency
from protocol.observations import OBSERVATION_LEAF, ObservationBody
from protocol.wire import Envelope, from_bytes, to_bytes
from tests.casts import staged_cast
from tests.servers import Answer, LiveVault, asking, live_vault, running_server
from tests.world import joining, of_class
from vault import pages as page_module
from vault import service as service_module
from vault.app import RunningServer
from vault.tls import load_or_create_checkpoint_key


def noop(live: LiveVault, author: Identity, number: int | None = None) -> bytes:
    act = live.draft(author, acts.Noop())
    return act_leaf(live.signed(author, act if number is None else replace(act, number=number)))


def another_history(live: LiveVault) -> Citation:
    """A checkpoint that the server's key signed, of a log that is not this one."""
    size, root = live.ledger.size, os.urandom(32)
    message = signed_message(live.vault_id, size, root, live.now)
    return Citation(size, root, live.now, live.server.sign(message).signature)


async def log_size(live: LiveVault) -> int:
    page = await log_page(live, live.owner, 0)
    return live.checkpoint(page.checkpoint).size


async def log_page(live: LiveVault, who: Identity, start: int) -> api.LogPage:
    return (await live.get(who, live.at(api.LOG) + f"?from={start}")).read(api.LogPage)


# --- the server itself


async def test_the_server_says_who_it_is(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        info = (await live.get(None, api.SERVER)).read(api.ServerInfo)
        assert info.checkpoint_key == bytes(live.server.verify_key)
        assert info.versions == (1,)
        assert info.needs_token is True
        assert {limit.name: limit.value for limit in info.limits} == limits_table()
        health = await live.get(None, api.HEALTH)
        assert (health.status, health.body) == (200, b'{"status":"ok"}')
        assert health.headers["Content-Type"] == "application/json"
        assert health.headers["Server"] == "sealroom"


# --- creating


async def test_creating_again_is_answered_again(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        live.people()
        await live.push()
        again = (await live.create()).read(api.Submitted)
        assert again.index == 0
        assert live.checkpoint(again.checkpoint).root == live.ledger.tree.root()


async def test_a_vault_needs_the_token_unless_the_server_is_open(tmp_path: Path) -> None:
    for is_open, status in ((False, 403), (True, 200)):
        data_dir = tmp_path / str(is_open)
        async with (
            running_server(data_dir, open=is_open) as server,
            asking(server.url, server.pin) as asker,
        ):
            key = load_or_create_checkpoint_key(data_dir)
            for token in ("", server.token.reveal()[:-1], server.token.reveal() + "A"):
                live = LiveVault(server=key, asker=asker, token=token)
                assert (await live.create()).status == status
            info = (await asker.ask(None, "GET", api.SERVER)).read(api.ServerInfo)
            assert info.needs_token is not is_open


async def test_a_vault_is_created_by_its_owner_for_this_server(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path) as server,
        asking(server.url, server.pin) as asker,
    ):
        token = server.token.reveal()
        for_another = LiveVault(asker=asker, token=token)
        refused = await for_another.create()
        assert (refused.status, refused.code) == (422, "context_mismatch")
        live = LiveVault(server=load_or_create_checkpoint_key(tmp_path), asker=asker, token=token)
        genesis = live.leaves[0][0][1:]
        body = to_bytes(api.CreateVault(token, genesis))
        # signed by another, by another in the owner's name, and not at all
        stranger = Identity.generate()
        forged = (stranger.request_key, live.owner.member_id)
        for signer in (stranger, forged, None):
            answer = await asker.ask(signer, "POST", api.VAULTS, body)
            assert (answer.status, answer.code) == (401, "unauthenticated")
        # what is no genesis
        for bad in (noop(live, live.owner)[1:], b"\x00", genesis[:-1]):
            answer = await asker.ask(
                live.owner, "POST", api.VAULTS, to_bytes(api.CreateVault(token, bad))
            )
            assert answer.status == 400
        assert (await live.create()).status == 200


async def test_a_genesis_with_a_false_signature_is_refused(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        envelope = from_bytes(Envelope, live.genesis())
        other = from_bytes(Envelope, live.genesis())
        body = to_bytes(
            api.CreateVault(live.token, to_bytes(replace(envelope, signature=other.signature)))
        )
        refused = await live.ask(live.owner, "POST", api.VAULTS, body)
        assert (refused.status, refused.code) == (422, "integrity")


async def test_whoever_signs_the_request_is_the_owner_in_the_genesis(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        live = LiveVault(server=load_or_create_checkpoint_key(tmp_path))
        asked = api.CreateVault(server.token.reveal(), live.leaves[0][0][1:])
        with pytest.raises(NotAuthorised, match="owner"):
            await server.service.create_vault(Identity.generate().member_id, asked)


# --- acts


async def test_an_act_lands_once_however_often_it_is_sent(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        leaf = noop(live, live.owner)
        answers = await asyncio.gather(*(live.submit(live.owner, leaf) for _ in range(10)))
        assert {answer.read(api.Submitted).index for answer in answers} == {1}
        assert await log_size(live) == 2
        other = act_leaf(live.signed(live.owner, live.draft(live.owner, acts.Expire())))
        refused = await live.submit(live.owner, other)
        assert (refused.status, refused.code) == (409, "conflict")
        ahead = await live.submit(live.owner, noop(live, live.owner, number=7))
        assert (ahead.status, ahead.code) == (409, "out_of_order")
        assert await log_size(live) == 2


@pytest.mark.threat("R9")
async def test_of_two_control_acts_at_one_head_one_lands(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        live.people()
        admin = live.member(Role.ADMIN)
        await live.push()
        leaves = [
            act_leaf(
                live.signed(
                    author,
                    live.draft(author, acts.DefineCollection(os.urandom(16), (FieldClass.CORE,))),
                )
            )
            for author in (live.owner, admin)
        ]
        answers = await asyncio.gather(
            live.submit(live.owner, leaves[0]), live.submit(admin, leaves[1])
        )
        assert sorted(answer.status for answer in answers) == [200, 409]
        assert {"stale_act"} == {a.code for a in answers if a.status == 409}


async def test_what_the_ledger_refuses_is_not_appended(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        live.people()
        await live.push()
        owner = live.owner
        false = replace(from_bytes(Envelope, noop(live, owner)[1:]), signature=os.urandom(64))
        elsewhere = another_history(live)
        payload = acts.Invite(
            Identity.generate().card(live.vault_id),
            *(Role.ADMIN, (), False, live.now + 9, bytes(Identity.generate().public.signing_key)),
        )
        cases = (
            (act_leaf(to_bytes(false)), (), 422, "integrity"),
            (
                act_leaf(live.signed(owner, live.draft(owner, acts.Noop(), elsewhere))),
                (),
                422,
                "fork",
            ),
            (noop(live, owner), (b"\x00",), 422, "context_mismatch"),
            (act_leaf(live.signed(owner, live.draft(owner, payload))), (), 403, "not_authorised"),
            (
                noop(LiveVault(owner=owner, server=live.server), owner, number=2),
                (),
                422,
                "context_mismatch",
            ),
        )
        for leaf, sides, status, code in cases:
            refused = await live.submit(owner, leaf, sides)
            assert (refused.status, refused.code) == (status, code)
        assert await log_size(live) == live.ledger.size
        assert (await live.submit(owner, noop(live, owner))).status == 200


@pytest.mark.threat("V4")
async def test_an_act_that_cites_a_checkpoint_of_long_ago_is_refused(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        old = live.citation(time=live.now - LIMITS.citation_age_seconds - 60)
        recent = live.citation(time=live.now - LIMITS.citation_age_seconds + 60)
        leaves = [
            act_leaf(live.signed(live.owner, live.draft(live.owner, acts.Noop(), cited)))
            for cited in (old, recent)
        ]
        live.judge(live.owner, acts.Noop(), old)  # the ledger, which reads no clock, takes it
        refused = await live.submit(live.owner, leaves[0])
        assert (refused.status, refused.code) == (409, "stale_act")
        assert refused.error.hint
        assert await log_size(live) == 1
        assert (await live.submit(live.owner, leaves[1])).read(api.Submitted).index == 1


@dataclass
class Later:
    """A vault on a server whose clock is the test's, asked without HTTP."""

    server: RunningServer
    live: LiveVault
    clock: list[float]

    async def push(self) -> None:
        """Send what landed here and was not sent yet."""
        live, service = self.live, self.server.service
        for at in range(live.pushed, len(live.leaves)):
            leaf, sides = live.leaves[at]
            author = live.authors[at].member_id
            if at == 0:
                asked = api.CreateVault(self.server.token.reveal(), leaf[1:])
                await service.create_vault(author, asked)
            else:
                await service.submit(live.vault_id, author, api.SubmitAct(leaf[1:], sides))
        live.pushed = len(live.leaves)

    async def after(self, seconds: int) -> None:
        self.clock[0] += seconds
        self.live.now += seconds

    async def submitted(self, author: Identity, payload: acts.Payload, cited: Citation) -> int:
        """Send an act without sides, and return the index of its leaf."""
        live = self.live
        leaf = act_leaf(live.signed(author, live.draft(author, payload, cited)))
        sent = api.SubmitAct(leaf[1:], ())
        answer = await self.server.service.submit(live.vault_id, author.member_id, sent)
        return answer.index


@asynccontextmanager
async def later(tmp_path: Path) -> AsyncIterator[Later]:
    clock = [1_800_000_000.0]
    async with running_server(tmp_path, lambda: clock[0]) as server:
        key = load_or_create_checkpoint_key(tmp_path)
        yield Later(server, LiveVault(server=key, now=int(clock[0])), clock)


@pytest.mark.threat("V4")
@pytest.mark.parametrize(("age", "fits"), [(0, True), (3_600, True), (3_601, False)])
async def test_how_old_a_citation_may_be(tmp_path: Path, age: int, fits: bool) -> None:
    async with later(tmp_path) as found:
        await found.push()
        live, cited = found.live, found.live.citation()
        await found.after(age)
        if fits:
            assert await found.submitted(live.owner, acts.Noop(), cited) == 1
        else:
            with pytest.raises(StaleAct, match="long ago"):
                await found.submitted(live.owner, acts.Noop(), cited)
            assert await found.submitted(live.owner, acts.Noop(), live.citation()) == 1


async def test_an_act_that_landed_is_answered_again_however_old(tmp_path: Path) -> None:
    async with later(tmp_path) as found:
        live = found.live
        live.people()
        await found.push()
        await found.after(9 * 86_400)
        leaf, sides = live.leaves[1]
        sent = api.SubmitAct(leaf[1:], sides)
        answer = await found.server.service.submit(live.vault_id, live.owner.member_id, sent)
        assert answer.index == 1


@pytest.mark.threat("V7")
async def test_an_expired_invite_does_not_live_on_by_a_checkpoint_that_was_kept(
    tmp_path: Path,
) -> None:
    async with later(tmp_path) as found:
        live = found.live
        live.people()
        _, invite = live.invite(live.owner, days=1)
        await found.push()
        kept, newcomer = live.citation(), Identity.generate()
        payload = joining(newcomer, live.vault_id, invite)
        live.judge(invite, payload, kept)  # nobody dated its end in the log
        await found.after(86_401)
        with pytest.raises(StaleAct, match="long ago"):
            await found.submitted(invite, payload, kept)
        with pytest.raises(OutOfOrder, match="expired"):
            await found.submitted(invite, payload, live.citation())
        live.land(live.owner, acts.Noop())  # with a newer date, which ends the invite
        await found.push()
        assert not live.state.invites[invite.member_id].live


@pytest.mark.threat("W2")
async def test_an_expired_offer_is_not_accepted_by_a_checkpoint_that_was_kept(
    tmp_path: Path,
) -> None:
    async with later(tmp_path) as found:
        live = found.live
        live.people()
        buyer = live.member(Role.BIDDER)
        live.offer(buyer, days=1)
        await found.push()
        kept = live.citation()
        assert live.state.offer is not None
        acceptance = acts.Accept(live.state.offer.index, kept.size, live.receipts())
        live.judge(buyer, acceptance, kept)
        await found.after(86_401)
        with pytest.raises(StaleAct, match="long ago"):
            await found.submitted(buyer, acceptance, kept)
        with pytest.raises(OutOfOrder, match="offer"):
            await found.submitted(buyer, acceptance, live.citation())


@pytest.mark.threat("K1")
async def test_a_card_made_for_another_invite_enrols_nobody(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        live.people()
        _, invite = live.invite(live.owner, Role.AUDITOR)
        _, other = live.invite(live.owner, Role.BIDDER)
        await live.push()
        held_back = joining(Identity.generate(), live.vault_id, invite)
        stolen = act_leaf(live.signed(other, live.draft(other, held_back)))
        refused = await live.submit(other, stolen)
        assert (refused.status, refused.code) == (422, "integrity")
        assert await log_size(live) == live.ledger.size
        rightly = act_leaf(live.signed(invite, live.draft(invite, held_back)))
        assert (await live.submit(invite, rightly)).status == 200


async def test_an_observation_is_no_act(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        body = to_bytes(Envelope(Label.OBSERVATION, b"x", bytes(64)))
        assert (await live.submit(live.owner, b"\x01" + body)).code == "malformed"


# --- the log


def contents(leaf: api.LogLeaf) -> tuple[bytes, ...]:
    """Return the parts beside a leaf, all of which are there."""
    parts = tuple(part.content for part in leaf.sides if part.content is not None)
    assert len(parts) == len(leaf.sides)
    return parts


async def test_the_log_comes_back_to_the_byte_with_its_sides(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        await live.fetch(cast["bidder"], cast.collection, (cast.batch.batch_id, (0,)))
        await live.pull()
        page = await log_page(live, cast["bidder"], 0)
        assert [(each.leaf, contents(each)) for each in page.leaves] == live.leaves
        shown = live.checkpoint(page.checkpoint)
        assert (shown.size, shown.root) == (live.ledger.size, live.ledger.tree.root())
        assert abs(shown.time - live.now) < 30
        part = await log_page(live, live.owner, 5)
        assert part.leaves == page.leaves[5:]
        assert part.start == 5
        for past in (live.ledger.size, live.ledger.size + 9):
            assert (await log_page(live, live.owner, past)).leaves == ()


async def test_a_page_of_the_log_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (_, live):
        await staged_cast(live)
        monkeypatch.setattr(page_module, "PAGE_PARTS", 3)
        seen: list[tuple[bytes, tuple[bytes, ...]]] = []
        pages = 0
        while len(seen) < live.ledger.size:
            page = await log_page(live, live.owner, len(seen))
            assert page.leaves
            assert len(page.leaves) == 1 or sum(len(each.sides) for each in page.leaves) <= 3
            seen += [(each.leaf, contents(each)) for each in page.leaves]
            pages += 1
        assert seen == live.leaves
        assert pages > 5


async def test_one_size_of_the_log_is_proved_from_another(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        await staged_cast(live)
        tree, path = live.ledger.tree, live.at(api.CONSISTENCY)
        for old, new in ((1, 2), (3, 3), (7, tree.size)):
            proof = (await live.get(live.owner, f"{path}?from={old}&to={new}")).read(
                api.ConsistencyProof
            )
            verify_consistency(old, tree.root(old), new, tree.root(new), proof.hashes)
        for old, new in ((0, 1), (3, 2), (1, tree.size + 1)):
            refused = await live.get(live.owner, f"{path}?from={old}&to={new}")
            assert (refused.status, refused.code) == (400, "malformed")


async def test_a_checkpoint_is_signed_anew_each_second_and_never_earlier(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    async with running_server(tmp_path, lambda: now[0]) as server:
        service = server.service
        live = LiveVault(server=load_or_create_checkpoint_key(tmp_path), now=int(now[0]))
        owner = live.owner.member_id
        genesis = live.leaves[0][0][1:]
        await service.create_vault(owner, api.CreateVault(server.token.reveal(), genesis))

        async def shown() -> int:
            page = await service.log_page(live.vault_id, owner, 0)
            return live.checkpoint(page.checkpoint).time - 1_800_000_000

        assert await shown() == 0
        now[0] += 0.5
        assert await shown() == 0
        now[0] += 5
        assert await shown() == 5
        now[0] -= 200  # more than clients allow for would be signed right again
        assert await shown() == 5


# --- observations


async def test_every_fetch_is_observed_for_those_who_may_know(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        bidder = cast["bidder"]
        wanted = (cast.batch.batch_id, (0,))
        before = live.ledger.size
        await asyncio.gather(*(live.fetch(bidder, cast.collection, wanted) for _ in range(9)))
        await live.pull()
        assert live.ledger.size == before + 9
        path = live.at(api.OBSERVATIONS)
        page = (await live.get(live.owner, f"{path}?from=0")).read(api.ObservationsPage)
        assert [each.index for each in page.observations] == list(range(before, before + 9))
        for name in ("admin", "keyless", "auditor"):
            assert (await live.get(cast[name], f"{path}?from=0")).read(api.ObservationsPage) == page
        for each in page.observations:
            leaf, _ = live.leaves[each.index]
            hashed = digest(Label.OBSERVATION_LEAF, each.salt, each.envelope)
            assert leaf == bytes((OBSERVATION_LEAF,)) + hashed
            envelope = from_bytes(Envelope, each.envelope)
            server_key = bytes(live.server.verify_key)
            body = from_bytes(ObservationBody, envelope.verify(server_key, Label.OBSERVATION))
            assert (body.vault_id, body.member) == (live.vault_id, bidder.member_id)
            assert (body.collection, body.fields) == (cast.collection, (0,))
            assert body.batches == (cast.batch.batch_id,)
        requests = {
            from_bytes(ObservationBody, from_bytes(Envelope, each.envelope).body).request
            for each in page.observations
        }
        assert len(requests) == 9
        later = (await live.get(live.owner, f"{path}?from={before + 4}")).read(api.ObservationsPage)
        assert later.observations == page.observations[4:]


async def test_a_page_of_observations_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        for _ in range(3):
            await live.fetch(cast["bidder"], cast.collection, (cast.batch.batch_id, (0,)))
        limits = replace(LIMITS, log_page_bytes=400)
        monkeypatch.setattr(service_module, "LIMITS", limits)
        path = live.at(api.OBSERVATIONS)
        page = (await live.get(live.owner, f"{path}?from=0")).read(api.ObservationsPage)
        assert len(page.observations) == 1


async def test_a_refused_fetch_is_not_observed(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        answers = await asyncio.gather(
            live.fetch(cast["bidder"], cast.collection, (cast.batch.batch_id, (0,))),
            live.fetch(cast["auditor"], cast.collection, (cast.batch.batch_id, (0,))),
            live.fetch(cast["bidder"], cast.collection, (cast.batch.batch_id, (1,))),
        )
        assert [answer.status for answer in answers] == [200, 404, 404]
        assert await log_size(live) == live.ledger.size + 1


# --- the whole way


async def test_a_vault_is_handed_over(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        seller, buyer = live.owner, cast["bidder"]
        wanted = (cast.batch.batch_id, (0, 1))
        assert (await live.fetch(buyer, cast.collection, wanted)).status == 404
        live.offer(buyer)
        await live.push()
        assert (await live.fetch(buyer, cast.collection, wanted)).status == 200
        await live.pull()
        live.accept(buyer)
        await live.push()
        assert (await live.fetch(seller, cast.collection, wanted)).status == 404
        assert (await live.fetch(cast["admin"], cast.collection, wanted)).status == 404
        assert (await live.fetch(buyer, cast.collection, wanted)).status == 200
        page = await log_page(live, seller, 0)
        assert len(page.leaves) == live.ledger.size
        again: Answer = await live.submit(buyer, *live.leaves[live.ledger.size - 1])
        assert again.read(api.Submitted).index == live.ledger.size - 1


async def test_a_grant_opens_at_once_and_its_end_closes(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        bidder, core = cast["bidder"], (of_class(FieldClass.CORE),)
        wanted = (cast.batch.batch_id, (0, 1))
        live.land(live.owner, acts.Grant(bidder.member_id, core), readers=(bidder,))
        await live.push()
        assert (await live.fetch(bidder, cast.collection, wanted)).status == 200
        await live.pull()
        live.land(live.owner, acts.WithdrawGrant(bidder.member_id, core))
        await live.push()
        assert (await live.fetch(bidder, cast.collection, wanted)).status == 404


async def test_a_batch_is_served_as_one_of_its_own_collection_alone(tmp_path: Path) -> None:
    """Under the number of a field that a bidder was granted, another table has another class."""
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        other = live.collection(FieldClass.CORE, FieldClass.GENERAL)
        secret = live.records(other)
        live.commit(live.owner, other, secret)
        await live.push()
        bidder, mine = cast["bidder"], cast.batch.batch_id
        assert (await live.fetch(bidder, cast.collection, (mine, (0,)))).status == 200
        size = await log_size(live)
        for where in (cast.collection, other):
            assert (await live.fetch(bidder, where, (secret.batch_id, (0,)))).status == 404
            both = sorted([(mine, (0,)), (secret.batch_id, (0,))])
            assert (await live.fetch(bidder, where, *both)).status == 404
        assert await log_size(live) == size


async def test_a_frozen_vault_serves_no_block_and_takes_none(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        wanted, upload = (cast.batch.batch_id, (0,)), os.urandom(16)
        new = live.records(cast.collection)
        assert (await live.fetch(cast["bidder"], cast.collection, wanted)).status == 200
        assert (await live.stage(live.owner, upload, new)).status == 200
        await live.pull()
        live.land(cast["admin"], acts.Freeze(acts.Reason.BREACH))
        await live.push()
        for who in ("owner", "admin", "keyless", "bidder"):
            refused = await live.fetch(cast[who], cast.collection, wanted)
            assert (refused.status, refused.code) == (409, "frozen"), who
            assert refused.error.hint
        for who in ("owner", "admin"):
            refused = await live.stage(cast[who], os.urandom(16), live.records(cast.collection))
            assert (refused.status, refused.code) == (409, "frozen"), who
        commit = acts.Commit(upload, cast.collection, 0, True, (new,))
        refused = await live.submit(live.owner, live.leaf(live.owner, commit))
        assert (refused.status, refused.code) == (409, "out_of_order")
        # nothing was observed, and whoever may not read is told no more than before
        assert await log_size(live) == live.ledger.size
        assert (await live.fetch(cast["stranger"], cast.collection, wanted)).status == 404
        assert (await live.fetch(cast["revoked"], cast.collection, wanted)).status == 404
        live.land(live.owner, acts.Unfreeze())
        await live.push()
        assert (await live.fetch(cast["bidder"], cast.collection, wanted)).status == 200
        await live.pull()
        assert (await live.submit(live.owner, live.leaf(live.owner, commit))).status == 200
