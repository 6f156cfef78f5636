"""Who may ask for what: every kind of caller at every path, and what strangers can tell apart."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from client.crypto.identity import Identity
from client.request_signing import sign_request
from protocol import acts, api
from protocol.acts import Act, EpochName, Reason, Role, Statement
from protocol.blocks import FieldClass, Manifest, catalog_field
from protocol.errors import NotFound
from protocol.ledger import act_leaf
from protocol.wire import from_bytes
from tests.casts import Cast, staged_cast
from tests.servers import Answer, LiveVault, asking, live_vault, made_anew, running_server
from tests.world import of_class

PATHS = ("log", "consistency", "observations", "staged", "stage", "bundle", "anew", "fetch")

# fmt: off
MATRIX = {
    #                log  cons. obs. staged stage bundle anew fetch
    "owner":         (200, 200, 200, 200, 200, 200, 200, 200),
    "admin":         (200, 200, 200, 200, 200, 200, 200, 200),
    "keyless":       (200, 200, 200, 200, 403, 403, 403, 200),
    "demoted":       (200, 200, 200, 200, 403, 403, 403, 404),
    "auditor":       (200, 200, 200, 403, 403, 403, 403, 404),
    "bidder":        (200, 200, 403, 403, 403, 403, 403, 200),
    "unconfirmed":   (200, 200, 403, 403, 403, 403, 403, 404),
    "unconfirmed admin": (200, 200, 403, 403, 403, 403, 403, 404),
    "rotated":       (200, 200, 403, 403, 403, 403, 403, 200),
    "replaced":      (200, 200, 403, 403, 403, 403, 403, 404),
    "revoked":       (200, 200, 403, 403, 403, 403, 403, 404),
    "rebuilder":     (200, 200, 403, 403, 403, 403, 403, 404),
    "invite":        (200, 200, 403, 403, 403, 403, 403, 404),
    "access":        (200, 200, 403, 403, 403, 403, 403, 404),
    "used invite":   (404, 404, 404, 404, 404, 404, 404, 404),
    "closed invite": (404, 404, 404, 404, 404, 404, 404, 404),
    "closed access": (404, 404, 404, 404, 404, 404, 404, 404),
    "stranger":      (404, 404, 404, 404, 404, 404, 404, 404),
    None:            (401, 401, 401, 401, 401, 401, 401, 401),
}
# fmt: on

# fmt: off
PHASES = {
    #               log  cons. obs. staged stage bundle anew fetch
    "frozen":      (200, 200, 200, 200, 409, 409, 409, 409),
    "offered":     (200, 200, 200, 200, 200, 200, 200, 200),
    "destroyed":   (200, 200, 200, 200, 409, 409, 409, 409),
}
"""What the owner is answered while its vault is not open."""
# fmt: on

UPLOAD = b"\x07" * 16
DESTROYED = acts.Attest(Statement.KEYS_DESTROYED)


async def wider_cast(live: LiveVault) -> Cast:
    """Add who was somebody else before: other keys, another role, or none yet."""
    cast = await staged_cast(live)
    everything = (of_class(FieldClass.GENERAL), of_class(FieldClass.CORE))
    cast.people["demoted"] = demoted = live.member(Role.ADMIN, everything)
    live.land(live.owner, acts.ChangeRole(demoted.member_id, Role.KEYLESS_ADMIN))
    cast.people["replaced"] = replaced = live.member(Role.BIDDER, everything[:1])
    cast.people["rotated"] = live.rotate(replaced)
    cast.people["rebuilder"] = rebuilder = Identity.generate()
    live.deal(cast["admin"], cast["auditor"])
    live.land(cast["admin"], live.release(rebuilder))
    # Whoever lost something left its epochs tainted.
    live.epochs(live.owner, (cast.collection, 0), (cast.collection, 1))
    await live.push()
    return cast


def anew(live: LiveVault, cast: Cast) -> Manifest:
    """Return the manifest of blocks that were made anew for the one batch."""
    known = live.state.collections.get(cast.collection)
    if known is None:
        return cast.batch
    moves = live.moves(cast.collection, 0, 1, batches={cast.batch.batch_id})
    (manifest,) = made_anew(known.by_id(), moves)
    return manifest


async def ask(live: LiveVault, cast: Cast, path: str, signer: Any) -> Answer:
    """Send one sound request to a path, signed by anybody."""
    if path in ("stage", "bundle"):
        there = cast.collection in live.state.collections
        records = live.records(cast.collection) if there else cast.batch
        staged = live.stage if path == "stage" else live.stage_several
        return await staged(signer, os.urandom(16), records)
    if path == "anew":
        return await live.stage(signer, os.urandom(16), anew(live, cast))
    if path == "fetch":
        return await live.fetch(signer, cast.collection, (cast.batch.batch_id, (0,)))
    paths = {
        "log": live.at(api.LOG) + "?from=0",
        "consistency": live.at(api.CONSISTENCY) + "?from=1&to=2",
        "observations": live.at(api.OBSERVATIONS) + "?from=0",
        "staged": live.at(api.UPLOAD, upload=UPLOAD),
    }
    return await live.get(signer, paths[path])


def same_but_time(answers: list[Answer]) -> bool:
    bodies = [from_bytes(api.ErrorBody, answer.body) for answer in answers]
    told = {(a.status, b.code, b.message, b.hint) for a, b in zip(answers, bodies, strict=True)}
    lengths = {len(answer.body) for answer in answers}
    headers = {
        tuple(sorted((name, value) for name, value in a.headers.items() if name != "Date"))
        for a in answers
    }
    return len(told) == len(lengths) == len(headers) == 1


@pytest.mark.threat("K14")
async def test_each_caller_at_each_path(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await wider_cast(live)
        found = {
            name: tuple(
                [
                    (await ask(live, cast, path, None if name is None else cast[name])).status
                    for path in PATHS
                ]
            )
            for name in MATRIX
        }
        assert found == MATRIX


@pytest.mark.parametrize("phase", PHASES)
async def test_the_owner_at_each_path_while_the_vault_is_not_open(
    tmp_path: Path, phase: str
) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        if phase == "offered":
            live.offer(cast["bidder"])
        else:
            what = acts.Freeze if phase == "frozen" else acts.Destroy
            live.land(live.owner, what(Reason.OTHER))
        await live.push()
        found = tuple([(await ask(live, cast, path, live.owner)).status for path in PATHS])
        assert found == PHASES[phase]
        # and nobody else is told more than before
        for path in PATHS:
            assert (await ask(live, cast, path, cast["stranger"])).status == 404


@pytest.mark.threat("K14")
@pytest.mark.threat("H12")
async def test_acts_by_whoever_may_not_change_nothing(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await wider_cast(live)
        bidder = cast["bidder"].member_id
        erasures = (live.erasure(cast.collection, cast.batch.batch_id, {0}),)
        moves = live.moves(cast.collection, 0, 1, batches={cast.batch.batch_id})
        assert live.state.recovery is not None
        verbs: list[acts.Payload] = [
            acts.Revoke(bidder, acts.Reason.OTHER),
            acts.Confirm(cast["unconfirmed"].member_id),
            acts.ChangeRole(bidder, Role.ADMIN),
            acts.Grant(bidder, (of_class(FieldClass.CORE),)),
            acts.WithdrawGrant(bidder, (of_class(FieldClass.GENERAL),)),
            acts.WithdrawInvite(cast["invite"].member_id),
            acts.DefineCollection(os.urandom(16), (FieldClass.GENERAL,)),
            acts.Commit(os.urandom(16), cast.collection, 0, True, (cast.batch,)),
            acts.Erase(cast.collection, Reason.OTHER, erasures),
            acts.Replace(os.urandom(16), cast.collection, 0, (cast.batch,), Reason.OTHER, erasures),
            acts.Reencrypt(os.urandom(16), cast.collection, 0, True, moves),
            acts.RetireEpoch((acts.EpochName(cast.collection, 0, 2),)),
            acts.RetireCollection(cast.collection, Reason.OTHER),
            acts.Freeze(Reason.OTHER),
            acts.Unfreeze(),
            acts.Destroy(Reason.OTHER),
            acts.ChangePolicy(live.policy),
            acts.Custodians(None),
            live.release(Identity.generate()),
        ]
        who = {
            "bidder": 403,
            "auditor": 403,
            "unconfirmed": 403,
            "unconfirmed admin": 403,
            "rotated": 403,
            "replaced": 403,
            "revoked": 403,
            "rebuilder": 403,
            "invite": 403,
        }
        custodian = {"auditor"}
        who |= {"used invite": 404, "closed invite": 404, "stranger": 404}
        for name, status in who.items():
            for verb in verbs:
                if isinstance(verb, acts.Release) and name in custodian:
                    continue
                leaf = act_leaf(live.signed(cast[name], live.draft(cast[name], verb)))
                answer = await live.submit(cast[name], leaf)
                assert answer.status == status, (name, verb, answer)
        # what admins may not, those of whom the most is thought
        for name, verb in (
            *((name, verb) for name in ("admin", "keyless") for verb in verbs if by_owner(verb)),
            *(("keyless", verb) for verb in verbs if by_keyed(verb)),
        ):
            leaf = live.leaf(cast[name], verb)
            assert (await live.submit(cast[name], leaf)).status == 403, (name, verb)
        # nor does anybody send what another has signed
        revoking = live.leaf(live.owner, verbs[0])
        for name in ("bidder", "access", "closed access", "stranger", "rebuilder", "replaced"):
            assert (await live.submit(cast[name], revoking)).status in (403, 404), name
        assert (await live.submit(None, revoking)).status == 401
        page = (await live.get(live.owner, live.at(api.LOG) + f"?from={live.pushed}")).read(
            api.LogPage
        )
        assert page.leaves == ()
        assert (await live.submit(live.owner, revoking)).status == 200  # the honest control


def by_owner(verb: acts.Payload) -> bool:
    """Say whether only the owner may."""
    return isinstance(
        verb, acts.ChangeRole | acts.Unfreeze | acts.Destroy | acts.ChangePolicy | acts.Custodians
    )


def by_keyed(verb: acts.Payload) -> bool:
    """Say whether only the owner and admins with keys may."""
    kinds = acts.Grant | acts.DefineCollection | acts.Commit | acts.Replace | acts.Reencrypt
    return isinstance(verb, kinds | acts.RetireEpoch | acts.RetireCollection)


async def test_acts_by_whoever_may_land(tmp_path: Path) -> None:
    """The honest control of all of them: each kind, by each role that may."""
    async with live_vault(tmp_path, request_burst=10_000) as (_, live):
        cast = await wider_cast(live)
        owner, admin, keyless = live.owner, cast["admin"], cast["keyless"]
        where, batch = cast.collection, cast.batch.batch_id
        readers = (admin, cast["bidder"], cast["rotated"])
        for who in (owner, admin, keyless):
            live.land(who, acts.Freeze(Reason.OTHER))
            live.land(owner, acts.Unfreeze())
        for position, who in enumerate((owner, admin, keyless)):
            live.erase(who, where, {batch: {position}})
        for who in (owner, admin):
            old = live.records(where)
            live.commit(who, where, old)
            erasures = (live.erasure(where, old.batch_id, {0}),)
            new = (live.records(where),)
            live.land(who, acts.Replace(os.urandom(16), where, 0, new, Reason.OTHER, erasures))
            live.epochs(owner, (where, 0), (where, 1), readers=readers)
            live.reencrypt(who, where, 0, 1)
            lying = live.state.collections[where].addresses()
            behind = [
                address
                for address in live.state.live_addresses()
                if address.collection == where and address.field < 2 and address not in lying
            ]
            named = [EpochName(each.collection, each.field, each.epoch) for each in behind]
            live.land(who, acts.RetireEpoch(tuple(named)))
        live.land(owner, acts.ChangePolicy(live.policy))
        live.deal(cast["bidder"], cast["keyless"])
        live.land(cast["bidder"], live.release(Identity.generate()))
        live.land(cast["keyless"], live.release(Identity.generate()))
        live.land(owner, acts.Custodians(None))
        for name in ("auditor", "bidder", "demoted", "keyless"):
            cast.people[name] = live.rotate(cast[name])
        for name in ("owner", "auditor", "bidder", "unconfirmed", "rotated"):
            live.land(cast[name], DESTROYED)
        await live.push()
        for name in ("revoked", "replaced"):
            leaf = live.leaf(cast[name], DESTROYED)
            assert (await live.submit(cast[name], leaf)).status == 200
            live.land_leaf(leaf, (), (cast[name],))
            live.pushed += 1
        live.land(admin, acts.RetireCollection(where, Reason.OTHER))
        live.land(owner, acts.Destroy(Reason.OTHER))
        await live.push()
        page = (await live.get(owner, live.at(api.LOG) + "?from=0")).read(api.LogPage)
        assert live.checkpoint(page.checkpoint).root == live.ledger.tree.root()


@pytest.mark.threat("H10")
@pytest.mark.threat("H11")
async def test_strangers_cannot_tell_what_is_not_there_from_what_is_not_theirs(
    tmp_path: Path,
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        other = LiveVault(server=live.server, asker=live.asker, token=server.token.reveal())
        await other.push()
        absent = LiveVault(server=live.server, asker=live.asker)  # created nowhere
        known = cast["bidder"]
        forged = (Identity.generate().request_key, known.member_id)
        answers: list[Answer] = []
        told_apart = set(PATHS) - {
            "stage",
            "bundle",
            "anew",
        }  # whose bodies these vaults cannot make
        for path in PATHS:
            answers += [
                await ask(live, cast, path, cast["stranger"]),
                await ask(live, cast, path, other.owner),
                await ask(live, cast, path, cast["closed invite"]),
                await ask(live, cast, path, forged),
                await ask(absent, cast, path, known) if path in told_apart else answers[0],
                await ask(other, cast, path, known) if path in told_apart else answers[0],
            ]
        noop = act_leaf(live.signed(other.owner, live.draft(other.owner, acts.Noop())))
        answers.append(await live.submit(other.owner, noop))
        # a member is told no more of what it may not read, or of what is no path at all
        for collection, batch, fields in (
            (cast.collection, cast.batch.batch_id, (1,)),
            (cast.collection, cast.batch.batch_id, (0, 1)),
            (cast.collection, cast.batch.batch_id, (7,)),
            (cast.collection, cast.batch.batch_id, (catalog_field(FieldClass.GENERAL),)),
            (cast.collection, os.urandom(16), (0,)),
            (os.urandom(16), cast.batch.batch_id, (0,)),
            (bytes(16), cast.batch.batch_id, (0,)),
        ):
            answers.append(await live.fetch(known, collection, (batch, fields)))
        answers.append(await live.get(known, "/v1/nothing"))
        assert same_but_time(answers)
        assert answers[0].status == 404
        assert answers[0].code == "not_found"


async def test_the_service_itself_tells_a_stranger_nothing(tmp_path: Path) -> None:
    """The door, which refuses them before, is not all that keeps them out."""
    async with live_vault(tmp_path) as (server, live):
        member, service = live.owner.member_id, server.service
        assert (await service.log_page(live.vault_id, member, 0)).leaves
        for vault_id, keyid in ((live.vault_id, bytes(32)), (bytes(32), member)):
            with pytest.raises(NotFound, match="nothing here for this key"):
                await service.log_page(vault_id, keyid, 0)


async def test_a_former_member_sees_the_log_up_to_its_removal(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        revoked = cast["revoked"]
        removed_at = live.state.members[revoked.member_id].removed_at
        assert removed_at is not None
        size = removed_at + 1
        assert size < live.ledger.size
        page = (await live.get(revoked, live.at(api.LOG) + "?from=0")).read(api.LogPage)
        assert [each.leaf for each in page.leaves] == [leaf for leaf, _ in live.leaves[:size]]
        shown = live.checkpoint(page.checkpoint)
        assert (shown.size, shown.root) == (size, live.ledger.tree.root(size))
        path = live.at(api.CONSISTENCY)
        proof = (await live.get(revoked, f"{path}?from=1&to={size}")).read(api.ConsistencyProof)
        assert proof.hashes == live.ledger.tree.consistency_proof(1, size)
        assert (await live.get(revoked, f"{path}?from=1&to={size + 1}")).status == 400
        later = (await live.get(revoked, live.at(api.LOG) + f"?from={size}")).read(api.LogPage)
        assert later.leaves == ()


async def test_whoever_joined_may_send_its_join_again(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        invite = cast["invite"]
        live.join(invite)
        await live.push()
        leaf, sides = live.leaves[-1]
        again = (await live.submit(invite, leaf, sides)).read(api.Submitted)
        assert again.index == live.ledger.size - 1
        assert live.checkpoint(again.checkpoint).size == again.index + 1
        other = Act(live.vault_id, invite.member_id, 0, live.citation(), acts.Noop(), None)
        assert (await live.submit(invite, act_leaf(live.signed(invite, other)))).status == 409


@asynccontextmanager
async def unpushed(data_dir: Path) -> AsyncIterator[LiveVault]:
    """A server that goes by a name, and a vault that it refused to create for that reason."""
    async with (
        running_server(data_dir, authorities=("vault.example",)) as server,
        asking(server.url, server.pin) as asker,
    ):
        yield LiveVault(asker=asker)


async def test_requests_for_another_name_are_refused_where_names_are_given(tmp_path: Path) -> None:
    async with unpushed(tmp_path) as live:
        pass_through = live.asker
        assert pass_through is not None
        path = live.at(api.LOG) + "?from=0"
        refused = await live.get(live.owner, path)
        assert (refused.status, refused.code) == (401, "unauthenticated")
        assert "name" in refused.error.message
        url = "https://vault.example" + path
        owner = live.owner
        headers = sign_request(
            "GET", url, None, None, owner.request_key, owner.member_id, time.time()
        )
        allowed = await pass_through.send("GET", path, headers | {"Host": "vault.example"})
        # the name is right; there is no such vault
        assert allowed.status == 404
