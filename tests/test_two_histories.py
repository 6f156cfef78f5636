"""A server that tells each member another history: who notices, when, and who does not (S3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol import acts
from protocol.checkpoint import parse_note
from protocol.errors import Fork
from tests.company import Actor, Company, company
from tests.forging import forged
from tests.liars import ForgedLog, Forger


async def told_apart(cast: Company) -> tuple[ForgedLog, ForgedLog]:
    """Return two logs that part here: in one of them ada lost her role, in the other nothing."""
    one = await forged(cast)
    other = one.branch()
    olga, ada = await cast("olga"), await cast.id_of("ada")
    one.take(one.spoken(olga.identity, acts.Revoke(ada, acts.Reason.BREACH)))
    other.take(other.spoken(olga.identity, acts.Noop()))
    return one, other


async def learned(cast: Company, name: str, log: ForgedLog) -> Actor:
    actor = await cast.actor(name, Forger(log))
    await actor.session.sync()
    return actor


@pytest.mark.threat("S3")
async def test_two_members_alone_do_not_notice_and_their_checkpoints_tell_them(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        one, other = await told_apart(cast)
        kim, bo = await learned(cast, "kim", one), await learned(cast, "bo", other)
        shown = [await each.vault.log(verify=True) for each in (kim, bo)]
        notes = [
            parse_note(each.checkpoint.encode(), one.vault_id, one.state.server_key)
            for each in shown
        ]
        # Of one size, signed by one server, and not the same: whoever compares has the proof.
        assert notes[0].size == notes[1].size
        assert notes[0].root != notes[1].root


@pytest.mark.threat("S3")
@pytest.mark.parametrize("more", [0, 1, 4])
async def test_no_member_is_led_from_one_history_into_the_other(tmp_path: Path, more: int) -> None:
    async with company(tmp_path) as cast:
        one, other = await told_apart(cast)
        owner = (await cast("olga")).identity
        for log in (one, other):
            for _ in range(more):
                log.take(log.spoken(owner, acts.Noop()))
        for name, mine, others in (("kim", one, other), ("bo", other, one)):
            await learned(cast, name, mine)
            misled = await cast.actor(name, Forger(others))
            with misled.catches(Fork):
                await misled.session.sync()
            with misled.catches(Fork):
                await misled.vault.status()


@pytest.mark.threat("S3")
@pytest.mark.parametrize("author", ["kim", "bo"])
async def test_the_first_act_of_one_history_that_gets_into_the_other_shows_both(
    tmp_path: Path, author: str
) -> None:
    """Whatever members tell each other through the server, it tells on the server."""
    async with company(tmp_path) as cast:
        one, other = await told_apart(cast)
        mine, others = (one, other) if author == "kim" else (other, one)
        reader = "bo" if author == "kim" else "kim"
        spoken = mine.spoken((await learned(cast, author, mine)).vault.identity, acts.Noop())
        mine.branch().take(spoken)
        await learned(cast, reader, others)
        others.force(spoken)
        told = await cast.actor(reader, Forger(others))
        with told.catches(Fork, match=f"leaf {others.size - 1} of the log") as caught:
            await told.session.sync()
        fork = caught.value
        assert isinstance(fork, Fork)
        shown, cited = (
            parse_note(each, mine.vault_id, mine.state.server_key)
            for each in (fork.pinned, fork.shown)
        )
        assert (cited.size, cited.root) == (mine.size, mine.tree.root())
        assert (shown.size, shown.root) == (others.size, others.tree.root())
        assert others.tree.root(cited.size) != cited.root


@pytest.mark.threat("S3")
async def test_a_buyer_on_another_history_than_the_seller_takes_over_nothing(
    tmp_path: Path,
) -> None:
    """The offer cites what the seller was shown. A buyer who was shown something else sees that."""
    async with company(tmp_path) as cast:
        one, other = await told_apart(cast)
        olga = await cast("olga")
        bo = await cast.id_of("bo")
        await learned(cast, "bo", other)
        offer = one.draft(
            olga.identity, acts.Offer(bo, one.checkpoint().time + 3600, one.state.roots())
        )
        signed = one.signed(olga.identity, offer, one.sides(olga.session, offer))
        one.branch().take(signed)
        other.force(signed)
        buyer = await cast.actor("bo", Forger(other))
        with buyer.catches(Fork):
            await buyer.vault.accept(yes=True)
