"""What a server can say of a log that is not so: one lie each, made on a stage.

The homes that it is told to are behind: they know `Stage.first` leaves of the log, and what comes
after those is news to them.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final

from nacl.signing import SigningKey

from client.crypto.wraps import create_epoch
from client.transport import Transport
from protocol import acts
from protocol.acts import Citation
from protocol.api import LogLeaf, LogPage
from protocol.blocks import Address
from protocol.checkpoint import Checkpoint
from protocol.encoding import decode, encode
from protocol.errors import (
    ContextMismatch,
    Fork,
    IntegrityError,
    MalformedMessage,
    NotAuthorised,
    Rollback,
    SealroomError,
    Stale,
    Unsupported,
)
from protocol.labels import Label
from protocol.ledger import act_leaf
from protocol.ledger.sides import BoxPart, Part, WrapsPart
from protocol.limits import LIMITS
from protocol.wire import Envelope, pae, to_bytes
from tests.forgeries import FORGERIES, Forgery
from tests.forging import GENERAL, GHOST, auditor, customers, following, forged
from tests.liars import Altered, ForgedLog, Forger, Lie, Signed
from tests.lied_to import Stage
from tests.retelling import OTHER_KEYS, Tamper, a_grant, retold
from tests.world import of_class

Making = Callable[[Stage], Coroutine[Any, Any, Lie]]
News = list[LogLeaf]


@dataclass(frozen=True)
class LogLie:
    """A lie, and what whoever is told it calls it."""

    make: Making
    error: type[SealroomError]


async def truth(stage: Stage) -> ForgedLog:
    """Return the honest log, as whoever has the server's key can go on from it."""
    log = await forged(stage.cast)
    log.clock = stage.clock
    return log


# --- pages of the honest log, changed on their way


def page(change: Callable[[ForgedLog, LogPage], LogPage]) -> Making:
    async def made(stage: Stage) -> Lie:
        log = await truth(stage)
        return Altered(lambda asked: change(log, asked))

    return made


def news(change: Callable[[News], News]) -> Making:
    """Change the leaves that are news."""

    async def made(stage: Stage) -> Lie:
        log = await truth(stage)
        told = [*log.leaves[: stage.first], *change(log.leaves[stage.first :])]
        return Altered(lambda asked: replace(asked, leaves=tuple(told[asked.start :])))

    return made


def note(of: Callable[[ForgedLog], Checkpoint]) -> Making:
    """Show another checkpoint beside the honest leaves."""
    return page(lambda log, asked: replace(asked, checkpoint=of(log).note()))


def other_root(log: ForgedLog) -> Checkpoint:
    """Sign another root for the same size."""
    return log.claimed(log.size, bytes(32))


def act_at(leaves: News) -> int:
    """Return where the first act is; observations cite nothing, and may stand anywhere."""
    return next(at for at, leaf in enumerate(leaves) if leaf.leaf[0] == 1)


def without_an_act(leaves: News) -> News:
    return leaves[: act_at(leaves)] + leaves[act_at(leaves) + 1 :]


def told_twice(leaves: News) -> News:
    at = act_at(leaves)
    return [*leaves[: at + 1], *leaves[at:]]


def two_exchanged(leaves: News) -> News:
    at = act_at(leaves)
    return [*leaves[:at], leaves[at + 1], leaves[at], *leaves[at + 2 :]]


def swapped_sides(leaves: News) -> News:
    """Exchange what travels beside two acts."""
    one, other = [at for at, leaf in enumerate(leaves) if leaf.sides][:2]
    changed = leaves.copy()
    changed[one] = replace(leaves[one], sides=leaves[other].sides)
    changed[other] = replace(leaves[other], sides=leaves[one].sides)
    return changed


def shorter_sides(leaves: News) -> News:
    return [replace(leaf, sides=leaf.sides[:-1]) for leaf in leaves]


def no_sides(leaves: News) -> News:
    return [replace(leaf, sides=()) for leaf in leaves]


