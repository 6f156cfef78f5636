"""What the server admits that it served, and the log in words."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from client.columns import Cells
from client.crypto.cells import ColumnToSeal, seal_batch
from client.crypto.identity import Identity
from client.errors import Refused
from client.observing import observations
from client.session import saying
from client.transport import Transport
from client.vault import Vault
from protocol import acts
from protocol.acts import Citation, Reason, Role, Statement
from protocol.api import Observation, ObservationsPage
from protocol.blocks import catalog_field
from protocol.errors import ContextMismatch, IntegrityError, ManifestMismatch
from protocol.labels import Label
from protocol.limits import DAY
from protocol.observations import ObservationBody
from protocol.wire import Envelope, from_bytes, pae, to_bytes
from tests.company import ALL, Company, company, customers, members
from tests.erasures import blocks_of, data_batch, emptied, erasing
from tests.in_process import URL
from tests.liars import ForgedLog, Forger, Lie, Signed
from vault.checkpoints import SignedObservation

GENERAL, SENSITIVE, CORE = ALL


# --- observations


async def test_what_the_server_served_is_shown_to_those_who_may_see_it(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await cast("bo")
        await bo.read("customers", fields=["name"])
        for name in ("olga", "ada", "kim", "aud"):
            seen = await observations((await cast(name)).session)
            mine = [each.body for each in seen if each.body.member == bo.identity.member_id]
            assert mine[-1].fields == (0,)
            assert {each.untrue for each in seen} == {None}
            assert len(seen) == (await cast(name)).session.believed.acts.count(None)
        for name in ("bo", "una"):
            with pytest.raises(Refused):
                await observations((await cast(name)).session)


async def test_the_log_tells_reads_to_those_who_may_know_them(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await cast("bo")
        await bo.read("customers", fields=["name"])
        for name, knows in (("aud", True), ("kim", True), ("bo", False), ("uma", False)):
            told = await (await cast(name)).log()
            assert [each.index for each in told.entries] == list(range(told.size))
            reads = [each.detail for each in told.entries if each.kind == "observation"]
            assert reads
            assert all(bool(each) == knows for each in reads)
            readers = {each.get("who") for each in reads}
            assert bool(readers & {"Bo", bo.identity.member_id.hex()[:16]}) == knows
        told = await (await cast("kim")).log()
        last = [each.detail for each in told.entries if each.detail.get("who") == "Bo"][-1]
        assert (last["who"], last["collection"], last["blocks"]) == ("Bo", "customers", 1)
        assert abs(last["time"] - cast.clock()) < 60


Change = Callable[[tuple[Observation, ...]], tuple[Observation, ...]]


class OtherObservations(Lie):
    """Shows other observations than those in the log."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change

    async def observations(
        self, honest: Transport, vault_id: bytes, start: int
    ) -> ObservationsPage:
        page = await honest.observations(vault_id, start)
        return ObservationsPage(self.change(page.observations))


def altered(observation: Observation) -> Observation:
    """Change who read, and sign nothing."""
    envelope = from_bytes(Envelope, observation.envelope)
    body = from_bytes(ObservationBody, envelope.body)
    other = replace(envelope, body=to_bytes(replace(body, member=bytes(32))))
    return replace(observation, envelope=to_bytes(other))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda all: tuple(map(altered, all)), IntegrityError),
        (lambda all: tuple(replace(each, salt=bytes(32)) for each in all), IntegrityError),
        (lambda all: tuple(replace(a, index=b.index) for a, b in turned(all)), IntegrityError),
        (lambda all: all[1:], ManifestMismatch),
        (lambda all: (all[0], *all[2:]), ManifestMismatch),
        (lambda all: all[::-1], ManifestMismatch),
        (lambda all: (all[0], *all), ManifestMismatch),
        (lambda _: (), ManifestMismatch),
    ],
)
async def test_observations_other_than_those_in_the_log_are_refused(
    tmp_path: Path, change: Change, error: type[IntegrityError]
) -> None:
    async with company(tmp_path) as cast:
        await (await cast("bo")).read("customers", fields=["name"])
        ada = await cast.actor("ada", told := OtherObservations(change))
        with ada.catches(error, but="learned"):
            await observations(ada.session)
        # A removal shows them; it stands, and what went wrong is said.
        told.change = lambda all: all[:1]
        assert len(await observations(ada.session)) > 3


