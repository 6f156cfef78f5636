"""What helps a member whom the ledger refused: its role, who may, and what comes first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from client.errors import Refused
from client.standing import _DOING, in_words, phase_at, who_may, your_role
from client.vault import Vault
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import FieldClass
from protocol.ledger.state import Phase
from protocol.ledger.transitions import TRANSITIONS
from tests.company import ALL, TABLE, company

Doing = Callable[[Vault], Awaitable[object]]


def test_who_may_is_what_the_table_of_transitions_says() -> None:
    assert who_may(acts.Invite) == "the owner, or an admin"
    assert who_may(acts.CreateEpoch) == "the owner, or an admin with keys"
    assert who_may(acts.Offer) == "the owner"
    assert who_may(acts.Accept) == "the bidder to whom the vault is offered"


def test_each_role_is_told_in_words() -> None:
    assert [your_role(role) for role in Role] == [
        "You are the owner here",
        "You are an admin here",
        "You are a keyless-admin here",
        "You are a bidder here",
        "You are an auditor here",
    ]


ROLES = [
    ("bo", lambda vault: vault.rotate(), "a bidder here: this is for the owner, or an admin with"),
    ("bo", lambda vault: vault.invite(Role.BIDDER, name="X"), "is for the owner, or an admin."),
    ("aud", lambda vault: vault.upload(TABLE, collection="x"), "an auditor here: this is for"),
    ("aud", lambda vault: vault.freeze(), "You are an auditor here: this is for the owner, or an"),
    ("kim", lambda vault: vault.rotate(), "a keyless-admin here: this is for the owner, or"),
    ("ada", lambda vault: vault.offer("Bo", yes=True), "an admin here: this is for the owner."),
    ("ada", lambda vault: vault.revoke("Kim", Reason.LEFT), "Ask the owner."),
    ("ada", lambda vault: vault.revoke("Olga", Reason.LEFT), "You are an admin here."),
    ("olga", lambda vault: vault.revoke("Olga", Reason.LEFT), "You are the owner here."),
    ("bo", lambda vault: vault.accept(yes=True), "'sealroom handover status' shows whether"),
    ("uma", lambda vault: vault.freeze(), "compare the twelve words with you, and confirm you."),
]  # fmt: skip


@pytest.mark.parametrize(("who", "doing", "hint"), ROLES)
async def test_whoever_may_not_is_told_its_role_and_who_may(
    who: str, doing: Doing, hint: str, tmp_path: Path
) -> None:
    async with company(tmp_path) as cast:
        with pytest.raises(Refused) as refused:
            await doing(await cast(who))
        assert hint in (refused.value.hint or "")


async def test_what_has_to_come_first_is_told_in_each_phase(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        bo = (await cast.id_of("bo")).hex()

        async def refused() -> str:
            with pytest.raises(Refused) as caught:
                await ada.grant(bo, classes=[FieldClass.CORE])
            return caught.value.hint or ""

        await olga.freeze(Reason.BREACH)
        assert await refused() == "The owner lifts it: 'sealroom unfreeze'."
        await olga.unfreeze()
        await olga.offer("Bo", yes=True)
        assert "the owner cannot take it back" in await refused()
        await olga.freeze(Reason.BREACH)
        assert await refused() == "The owner lifts the freeze: 'sealroom unfreeze'."
        await (await cast("bo")).reject(Reason.OTHER)
        await olga.destroy(Reason.TERMS)
        assert await refused() == "Its log stays: 'sealroom log' shows it."


async def test_what_says_all_by_itself_has_no_hint(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        with pytest.raises(Refused, match="has these grants already") as refused:
            await olga.grant("Ada", classes=ALL)
        assert refused.value.hint is None
        with pytest.raises(Refused, match="not while no offer is open, and nothing is") as refused:
            await olga.unfreeze()
        assert refused.value.hint is None


async def test_an_offer_binds_until_its_last_second_and_no_longer(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        await olga.offer("Bo", yes=True)
        opened = olga.session.state.offer
        assert opened is not None
        assert phase_at(olga.session.state, opened.expiry) is Phase.OFFERED
        assert phase_at(olga.session.state, opened.expiry + 1) is Phase.OPEN


def test_every_act_has_a_word_of_the_users_in_place_of_the_protocols() -> None:
    assert set(_DOING) == set(TRANSITIONS)
    said = in_words("not while a handover offer is open (create-epoch)", acts.CreateEpoch(()))
    assert said == "not while a handover offer is open (making new keys)"
