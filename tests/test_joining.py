"""Joining with a link: cut off anywhere, lied to anyhow, done once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from client.crypto.identity import Identity
from client.crypto.secrets import InviteSecret
from client.errors import InputError, Refused, Unreachable
from client.home import Home
from client.keeper import https
from client.keyring import Keyring
from client.links import parse_link
from client.patience import Patient
from client.transport import HttpTransport, Signer, Transport
from protocol import acts, api
from protocol.acts import Reason, Role
from protocol.blocks import FieldClass
from protocol.errors import ContextMismatch, MalformedMessage, NotAuthorised, PinMismatch, Rollback
from tests.company import TITLE, Company, company, kept_in
from tests.deals import Breaking, Counter
from tests.in_process import URL, ServiceTransport
from tests.liars import ForgedLog, Forger, Lie

GENERAL = FieldClass.GENERAL
OTHER_URL = "https://vault.example:9000"


async def test_a_join_is_told_who_invited_and_compares_words(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        ivy, joined = await cast.newcomer("ivy").join(cast.link)
        async with ivy:
            assert (joined.title, joined.role, joined.status) == (TITLE, "bidder", "unconfirmed")
            assert joined.inviter_id == olga.identity.member_id.hex()
            assert joined.member_id == ivy.identity.member_id.hex()
            assert joined.words == await olga.words(joined.member_id)
            assert (joined.compared, 0 <= joined.head_age < 60) == (False, True)
        (listed,) = cast.newcomer("ivy").vaults()
        assert (listed.joined, listed.title) == (True, TITLE)


@pytest.mark.threat("K2")
async def test_wrong_words_at_a_join_are_a_mismatch_and_not_remembered(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        wrong = await olga.words("Bo")
        home = cast.newcomer("ivy")
        with pytest.raises(PinMismatch):
            await home.join(cast.link, words=wrong)
        with pytest.raises(MalformedMessage):
            await home.join(cast.link, words="abandon")
        # It has joined; it is told so again, and again has not compared.
        vault, joined = await home.join(cast.link)
        async with vault:
            assert not joined.compared
            assert vault.session.store.compared() == frozenset()
            vault_again, done = await home.join(cast.link, words=joined.words)
            await vault_again.close()
            assert done.compared
            vault_again, done = await home.join(cast.link)
            await vault_again.close()
            assert done.compared
        await olga.confirm("Ivy", words=joined.words)


async def test_joining_twice_does_nothing_twice(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        home = cast.newcomer("ivy", told := Lie())
        vault, first = await home.join(cast.link)
        await vault.close()
        told.sent.clear()
        vault, again = await cast.newcomer("ivy", told).join(cast.link, yes=True)
        await vault.close()
        assert told.sent == []
        assert replace(again, compared=False, head_age=0) == replace(first, head_age=0)
        assert again.compared


async def test_a_used_altered_or_foreign_link_joins_nothing(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        parsed = parse_link(cast.link)
        other = replace(parsed, secret=InviteSecret(bytes(32))).text()
        foreign = replace(parsed, vault_id=bytes(32)).text()
        for link, error in (
            (other, Refused),
            (foreign, Refused),
            (cast.link[:-1], InputError),
        ):
            home = cast.newcomer("zoe", told := Lie())
            with pytest.raises(error):
                await home.join(link)
            assert not home.directory.exists()
            assert told.sent == []
        vault, _ = await cast.newcomer("ivy").join(cast.link)
        await vault.close()
        with pytest.raises(Refused, match="the link opens nothing") as caught:
            await cast.newcomer("zoe").join(cast.link)
        assert caught.value.refusal == "not_found"
        assert not (cast.lab.directory / "zoe").exists()
        # The owner's own link, in the owner's own home, is of no use either.
        made = await (await cast("olga")).invite(Role.BIDDER, name="Me")
        with pytest.raises(InputError, match="in that vault already"):
            await cast.newcomer("olga").join(made.link)


class Serving(Lie):
    """Serves another log than the one asked for."""

    def __init__(self, page: api.LogPage) -> None:
        super().__init__()
        self.page = page

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> api.LogPage:
        return replace(self.page, leaves=self.page.leaves[start:], start=start)


@pytest.mark.threat("K2")
@pytest.mark.threat("S9")
async def test_a_false_server_at_first_contact_is_found_out(tmp_path: Path) -> None:
    """Another vault of its own making, and a log under a key of its own."""
    async with company(tmp_path) as cast:
        newcomer = cast.newcomer("eve")
        made = newcomer.create_vault(URL, title="Evil", token=cast.lab.token)
        async with await made as evil:
            page = await cast.lab.service.log_page(
                evil.session.vault_id, evil.identity.member_id, 0
            )
        forged = await ForgedLog.of(cast.lab, (await cast("olga")).session)
        forged.force(forged.spoken(evil.identity, acts.Noop()))
        for lie, error in (
            (Serving(page), ContextMismatch),
            (Forger(forged), NotAuthorised),
            (Serving(replace(forged.page(0), leaves=())), Rollback),
        ):
            home = cast.newcomer("ivy", lie)
            with pytest.raises(error):
                await home.join(cast.link)
            assert lie.sent == []
            assert not home.directory.exists()
        vault, _ = await cast.newcomer("ivy").join(cast.link)
        await vault.close()


class LyingLater(Lie):
    """Tells the truth until the newcomer has written its entry, then serves a forged log."""

    def __init__(self, log: ForgedLog) -> None:
        super().__init__()
        self.log = log
        self.asked = 0

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> api.LogPage:
        self.asked += 1
        if self.asked == 1:
            return await honest.log_page(vault_id, start)
        return self.log.page(start)


async def test_a_server_that_lies_once_the_join_has_begun_is_found_out(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        forged = await ForgedLog.of(cast.lab, (await cast("olga")).session)
        forged.force(forged.spoken(Identity.generate(), acts.Noop()))
        home = cast.newcomer("ivy", told := LyingLater(forged))
        with pytest.raises(NotAuthorised):
            await home.join(cast.link)
        assert told.sent == []
        assert [each.joined for each in cast.newcomer("ivy").vaults()] == [False]
        assert kept_in(home.directory)[f"{parse_link(cast.link).vault_id.hex()}.db/leaves"] == []
        vault, joined = await cast.newcomer("ivy").join(cast.link)
        await vault.close()
        assert joined.status == "unconfirmed"


class Enrolled(Lie):
    """Answers a newcomer as if it were a member, by a log that does not say so."""

    def __init__(self, cast: Company, member: bytes) -> None:
        super().__init__()
        self.cast, self.member = cast, member

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> api.LogPage:
        return await self.cast.lab.service.log_page(vault_id, self.member, start)

    async def consistency(
        self, honest: Transport, vault_id: bytes, old: int, new: int
    ) -> tuple[bytes, ...]:
        proof = await self.cast.lab.service.consistency(vault_id, self.member, old, new)
        return proof.hashes


@pytest.mark.threat("K2")
async def test_only_the_log_says_that_one_has_joined(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        told = Enrolled(cast, (await cast("olga")).identity.member_id)
        home = cast.newcomer("ivy", told)
        with pytest.raises(PinMismatch, match="but the log does not"):
            await home.join(cast.link)
        assert told.sent == []
        told.telling = False
        vault, joined = await home.join(cast.link)
        await vault.close()
        assert joined.status == "unconfirmed"


async def usable(cast: Company, name: str, link: str) -> None:
    """Check that whoever was cut off joins with the same link, as one member with its keys."""
    vault, joined = await cast.newcomer(name).join(link)
    async with vault:
        olga = await cast("olga")
        members = olga.session.state.members.values()
        assert sum(each.invite is not None and each.live for each in members) == 7
        await olga.confirm("Ivy", words=joined.words)
        assert (await vault.read("customers", fields=["name"])).num_rows == 3
    async with cast.newcomer(name).vault() as again:
        assert (await again.read("customers", fields=["name"])).num_rows == 3


@pytest.mark.threat("R2")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_join_cut_off_at_any_call_goes_on(tmp_path: Path, after: bool) -> None:
    async with company(tmp_path) as cast:
        counter = Counter(1_000, after, False)

        def breaking(honest: ServiceTransport) -> Transport:
            broken = Breaking(honest, 0)
            broken.counter = counter
            return broken

        # One after the other in one home: each goes on where the last one was cut off.
        for at in range(100):
            counter.at, counter.calls = at, 0
            try:
                vault, _ = await cast.lab.home("ivy", breaking).join(cast.link)
            except Unreachable:
                continue
            await vault.close()
            break
        assert at > 2  # so many calls at least there were to cut
        await usable(cast, "ivy", cast.link)


@pytest.mark.threat("R2")
@pytest.mark.parametrize("edit", [1, 2, 3, 4])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_join_killed_around_any_save_of_the_keyring_goes_on(
    tmp_path: Path, edit: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        edits = []
        honest = Home._edit

        def killed(home: Home, change: Callable[[Keyring], Keyring]) -> None:
            edits.append(1)
            if len(edits) == edit and not after:
                raise KeyboardInterrupt
            honest(home, change)
            if len(edits) == edit:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Home, "_edit", killed)
            with pytest.raises(KeyboardInterrupt):
                await cast.newcomer("ivy").join(cast.link)
        await usable(cast, "ivy", cast.link)


async def test_one_whose_join_landed_unnoticed_can_work_at_once(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        counter = Counter(1_000, True, False)

        def breaking(honest: ServiceTransport) -> Transport:
            broken = Breaking(honest, 0)
            broken.counter = counter
            return broken

        counter.at = 5  # the join itself, whose answer is lost
        with pytest.raises(Unreachable):
            await cast.lab.home("ivy", breaking).join(cast.link)
        olga = await cast("olga")
        await olga.confirm("Ivy", yes=True)
        async with cast.newcomer("ivy").vault() as vault:
            assert (await vault.read("customers", fields=["name"])).num_rows == 3


async def test_a_join_begun_with_one_link_goes_on_with_another(tmp_path: Path) -> None:
    """The first link was withdrawn, or led to another address, or had another pin."""
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        first = parse_link(cast.link)
        asked: list[tuple[str, bytes | None]] = []
        counter = Counter(1, False, False)

        def connect(url: str, pin: bytes | None, signer: Signer) -> Transport:
            asked.append((url, pin))
            broken = Breaking(ServiceTransport(cast.lab.service, signer), 0)
            broken.counter = counter
            return broken

        home = cast.newcomer("zoe")
        home.connect = connect
        with pytest.raises(Unreachable):
            await home.join(replace(first, host="vault.example:9000", pin=bytes(32)).text())
        assert asked == [(OTHER_URL, bytes(32))] * 2
        await olga.withdraw_invite("Ivy")
        made = await olga.invite(Role.AUDITOR, name="Zoe")
        counter.at = 1_000
        before = home.keyring.identities
        with pytest.raises(Refused):
            await home.join(replace(parse_link(made.link), secret=first.secret).text())
        assert home.vaults()[0].server == OTHER_URL  # what opens nothing replaces nothing
        asked.clear()
        vault, joined = await home.join(made.link)
        async with vault:
            assert set(asked) == {(URL, None)}
            assert (joined.role, vault.server, vault.pin) == ("auditor", URL, None)
            assert home.keyring.identities == before
            assert [each.server for each in home.vaults()] == [URL]


async def test_whoever_was_removed_comes_back_by_a_new_link_as_somebody_new(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        vault, first = await cast.newcomer("ivy").join(cast.link)
        await vault.close()
        await olga.confirm("Ivy", words=first.words)
        other = await olga.invite(Role.BIDDER, name="Ivo")
        with pytest.raises(InputError, match="in that vault already"):
            await cast.newcomer("ivy").join(other.link)
        await olga.revoke("Ivy", Reason.MISTAKE)
        with pytest.raises(Refused, match="no longer a member"):
            await cast.newcomer("ivy").join(cast.link)
        again = await olga.invite(Role.BIDDER, name="Ivy", classes=(GENERAL,))
        vault, second = await cast.newcomer("ivy").join(again.link)
        async with vault:
            assert second.member_id != first.member_id
            assert not second.compared
            await olga.confirm(second.member_id, words=second.words)
            assert (await vault.read("customers", fields=["name"])).num_rows == 3
        assert len(cast.newcomer("ivy").vaults()) == 1


@pytest.mark.threat("K15")
async def test_whoever_is_invited_back_is_nobody_that_a_thief_knows(tmp_path: Path) -> None:
    """A copy of the keyring has whatever lay in it, also what served nowhere yet."""
    async with company(tmp_path) as cast:
        olga, home = await cast("olga"), cast.lab.home("bo")
        home.new_identity("spare")
        stolen = [each.seed for each in home.keyring.identities]
        done = await olga.revoke("Bo", Reason.KEY_LOST, reinvite=True)
        assert done.invited is not None
        vault, _ = await home.join(done.invited.link)
        await vault.close()
        serving = home.keyring.identity(home.vaults()[0].identity)
        assert serving is not None
        assert serving.seed not in stolen
        # What had served here is not kept for the next vault; the other was never used.
        assert {each.name for each in home.keyring.identities} == {"spare", serving.name}
        mine = await home.create_vault(URL, title="Mine", name="Bo", token=cast.lab.token)
        async with mine:
            assert home.keyring.vaults[1].identity == "spare"


async def test_whoever_is_invited_back_may_say_which_identity_to_be(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        done = await (await cast("olga")).revoke("Bo", Reason.KEY_LOST, reinvite=True)
        assert done.invited is not None
        home = cast.lab.home("bo")
        home.new_identity("spare")
        vault, _ = await home.join(done.invited.link, identity="spare")
        async with vault:
            assert [each.name for each in home.keyring.identities] == ["spare"]


async def test_two_who_have_one_link_do_not_both_get_in(tmp_path: Path) -> None:
    """The other one is faster by a moment: the invite is closed when the act arrives."""

    class Slower(Lie):
        async def submit(
            self, honest: Transport, vault_id: bytes, act: api.SubmitAct
        ) -> api.Submitted:
            if self.sent == ["submit"]:
                vault, _ = await cast.newcomer("fast").join(cast.link)
                await vault.close()
            return await honest.submit(vault_id, act)

    async with company(tmp_path) as cast:
        home = cast.newcomer("slow", told := Slower())
        with pytest.raises(Refused, match="the link opens nothing"):
            await home.join(cast.link)
        assert told.sent == ["submit"]
        assert not home.vaults()[0].joined


async def test_a_refusal_that_says_more_is_passed_on(tmp_path: Path) -> None:
    class Busy(Lie):
        async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> api.LogPage:
            raise Refused("too many requests", code="rate_limited")

    async with company(tmp_path) as cast:
        with pytest.raises(Refused, match="too many requests"):
            await cast.newcomer("ivy", Busy()).join(cast.link)


@pytest.mark.threat("L3")
async def test_an_old_keyring_brings_no_old_state_back(tmp_path: Path) -> None:
    """Pins are kept beside it: a server that goes back with it is found out at once."""
    async with company(tmp_path) as cast:
        home = cast.newcomer("ivy")
        vault, joined = await home.join(cast.link)
        old = home.keyring_path.read_bytes()
        async with vault:
            await (await cast("olga")).confirm("Ivy", words=joined.words)
            past = await ForgedLog.of(cast.lab, vault.session)
            await (await cast("olga")).rotate()
            await vault.session.sync()
        home.new_identity("another")
        home.keyring_path.write_bytes(old)
        async with cast.newcomer("ivy", Forger(past)).vault() as again:
            with pytest.raises(Rollback):
                await again.session.sync()
        async with cast.newcomer("ivy").vault() as again:
            await again.session.sync()


async def test_in_production_a_home_speaks_https() -> None:
    identity = Identity.generate()
    signer = Signer(identity.request_key, identity.member_id)
    transport = https(URL, bytes(32), signer)
    assert isinstance(transport, Patient)
    assert isinstance(transport.inner, HttpTransport)
    assert Home(Path("x"), lambda: "").connect is https
    await transport.close()