def turned(all: tuple[Observation, ...]) -> list[tuple[Observation, Observation]]:
    return list(zip(all[1:] + all[:1], all, strict=True))


@pytest.mark.parametrize(
    ("forge", "error"),
    [
        (lambda body, key: (replace(body, vault_id=bytes(32)), key), ContextMismatch),
        (lambda body, key: (body, SigningKey.generate()), IntegrityError),
    ],
)
async def test_an_observation_counts_only_as_this_vaults_servers(
    tmp_path: Path, forge: Callable[..., tuple[ObservationBody, SigningKey]], error: type
) -> None:
    """Whatever leaf the server put into the log, its body has to be what it seems."""
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        (first, *_) = await observations(olga.session)
        log = await ForgedLog.of(cast.lab, olga.session)
        aud = await cast.actor("aud", said(log, *forge(first.body, log.key)))
        with aud.catches(error, but="learned"):
            await observations(aud.session)


def said(log: ForgedLog, body: ObservationBody, key: SigningKey) -> Forger:
    """Return the server that says one read more of a log, which is at its end."""
    encoded = to_bytes(body)
    signature = key.sign(pae(Label.OBSERVATION, encoded)).signature
    envelope = to_bytes(Envelope(Label.OBSERVATION, encoded, signature))
    one = SignedObservation(bytes(32), envelope)
    log.take(Signed(one.leaf))
    at = log.size - 1

    class Served(Forger):
        async def observations(
            self, honest: Transport, vault_id: bytes, start: int
        ) -> ObservationsPage:
            page = await honest.observations(vault_id, start)
            before = (each for each in page.observations if each.index < at)
            return ObservationsPage((*before, one.at(at)))

    return Served(log)


# --- reads that never were


@dataclass(frozen=True)
class Scene:
    """The log that the server adds a read to, and who and what is in it."""

    log: ForgedLog
    who: dict[str, bytes]
    where: bytes
    batch: bytes
    names: bytes
    """The batch of the catalog of the general fields."""

    def read(self, name: str, *fields: int, **other: Any) -> ObservationBody:
        """Return what a read of the collection's batch by a member would say."""
        return ObservationBody(
            self.log.vault_id, self.who.get(name, b"\7" * 32), bytes(32), other.get("time", now()),
            other.get("where", self.where), fields, other.get("batches", (self.batch,)),
        )  # fmt: skip


def now() -> int:
    return int(time.time())


async def scene(cast: Company) -> Scene:
    olga = await cast("olga")
    where = olga.session.state.collections[customers(olga)]
    (data,) = [each.id for each in where.batches if not each.manifest.is_catalog]
    catalogs = {each.manifest.blocks[0].field: each.id for each in where.batches[:-1]}
    who = {
        name or "": bytes.fromhex(each.member_id) for name, each in (await members(olga)).items()
    }
    log = await ForgedLog.of(cast.lab, olga.session)
    return Scene(log, who, where.id, data, catalogs[catalog_field(GENERAL)])


def frozen(given: Scene, by: Identity) -> ObservationBody:
    given.log.take(given.log.spoken(by, acts.Freeze(Reason.BREACH)))
    return given.read("Ada", 0)


Say = Callable[[Scene, Identity], ObservationBody]


