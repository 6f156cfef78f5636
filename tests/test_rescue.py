"""An owner who lost its keys, and custodians who give them back (SPEC section 9.9)."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from client import rescue
from client.errors import InputError, Refused, Unreachable
from client.recovery import REQUEST_CHARACTERS, REQUEST_PREFIX, Request, parse_request
from client.transport import Transport
from client.vault import Vault
from protocol.acts import Reason, Role
from protocol.api import LogPage
from protocol.errors import NotFound, PinMismatch
from protocol.identity import recovery_context
from tests.company import TABLE, Company, company
from tests.deals import Counter, acts_since, as_killed
from tests.in_process import URL
from tests.liars import Lie
from tests.test_renewal import Holding, cut_by, gives_false_keys

CUSTODIANS = ("Ada", "Kim", "Aud")


@pytest.fixture
async def cast(tmp_path: Path) -> AsyncIterator[Company]:
    """The company, whose owner's seed is dealt to an admin, a keyless admin and an auditor."""
    async with company(tmp_path) as made:
        await (await made("olga")).set_up_recovery(CUSTODIANS, 2)
        yield made


def asked(cast: Company, name: str = "new machine") -> str:
    return cast.newcomer(name).rescue_request(URL, vault_id(cast), None).text


def vault_id(cast: Company) -> bytes:
    return cast.open["olga"].session.vault_id


async def test_any_two_of_three_give_an_owner_back_its_vault(cast: Company) -> None:
    old = cast.open["olga"].id
    text = asked(cast)
    home = cast.newcomer("new machine")
    # Each custodian reads words to whoever asks, and hears the same.
    for name in ("kim", "aud"):
        custodian = await cast(name)
        words = home.rescue_words(vault_id(cast), custodian.identity.member_id)
        assert await custodian.request_words(text) == words
        await custodian.release_share(text, words=words)
    size = (await cast("ada")).session.state.size
    vault, done = await home.rebuild()
    async with vault:
        assert done.old_id == old.hex()
        assert done.new_id == vault.identity.member_id.hex()
        assert len(done.custodians) == 2
        assert done.wrong == ()
        assert await acts_since(await cast("ada"), size) == ["rotate-identity"]
        assert (await vault.status()).role == "owner"
        assert (await vault.read("customers")).equals(TABLE)
        await vault.rotate(tainted=True)
        assert (await vault.status()).tainted_fields == 0
        # The dealing was of the old seed, and went with it.
        assert await vault.recovery_status() is None
    # The rebuilt seed is not kept: this home has the new one alone.
    (kept,) = home.keyring.identities
    assert not home.keyring.vaults[0].rescuing
    from client.crypto.identity import Identity

    assert Identity(kept.seed).member_id == vault.identity.member_id


async def test_one_share_is_too_few_and_says_so(cast: Company) -> None:
    text = asked(cast)
    home = cast.newcomer("new machine")
    with pytest.raises(Refused, match="no custodian has released"):
        await home.rebuild()
    await (await cast("ada")).release_share(text, yes=True)
    with pytest.raises(Refused, match="1 of 2 shares") as caught:
        await home.rebuild()
    assert caught.value.refusal == "too_few_shares"
    with pytest.raises(Refused, match="released before"):
        await (await cast("ada")).release_share(text, yes=True)


async def test_a_share_is_for_the_home_that_asked_and_words_say_which(cast: Company) -> None:
    text = asked(cast)
    mallory = asked(cast, "mallory")
    ada = await cast("ada")
    words = cast.newcomer("new machine").rescue_words(vault_id(cast), ada.identity.member_id)
    with pytest.raises(Refused, match="not compared"):
        await ada.release_share(text)
    # Mallory put its own request in the place of the owner's.
    with pytest.raises(PinMismatch):
        await ada.release_share(mallory, words=words)
    await ada.release_share(text, words=words)
    await (await cast("kim")).release_share(mallory, yes=True)
    for name in ("mallory", "new machine"):
        with pytest.raises(Refused, match="1 of 2 shares"):
            await cast.newcomer(name).rebuild()