def flipped_leaf(leaves: News) -> News:
    last = leaves[-1].leaf
    return [*leaves[:-1], replace(leaves[-1], leaf=last[:-1] + bytes([last[-1] ^ 1]))]


async def another_vault(stage: Stage) -> Lie:
    """Answer with pages of another vault on the same server."""
    home = stage.cast.newcomer("dan")
    lab = stage.cast.lab
    async with await home.create_vault("https://localhost:8443", title="O", token=lab.token) as own:
        log = await ForgedLog.of(lab, own.session)
    log.clock = stage.clock
    return Altered(lambda asked: replace(log.page(0), start=asked.start))


class OtherProof(Lie):
    """Changes what shows that an older tree is the beginning of a newer one."""

    def __init__(self, change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> None:
        super().__init__()
        self.change = change

    async def consistency(
        self, honest: Transport, vault_id: bytes, old: int, new: int
    ) -> tuple[bytes, ...]:
        return self.change(await honest.consistency(vault_id, old, new))


def proof(change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> Making:
    async def made(_: Stage) -> Lie:
        return OtherProof(change)

    return made


# --- logs of the server's own, signed with its key


def own(change: Callable[[Stage, ForgedLog], Awaitable[None]], back: int = 0) -> Making:
    """Serve a log of the server's own that is the honest one, but for its last leaves."""

    async def made(stage: Stage) -> Lie:
        honest = await truth(stage)
        log = await forged(stage.cast, honest.size - back) if back else honest
        log.clock = stage.clock
        await change(stage, log)
        return Forger(log)

    return made


async def as_it_is(_: Stage, log: ForgedLog) -> None:
    """Let it be."""


def older(leaves: int) -> Making:
    """Serve the log as it was, so many leaves before the homes that are behind."""

    async def made(stage: Stage) -> Lie:
        log = await forged(stage.cast, stage.first - leaves)
        log.clock = stage.clock
        return Forger(log)

    return made


def parted(before: int, more: int) -> Making:
    """Serve a history that parted so many leaves before what is known, and went on."""

    async def made(stage: Stage) -> Lie:
        log = await forged(stage.cast, stage.first - before)
        log.clock = stage.clock
        owner = (await stage.cast("olga")).identity
        for _ in range(before + more):
            log.take(log.spoken(owner, acts.Noop()))
        return Forger(log)

    return made


def forgery(of: Forgery) -> Making:
    async def change(stage: Stage, log: ForgedLog) -> None:
        log.force(await of(stage.cast, log))

    return own(change)


async def withheld_and_slipped_in(stage: Stage, log: ForgedLog) -> None:
    """Keep a grant back until its author has said something else under its number."""
    ada, act, sides = await a_grant(stage.cast, log)
    log.take(log.spoken(ada.identity, acts.Noop()))
    log.force(log.signed(ada.identity, act, sides))


async def made_on_another_history(stage: Stage, log: ForgedLog) -> None:
    """Let ada, who was shown another history, say something that cites it."""
    ada = await stage.cast("ada")
    other = await forged(stage.cast, log.size - 1)
    other.clock = stage.clock
    other.take(other.spoken(ada.identity, acts.Noop()))
    cited = Citation.of(other.checkpoint())
    log.force(log.spoken(ada.identity, acts.Noop(), cited=cited))


async def epoch_left_out(stage: Stage, log: ForgedLog) -> None:
    """Create the epoch after the next one."""
    ada = await stage.cast("ada")
    after = following(log, 0)
    skipped = Address(after.collection, after.field, after.epoch + 1)
    new = create_epoch(ada.identity, log.vault_id, skipped)
    log.force(log.spoken(ada.identity, acts.CreateEpoch((new.definition,))))


def commit_under(epoch: int) -> Callable[[Stage, ForgedLog], Awaitable[None]]:
    """Commit a batch whose first block is sealed under an epoch of one's choice."""

    async def change(stage: Stage, log: ForgedLog) -> None:
        ada = (await stage.cast("ada")).identity
        batch = log.state.collections[customers(log)].batches[-1].manifest
        first = replace(batch.blocks[0], epoch=epoch)
        manifest = replace(batch, batch_id=os.urandom(16), blocks=(first, *batch.blocks[1:]))
        log.force(
            log.spoken(ada, acts.Commit(os.urandom(16), customers(log), 0, True, (manifest,)))
        )

    return change


def ghost_among_the_recipients(parts: list[Part]) -> list[Part]:
    """Wrap and box for one more, who is nobody."""
    wraps = [each for each in parts if isinstance(each, WrapsPart)]
    boxes = {each.recipient: each for each in parts if isinstance(each, BoxPart)}
    boxes[GHOST.member_id] = BoxPart(GHOST.member_id, next(iter(boxes.values())).box)
    return [*map(_ghost_too, wraps), *(boxes[each] for each in sorted(boxes))]


def _ghost_too(wraps: WrapsPart) -> WrapsPart:
    entries = {each.recipient: each for each in wraps.entries}
    entries[GHOST.member_id] = replace(wraps.entries[0], recipient=GHOST.member_id)
    return replace(wraps, entries=tuple(entries[each] for each in sorted(entries)))


def grant_told(change: Tamper) -> Making:
    """Let an admin who is in it too sign a grant over sides that were changed."""

    async def forced(stage: Stage, log: ForgedLog) -> None:
        ada, act, sides = await a_grant(stage.cast, log)
        log.force(log.signed(ada.identity, act, retold(sides, change)))

    return own(forced)


async def epoch_for_a_ghost(stage: Stage, log: ForgedLog) -> None:
    ada = await stage.cast("ada")
    new = create_epoch(ada.identity, log.vault_id, following(log, 0))
    act = log.draft(ada.identity, acts.CreateEpoch((new.definition,)))
    sides = log.sides(ada.session, act, {new.definition.address: new})
    log.force(log.signed(ada.identity, act, retold(sides, ghost_among_the_recipients)))


async def ghost_invited_by_a_bidder(stage: Stage, log: ForgedLog) -> None:
    bo = (await stage.cast("bo")).identity
    log.force(log.spoken(bo, acts.Grant(auditor(log), (of_class(GENERAL),))))


async def policy_in_the_owners_name(stage: Stage, log: ForgedLog) -> None:
    """Let writers go on for a year without seeing a head that the owner has signed."""
    owner = (await stage.cast("olga")).identity
    slack = replace(log.state.policy, head_seconds=LIMITS.head_seconds, invite_data=True)
    log.force(log.signed(owner, log.draft(owner, acts.ChangePolicy(slack)), by=GHOST))


def retyped(change: Callable[[list[object]], list[object]]) -> Making:
    """Let an act of the owner's be signed that is of another version, or of an unknown kind."""

    async def forced(stage: Stage, log: ForgedLog) -> None:
        owner = (await stage.cast("olga")).identity
        fields = decode(log.draft(owner, acts.Noop()).body(), max_bytes=LIMITS.act_bytes)
        assert isinstance(fields, tuple | list)
        body = encode(change(list(fields)))  # type: ignore[arg-type]
        envelope = Envelope(Label.ACT, body, owner.sign(pae(Label.ACT, body)))
        log.force(Signed(act_leaf(to_bytes(envelope))))

    return own(forced)


def other_version(fields: list[object]) -> list[object]:
    return [0, *fields[1:]]


def other_kind(fields: list[object]) -> list[object]:
    return ["frobnicate" if each == "noop" else each for each in fields]


class NeverMore(Lie):
    """Sends pages without a leaf, for as long as somebody asks."""

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        return replace(await honest.log_page(vault_id, start), leaves=())


async def never_more(_: Stage) -> Lie:
    return NeverMore()


def forgeries() -> dict[str, LogLie]:
    return {
        f"a forged act: {of.__name__.replace('_', ' ')}": LogLie(forgery(of), error)
        for several in FORGERIES.values()
        for of, error in several
    }


AGE: Final = LIMITS.checkpoint_age_seconds

LIES: Final[dict[str, LogLie]] = {
    # old states
    "the state before the newest act known": LogLie(older(1), Rollback),
    "the state of long ago": LogLie(older(20), Rollback),
    "a checkpoint of six minutes ago": LogLie(
        note(lambda log: log.checkpoint(when=log.clock() - AGE - 1)), Stale
    ),
    "a checkpoint of the future": LogLie(
        note(lambda log: log.checkpoint(when=log.clock() + AGE + 1)), Stale
    ),
    # withheld acts
    "the newest act withheld": LogLie(news(lambda leaves: leaves[:-1]), Rollback),
    "all news withheld": LogLie(news(lambda _: []), Rollback),
    "every leaf withheld": LogLie(never_more, Rollback),
    "an act in the middle withheld": LogLie(news(without_an_act), NotAuthorised),
    "an act withheld and slipped in later": LogLie(own(withheld_and_slipped_in), NotAuthorised),
    # moved and replayed acts
    "two acts in each other's place": LogLie(news(two_exchanged), NotAuthorised),
    "an act told twice": LogLie(news(told_twice), NotAuthorised),
    "a page from elsewhere": LogLie(page(lambda log, asked: log.page(0)), ContextMismatch),
    "another vault's log": LogLie(another_vault, ContextMismatch),
    # forked histories
    "another history of the same length": LogLie(parted(1, 0), Fork),
    "another history that is longer": LogLie(parted(2, 3), Fork),
    "an act made on another history": LogLie(own(made_on_another_history), Fork),
    "a root that is not the leaves'": LogLie(note(other_root), Fork),
    # forged acts
    **forgeries(),
    "an act with one bit changed": LogLie(news(flipped_leaf), IntegrityError),
    "a policy in the owner's name": LogLie(own(policy_in_the_owners_name), IntegrityError),
    "a grant by a bidder": LogLie(own(ghost_invited_by_a_bidder), NotAuthorised),
    # altered proofs
    "a consistency proof with one bit changed": LogLie(
        proof(lambda all: (bytes([all[0][0] ^ 1]) + all[0][1:], *all[1:])), Fork
    ),
    "a consistency proof cut short": LogLie(proof(lambda all: all[:-1]), Fork),
    "a consistency proof too long": LogLie(proof(lambda all: (*all, all[-1])), Fork),
    "no consistency proof": LogLie(proof(lambda _: ()), Fork),
    # swapped keys
    "the keys of two acts exchanged": LogLie(news(swapped_sides), ContextMismatch),
    "a key left out": LogLie(news(shorter_sides), ContextMismatch),
    "no keys at all": LogLie(news(no_sides), ContextMismatch),
    "a wrap of another key": LogLie(grant_told(OTHER_KEYS[0][0]), IntegrityError),
    "a proof with one bit changed": LogLie(grant_told(OTHER_KEYS[4][0]), IntegrityError),
    "a proof that is none": LogLie(grant_told(OTHER_KEYS[7][0]), NotAuthorised),
    # extra members
    "a ghost among the recipients of a grant": LogLie(
        grant_told(ghost_among_the_recipients), NotAuthorised
    ),
    "a ghost among the holders of an epoch": LogLie(own(epoch_for_a_ghost), NotAuthorised),
    # wrong epochs
    "an epoch left out": LogLie(own(epoch_left_out), NotAuthorised),
    "data under an epoch that is tainted": LogLie(own(commit_under(1)), NotAuthorised),
    "data under an epoch that is not there": LogLie(own(commit_under(99)), NotAuthorised),
    # downgraded versions, keys and parameters
    "an act of another version": LogLie(retyped(other_version), Unsupported),
    "an act of an unknown kind": LogLie(retyped(other_kind), Unsupported),
    "a checkpoint under another key": LogLie(
        note(lambda log: replace(log, key=SigningKey(bytes(32))).checkpoint()), IntegrityError
    ),
    "a checkpoint of another log": LogLie(
        page(lambda _, asked: replace(asked, checkpoint=asked.checkpoint[1:])), ContextMismatch
    ),
    "a checkpoint cut short": LogLie(
        page(lambda _, asked: replace(asked, checkpoint=asked.checkpoint[:-9])), MalformedMessage
    ),
}