@pytest.mark.parametrize(
    ("say", "why"),
    [
        (lambda s, _: s.read("Aud", 2), "not for that member to read"),
        (lambda s, _: s.read("Bo", 2), "not for that member to read"),
        (lambda s, _: s.read("Bo", 0, 2), "not for that member to read"),
        (lambda s, _: s.read("Una", 4000), "fields that were not there"),
        (lambda s, _: s.read("Ada", 0, batches=(s.batch, s.names)), "fields that were not there"),
        (lambda s, _: s.read("Ada", 0, batches=(b"\1" * 16,)), "a batch that was not there"),
        (lambda s, _: s.read("Ada", 0, batches=(s.batch, s.batch)), "or one twice"),
        (lambda s, _: s.read("Ada", 0, where=b"\1" * 16), "no such collection"),
        (lambda s, _: s.read("Nobody", 0), "was no member then"),
        (lambda s, _: s.read("Rex", 0), "was no member then"),
        (lambda s, _: s.read("Bo", 0, time=now() - DAY), "its time does not fit"),
        (lambda s, _: s.read("Bo", 0, time=now() + DAY), "its time does not fit"),
        (lambda s, _: s.read("Bo", 0, time=2**40), "its time does not fit"),
        (lambda s, _: s.read("Bo", 0, time=0), "its time does not fit"),
        (frozen, "frozen or destroyed"),
    ],
)
async def test_a_read_that_the_log_rules_out_is_told_as_false_and_the_log_is_still_shown(
    tmp_path: Path, say: Say, why: str
) -> None:
    async with company(tmp_path) as cast:
        honest = await (await cast("ada")).plan_revocation("Bo")
        given, olga = await scene(cast), await cast("olga")
        log = given.log
        lie = said(log, say(given, olga.identity), log.key)
        aud = await cast.actor("aud", lie)
        told = await aud.vault.log(verify=True)
        assert told.false_observations == (told.size - 1,)
        assert [each.index for each in told.entries] == list(range(log.size))
        assert why in told.entries[-1].detail["untrue"]
        assert not any("untrue" in each.detail for each in told.entries[:-1])
        # Nobody who is removed is told that it read what it did not.
        kim = await cast.actor("kim", lie)
        (*_, last) = await observations(kim.session)
        assert why in str(last.untrue)
        if why != "frozen or destroyed":
            planned = await kim.vault.plan_revocation("Bo")
            assert planned.admitted_reads == honest.admitted_reads


async def test_a_read_that_might_have_been_is_the_server_s_word(tmp_path: Path) -> None:
    """Whoever has the server's key can say of a member that it read what it may read."""
    async with company(tmp_path) as cast:
        given = await scene(cast)
        lie = said(given.log, given.read("Bo", 0), given.log.key)
        told = await (await cast.actor("aud", lie)).vault.log()
        assert told.false_observations == ()
        assert told.entries[-1].detail["who"] == given.who["Bo"].hex()[:16]


async def test_where_the_server_s_own_times_contradict_each_other_none_is_called_false(
    tmp_path: Path,
) -> None:
    """As after a clock that ran ahead, and was set right."""
    async with company(tmp_path) as cast:
        given, olga = await scene(cast), await cast("olga")
        ahead = Citation.of(given.log.checkpoint(when=now() + DAY))
        given.log.take(given.log.spoken(olga.identity, acts.Noop(), cited=ahead))
        lie = said(given.log, given.read("Bo", 0), given.log.key)
        told = await (await cast.actor("aud", lie)).vault.log()
        assert told.false_observations == ()


# --- the log in words