async def test_what_is_no_request_or_for_another_vault_releases_nothing(cast: Company) -> None:
    ada = await cast("ada")
    text = asked(cast)
    other = cast.newcomer("elsewhere").rescue_request(URL, bytes(32), None).text
    size = ada.session.state.size
    folded = text[:700] + "\n" + text[700:]
    changed = text[:90] + ("B" if text[90] == "A" else "A") + text[91:]
    for broken in (
        "", "hello", REQUEST_PREFIX, text[:-3], text[:60], text + "A", text[:-1] + "=", changed,
        text.removeprefix(REQUEST_PREFIX), text[:-3] + "\nyour id here: it", folded[:-1],
    ):  # fmt: skip
        with pytest.raises(InputError, match="no rescue request"):
            await ada.release_share(broken, yes=True)
    with pytest.raises(InputError, match="another vault"):
        await ada.release_share(other, yes=True)
    assert await acts_since(ada, size) == []
    assert text.startswith(REQUEST_PREFIX)
    # What mail adds around a line does no harm.
    await ada.release_share(f"  {text}\n", yes=True)


def mailed(text: str) -> str:
    """Return a request as it comes back in an answered mail: folded, quoted, with words around."""
    lines = textwrap.wrap(text, 72)
    quoted = "".join(f"> {line}\r\n" for line in lines)
    return f"Dear Kim,\r\n{text}\r\n\r\nyour id here: 5f0c\r\nOlga wrote:\r\n{quoted}> Regards\r\n"


async def test_a_request_is_found_in_the_mail_that_it_came_in(cast: Company) -> None:
    text = asked(cast)
    assert len(text) == len(REQUEST_PREFIX) + REQUEST_CHARACTERS
    once = parse_request(text, vault_id(cast))
    other = cast.newcomer("elsewhere").rescue_request(URL, bytes(32), None).text
    for around in (
        mailed(text),
        f"{REQUEST_PREFIX} what begins so is the request:\n{text}\n\nyour id here: 5f0c",
        f"{text[:200]}\n{text[200:]}\nyours",
        f"{other}\n{text}",
    ):
        assert parse_request(around, vault_id(cast)) == once


async def test_of_two_requests_in_one_text_neither_is_taken(cast: Company) -> None:
    text, mallory = asked(cast), asked(cast, "mallory")
    ada = await cast("ada")
    size = ada.session.state.size
    with pytest.raises(InputError, match="2 different rescue requests"):
        await ada.release_share(f"{mailed(text)}\n{mallory}", yes=True)
    assert await acts_since(ada, size) == []


@pytest.mark.threat("K16")
async def test_a_request_by_somebody_without_its_keys_releases_nothing(cast: Company) -> None:
    """Else a share goes to keys that nobody has shown to have, such as a custodian's own."""
    ada, kim = await cast("ada"), await cast("kim")
    request = parse_request(asked(cast), vault_id(cast))
    other = parse_request(asked(cast, "mallory"), vault_id(cast))
    context = recovery_context(vault_id(cast))
    for card in (
        replace(request.card, identity=kim.identity.public),
        replace(request.card, signature=other.card.signature),
        replace(request.card, proof=other.card.proof),
        kim.identity.card(context[::-1]),
    ):
        with pytest.raises(InputError, match="no rescue request"):
            await ada.release_share(Request(vault_id(cast), card).text(), yes=True)
    assert kim.identity.member_id not in ada.session.store.compared()


async def test_only_a_custodian_has_a_share_and_sees_that_it_is_right(cast: Company) -> None:
    text = asked(cast)
    bo = await cast("bo")
    with pytest.raises(Refused, match="no share"):
        await bo.release_share(text, yes=True)
    for name, mine in (("ada", True), ("bo", None), ("olga", None)):
        status = await (await cast(name)).recovery_status()
        assert status is not None
        assert (status.threshold, status.mine) == (2, mine)
        assert [each.live for each in status.custodians] == [True] * 3
        if name != "bo":  # a bidder sees ids alone
            assert {each.name for each in status.custodians} == set(CUSTODIANS)


@pytest.mark.threat("K16")
async def test_setting_up_is_the_owners_and_has_sense(cast: Company) -> None:
    owner, ada = await cast("olga"), await cast("ada")
    with pytest.raises(Refused):
        await ada.set_up_recovery(["Kim", "Aud"], 2)
    for names, threshold in ((["Ada"], 2), (["Ada", "Kim"], 1), (["Ada", "Kim"], 3)):
        with pytest.raises(InputError, match="threshold"):
            await owner.set_up_recovery(names, threshold)
    with pytest.raises(Refused):
        await owner.set_up_recovery(["Ada", "Una"], 2)  # Una was never confirmed
    with pytest.raises(InputError, match="twice"):
        await owner.set_up_recovery(["Ada", "Ada"], 2)
    status = await owner.recovery_status()
    assert status is not None
    assert len(status.custodians) == 3


async def test_whoever_rotates_its_identity_is_told_what_that_does_to_recovery(
    cast: Company,
) -> None:
    """`cast` has Ada, Kim and Aud as custodians of Olga's keys."""
    for name, told in (("bo", False), ("ada", True), ("olga", True), ("kim", False)):
        actor = await cast.actor(name)
        done = await actor.home.rotate_identity(actor.vault)
        assert done.deal_anew is told, name
        if name == "olga":
            assert await actor.vault.recovery_status() is None


async def confirmed_by_kim(cast: Company, *names: str) -> dict[str, str]:
    """Let an admin confirm keys of its own under people's names; return the words with each."""
    kim = await cast("kim")
    for name in names:
        invited = await kim.invite(Role.AUDITOR, name=name)
        vault, _ = await cast.lab.home(name).join(invited.link)
        await vault.close()
        await kim.confirm(name, yes=True)
    owner = await cast("olga")
    return {name: await owner.words(name) for name in names}


@pytest.mark.threat("K16")
async def test_an_owner_deals_to_nobody_whose_words_it_has_not_compared_itself(
    cast: Company,
) -> None:
    """Else an admin who enrols two keys under trusted names is the owner."""
    words = await confirmed_by_kim(cast, "Zoe", "Yan")
    owner, before = await cast("olga"), cast.open["olga"].session.state.recovery
    everybody = ["Zoe", "Ada", "Yan"]
    assert await owner.custodian_words(everybody) == words
    with pytest.raises(Refused, match="twelve words of Yan, Zoe were never compared") as caught:
        await owner.set_up_recovery(everybody, 2)
    assert caught.value.refusal == "not_compared"
    assert caught.value.hint is not None
    for name, mine in words.items():
        assert f"with {name}: {mine}" in caught.value.hint
    # Compared with one, the other is left; words that differ are nobody's.
    wrong = {"Zoe": words["Zoe"], "Yan": words["Zoe"]}
    with pytest.raises(PinMismatch):
        await owner.set_up_recovery(everybody, 2, words=wrong)
    assert await owner.custodian_words(everybody) == words
    with pytest.raises(Refused, match="words of Yan were never"):
        await owner.set_up_recovery(everybody, 2, words={"Zoe": words["Zoe"]})
    with pytest.raises(InputError, match="given for Kim, who is to be no custodian"):
        await owner.set_up_recovery(everybody, 2, words={"Kim": await owner.words("Kim")})
    assert cast.open["olga"].session.state.recovery == before
    # Each that was compared stays so.
    dealt = await owner.set_up_recovery(everybody, 2, words={"Yan": words["Yan"]})
    assert len(dealt.custodians) == 3
    await owner.set_up_recovery(everybody, 3)


async def test_an_owner_may_say_that_it_has_compared_the_words_of_all(cast: Company) -> None:
    await confirmed_by_kim(cast, "Zoe")
    owner = await cast("olga")
    await owner.set_up_recovery(["Zoe", "Ada"], 2, yes=True)
    assert await owner.custodian_words(["Zoe", "Ada"]) == {}


@pytest.mark.threat("K16")
async def test_words_are_compared_only_for_what_the_rules_allow(cast: Company) -> None:
    owner = await cast("olga")
    known = owner.session.store.compared()
    with pytest.raises(Refused, match="confirmed") as caught:
        await owner.set_up_recovery(["Ada", "Una"], 2, yes=True)
    assert caught.value.refusal == "out_of_order"
    assert owner.session.store.compared() == known
    ada = await cast("ada")
    with pytest.raises(Refused, match="may not do this"):
        await ada.custodian_words(["Kim"])


async def test_what_was_dealt_anew_or_ended_is_not_what_was_released(cast: Company) -> None:
    owner, ada = await cast("olga"), await cast("ada")
    text = asked(cast)
    await ada.release_share(text, yes=True)
    await owner.set_up_recovery(["Ada", "Kim"], 2)
    await (await cast("kim")).release_share(text, yes=True)
    with pytest.raises(Refused, match="1 of 2"):
        await cast.newcomer("new machine").rebuild()
    await owner.end_recovery()
    with pytest.raises(Refused):
        await ada.release_share(text, yes=True)
    assert await owner.recovery_status() is None
    with pytest.raises(Refused):
        await cast.newcomer("new machine").rebuild()