async def test_the_log_is_told_in_words_as_far_as_one_may_know(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, bo = await cast("olga"), await cast("bo")
        await olga.change_role("Aud", Role.KEYLESS_ADMIN)
        await olga.grant("Bo", fields=["iban"])
        await olga.withdraw_grant("Bo", fields=["iban"])
        await olga.withdraw_invite("Ivy")
        await olga.offer("Bo")
        await bo.reject(Reason.TERMS)
        await olga.rotate()
        await olga.offer("Bo")
        words = await bo.words(olga.identity.member_id.hex())
        await bo.accept(words=words)
        told = await bo.log(verify=True)
        assert told.verified == told.size == len(told.entries)
        by_kind = {entry.kind: entry for entry in told.entries}
        assert by_kind.keys() == {
            "genesis", "create-epoch", "commit", "observation", "define-collection", "invite",
            "join", "confirm", "revoke", "change-role", "grant", "withdraw-grant",
            "withdraw-invite", "offer", "reject", "accept",
        }  # fmt: skip
        # The buyer is the owner now, and knows every name.
        assert by_kind["grant"].author_name == "Olga"
        assert by_kind["grant"].detail == {"who": "Bo", "rules": ["field 2 in customers"]}
        assert by_kind["join"].author_name == "Uma"  # the last one who did
        assert by_kind["reject"].detail["reason"] is Reason.TERMS
        assert by_kind["accept"].detail["records"] == 3
        assert by_kind["withdraw-invite"].detail == {"who": "Ivy"}
        assert by_kind["revoke"].detail == {"who": "Rex", "reason": Reason.LEFT}
        assert by_kind["define-collection"].detail == {"collection": "customers", "fields": 3}
        assert by_kind["observation"].author is None
        # Whoever was removed still has the log up to there, without the names.
        before = await (await cast("aud")).log()
        assert before.entries[-1].kind == "accept"
        assert {entry.author_name for entry in before.entries} == {None}


async def test_what_is_done_to_keys_data_and_the_vault_is_told_too(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        await olga.change_policy(head_signers=["Aud"])
        await olga.set_up_recovery(["Ada", "Aud"])
        await olga.end_recovery()
        await olga.rotate(collection="customers", reencrypt=True)
        await olga.erase("customers", [1, 3], reason=Reason.RETENTION)
        await replaced(olga)
        await olga.heartbeat()
        await olga.freeze(Reason.BREACH)
        await olga.unfreeze()
        named = {entry.kind: entry.detail for entry in (await ada.log()).entries}
        assert named["policy"] == {"head_signers": ["Aud"]}
        assert named["custodians"] == {"custodians": []}
        dealt = next(e.detail for e in (await ada.log()).entries if e.kind == "custodians")
        assert (set(dealt["custodians"]), dealt["threshold"]) == ({"Ada", "Aud"}, 2)
        # Three catalogs and three fields of one batch; the epochs of before and those of Rex's.
        assert named["re-encrypt"] == {"collection": "customers", "blocks": 6}
        assert named["retire-epoch"]["epochs"] >= 6
        assert named["erase"] == {
            "collection": "customers", "records": 2, "reason": Reason.RETENTION
        }  # fmt: skip
        assert named["replace"] == {
            "collection": "customers", "erased": 1, "records": 1, "reason": Reason.MISTAKE
        }  # fmt: skip
        assert named["freeze"] == {"reason": Reason.BREACH}
        assert named["heartbeat"] == named["unfreeze"] == {}

        home = cast.open["olga"].home
        moved = await home.rotate_identity(olga)
        await olga.retire_collection("customers", Reason.REQUEST)
        await olga.destroy(Reason.TERMS)
        attested = await cast.open["ada"].home.attest_destroyed(ada)
        entries = (await olga.log(verify=True)).entries
        told = {entry.kind: entry for entry in entries}
        assert told["rotate-identity"].detail == {"to": moved.new_id[:16], "rebuilt": False}
        # What it was called went with it.
        gone = told["retire-collection"].detail
        assert gone["reason"] is Reason.REQUEST
        assert gone["collection"] == told["define-collection"].detail["collection"] != "customers"
        assert told["destroy"].detail == {"reason": Reason.TERMS}
        assert told["attest"].detail == {"statement": Statement.KEYS_DESTROYED}
        assert told["attest"].index == attested.index


async def replaced(vault: Vault) -> None:
    """Put a new record in the place of the second one, in one act."""
    session = vault.session
    where, _ = data_batch(session.state)
    # The first and the third one are gone.
    left = emptied(await blocks_of(session), {0, 1, 2})
    erased = erasing(session.state, {1}, left)
    columns = [
        ColumnToSeal(
            number,
            session.writable(where, number).epoch,
            each,
            session.key(session.writable(where, number)).key.expose(),
            Cells.from_list([b"new"], string_like=True),
        )
        for number, each in enumerate(session.state.collections[where].classes)
    ]
    sealed, upload = seal_batch(columns), os.urandom(16)
    await session.transport.stage(session.vault_id, upload, sealed.manifest.batch_id, sealed.body())
    manifests = (sealed.manifest,)
    await session.act(
        saying(acts.Replace(upload, where, 0, manifests, Reason.MISTAKE, erased.erasures))
    )


async def test_a_rescue_is_told(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        await olga.set_up_recovery(["Ada", "Aud"])
        request = cast.newcomer("new").rescue_request(URL, olga.session.vault_id, None)
        await ada.release_share(request.text, yes=True)
        last = (await ada.log()).entries[-1]
        assert (last.kind, last.detail) == ("release", {"to": request.member_id[:16]})