async def test_a_custodian_who_was_removed_releases_nothing(cast: Company) -> None:
    owner, kim = await cast("olga"), await cast("kim")
    text = asked(cast)
    await owner.revoke("Kim", Reason.LEFT)
    with pytest.raises(Refused):
        await kim.release_share(text, yes=True)
    status = await owner.recovery_status()
    assert status is not None
    assert [each.live for each in status.custodians].count(False) == 1
    # The others are still two.
    for name in ("ada", "aud"):
        await (await cast(name)).release_share(text, yes=True)
    vault, _ = await cast.newcomer("new machine").rebuild()
    await vault.close()


async def test_a_home_that_has_the_vault_needs_no_help(cast: Company) -> None:
    actor = cast.open["olga"]
    with pytest.raises(InputError, match="needs nobody"):
        actor.home.rescue_request(URL, vault_id(cast), None)
    with pytest.raises(InputError, match="no rescue"):
        actor.home.rescue_words(vault_id(cast), bytes(32))
    with pytest.raises(InputError, match="no rescue"):
        await actor.home.rebuild()
    # Asked again, a home is the same somebody.
    home = cast.newcomer("new machine")
    ids = {home.rescue_request(URL, vault_id(cast), None).member_id for _ in range(2)}
    assert len(ids) == 1
    # And it has words for the vault that it asked for, and no other.
    with pytest.raises(InputError, match="no rescue"):
        home.rescue_words(bytes(32), actor.id)


@pytest.mark.threat("K16")
@pytest.mark.parametrize("anew", [False, True], ids=["ended", "dealt anew"])
async def test_a_server_that_goes_on_serving_a_rescue_that_is_over_gives_nothing_back(
    cast: Company, anew: bool
) -> None:
    """The log itself says that what was released is worth nothing any more."""
    text = asked(cast)
    await (await cast("ada")).release_share(text, yes=True)
    owner = await cast("olga")
    if anew:
        await owner.set_up_recovery(["Ada", "Kim"], 2)
    else:
        await owner.end_recovery()
    as_owner = owner.session.transport

    class StillServing(Lie):
        async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
            return await as_owner.log_page(vault_id, start)

    lie = StillServing()
    with pytest.raises(Refused, match="nothing is dealt any more") as caught:
        await cast.newcomer("new machine", lie).rebuild()
    assert caught.value.refusal == "too_few_shares"
    assert lie.sent == []


async def test_whoever_asked_for_no_rescue_is_told_what_the_server_says(cast: Company) -> None:
    """A server that knows nobody any more is not waited for as custodians are."""

    class Nobody(Lie):
        async def log_page(self, *_: object) -> LogPage:
            raise Refused("there is nothing here", code=NotFound.code)

    actor = await cast.actor("ada", Nobody())
    with pytest.raises(Refused, match="nothing here") as caught:
        await actor.home.rebuild()
    assert caught.value.refusal == NotFound.code


@pytest.mark.threat("R2")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_rebuilding_cut_off_at_any_call_goes_on(cast: Company, after: bool) -> None:
    text = asked(cast)
    for name in ("ada", "kim"):
        await (await cast(name)).release_share(text, yes=True)
    counter = Counter(1_000, after, False)
    for at in range(100):
        counter.at, counter.calls = at, 0
        try:
            vault, _ = await cast.lab.home("new machine", cut_by(counter)).rebuild()
        except Unreachable:
            continue
        await vault.close()
        break
    assert at > 2
    await owns(cast)
    # Once more, it says the same.
    vault, done = await cast.lab.home("new machine").rebuild()
    async with vault:
        assert done.new_id == vault.identity.member_id.hex()
        assert len(done.custodians) == 2


@pytest.mark.threat("K16")
@pytest.mark.parametrize("which", [0, 1])
async def test_each_try_to_rebuild_has_a_seed_of_its_own_and_any_may_land(
    cast: Company, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescue, "MAX_SUCCESSORS", 2)
    text = asked(cast)
    for name in ("ada", "kim"):
        await (await cast(name)).release_share(text, yes=True)
    home = cast.newcomer("new machine", lie := Holding())
    for _ in range(2):
        with pytest.raises(Refused, match="not today"):
            await home.rebuild()
    assert len({each.seed.expose() for each in home.keyring.identities}) == 3
    with pytest.raises(Refused, match="tried 2 times") as caught:
        await home.rebuild()
    assert caught.value.hint is not None
    assert "new home" in caught.value.hint
    # The server lands one after all: to whom it is, this home finds out.
    lie.telling = False
    made = home.keyring.identities[1 + which]
    olga = cast.open["olga"]
    await cast.lab.service.submit(vault_id(cast), olga.id, lie.held[which])
    vault, _ = await home.rebuild()
    async with vault:
        assert vault.identity.seed == made.seed
    await owns(cast)


class Answers(Lie):
    """Refuses to show the log, each time with the next code."""

    def __init__(self, *codes: str) -> None:
        super().__init__()
        self.codes = list(codes)

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        raise Refused("no", code=self.codes.pop(0))


async def test_a_refusal_that_says_more_than_that_nobody_is_known_is_passed_on(
    cast: Company,
) -> None:
    text = asked(cast)
    for name in ("ada", "kim"):
        await (await cast(name)).release_share(text, yes=True)
    with pytest.raises(Refused) as caught:
        await cast.newcomer("new machine", Answers("rate_limited")).rebuild()
    assert caught.value.refusal == "rate_limited"
    with pytest.raises(Refused, match="not today"):
        await cast.newcomer("new machine", Holding()).rebuild()
    # Nobody knows the rebuilder any more, and somebody is too busy to say about its successor.
    with pytest.raises(Refused) as caught:
        await cast.newcomer("new machine", Answers("not_found", "rate_limited")).rebuild()
    assert caught.value.refusal == "rate_limited"
    with pytest.raises(Refused) as caught:
        await cast.newcomer("new machine", Answers("not_found", "not_found")).rebuild()
    assert caught.value.refusal == "too_few_shares"


@pytest.mark.threat("Z4")
async def test_a_false_key_stops_no_rescue(cast: Company) -> None:
    await gives_false_keys(await cast("ada"), collection="customers", fields=["name"])
    text = asked(cast)
    for name in ("ada", "kim"):
        await (await cast(name)).release_share(text, yes=True)
    vault, done = await cast.newcomer("new machine").rebuild()
    async with vault:
        assert [each.split(" ", 2)[2] for each in done.left] == ["field 0 epoch 3"]
    await owns(cast)


async def owns(cast: Company) -> None:
    home = cast.lab.home("new machine")
    async with home.vault() as vault:
        assert (await vault.status()).role == "owner"
        await vault.rotate(tainted=True)
        assert (await vault.read("customers")).equals(TABLE)
    assert len(home.keyring.identities) == 1
    assert not home.keyring.vaults[0].rescuing
    kinds = [e.kind for e in (await (await cast("ada")).log()).entries]
    assert kinds.count("rotate-identity") == 1


async def test_whoever_stole_the_old_home_is_locked_out_by_the_rescue(cast: Company) -> None:
    actor = cast.open["olga"]
    stolen = as_killed(actor.home, cast.lab, "stolen")
    text = asked(cast)
    for name in ("ada", "kim"):
        await (await cast(name)).release_share(text, yes=True)
    vault, _ = await cast.newcomer("new machine").rebuild()
    async with vault, stolen.vault() as thief:
        with pytest.raises(Refused, match="replaced"):
            await thief.read("customers")
        await vault.rotate(tainted=True)
        assert (await vault.read("customers")).equals(TABLE)


async def test_an_owner_that_bought_deals_its_own_seed(cast: Company) -> None:
    """After a handover the seller's custodians can rebuild nothing that still counts."""
    owner, bo = await cast("olga"), await cast("bo")
    text = asked(cast)
    await (await cast("ada")).release_share(text, yes=True)
    await owner.offer("Bo", yes=True)
    await bo.accept(yes=True)
    await bo.takeover()
    assert await bo.recovery_status() is None
    with pytest.raises(Refused):
        await cast.newcomer("new machine").rebuild()
    invited = await bo.invite(Role.ADMIN, name="Cy")
    cy, joined = await cast.newcomer("cy").join(invited.link)
    async with cy:
        await bo.confirm("Cy", words=joined.words)
        again = await bo.invite(Role.AUDITOR, name="Di")
        di, joined = await cast.newcomer("di").join(again.link)
        async with di:
            await bo.confirm("Di", words=joined.words)
            await bo.set_up_recovery(["Cy", "Di"], 2)
            await released_and_rebuilt(cast, cy, di)


async def released_and_rebuilt(cast: Company, *custodians: Vault) -> None:
    text = asked(cast, "another machine")
    for each in custodians:
        await each.release_share(text, yes=True)
    vault, _ = await cast.newcomer("another machine").rebuild()
    async with vault:
        assert (await vault.status()).role == "owner"
        assert (await vault.read("customers")).equals(TABLE)
