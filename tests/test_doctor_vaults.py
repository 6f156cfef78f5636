"""What `sealroom doctor` finds of vaults whose servers do not go on with their logs."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from client.doctor import Finding, State, Subject, check_servers
from client.errors import Refused, Unreachable
from client.home import Home
from client.joining import Joining
from client.session import saying
from client.transport import Transport
from protocol.acts import Heartbeat, Noop, Role
from protocol.api import LogPage
from protocol.errors import SealroomError
from tests.company import Company, company, kept_in
from tests.in_process import URL
from tests.liars import ForgedLog, Forger, Liar, Lie


@pytest.fixture
async def cast(tmp_path: Path) -> AsyncIterator[Company]:
    async with company(tmp_path) as made:
        await made("olga")
        yield made


def at(cast: Company, name: str, lie: Lie | None = None) -> Home:
    return cast.lab.home(name, lambda honest: Liar(honest, lie or Lie()))


async def shown(home: Home) -> Finding:
    """Return what is found of a home's one vault, once nothing in the home was changed by it."""
    before, files = kept_in(home.directory), names_in(home.directory)
    server, clock, found = await check_servers(Subject(home))
    assert (server.state, clock.state) == (State.OK, State.OK)
    assert (kept_in(home.directory), names_in(home.directory)) == (before, files)
    return found


def names_in(directory: Path) -> set[str]:
    """Return the files of a home, without those that SQLite has beside an open one."""
    found = {str(each.relative_to(directory)) for each in directory.rglob("*")}
    return {each for each in found if not each.endswith(("-wal", "-shm"))}


async def forged(cast: Company, size: int | None = None) -> ForgedLog:
    return await ForgedLog.of(cast.lab, cast.open["olga"].session, size)


async def test_a_server_that_goes_on_with_what_is_known_is_in_order(cast: Company) -> None:
    assert cast.open["olga"].session.believed.known
    await (await cast("ada")).session.act(saying(Noop()))
    found = await shown(at(cast, "olga"))
    assert found.state is State.OK
    assert "its server goes on with the log that this home knows; new leaves: 1;" in found.told


async def rolled_back(cast: Company) -> Lie:
    return Forger(await forged(cast, cast.open["olga"].session.state.size - 1))


async def another_history(cast: Company) -> Lie:
    """One that is longer, and other than what was signed before."""
    olga = cast.open["olga"].session
    log = await forged(cast, olga.state.size - 1)
    for _ in range(3):
        log.take(log.spoken(olga.identity, Heartbeat()))
    return Forger(log)


async def another_key(cast: Company) -> Lie:
    log = await forged(cast)
    log.key = SigningKey(bytes(32))
    return Forger(log)


async def withheld(cast: Company) -> Lie:
    """The state of long ago, under the checkpoint of then."""
    log = await forged(cast)
    log.clock = lambda: cast.clock() - 86_400
    return Forger(log)


class Failing(Lie):
    """Fails to show the log."""

    def __init__(self, error: SealroomError) -> None:
        super().__init__()
        self.error = error

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        raise self.error


async def no_such_vault(_: Company) -> Lie:
    return Failing(Refused("no", code="not_found"))


async def damaged(_: Company) -> Lie:
    return Failing(Refused("what the server says", code="storage_damaged"))


async def broken_off(_: Company) -> Lie:
    return Failing(Unreachable("the server failed"))


WRONG = {
    rolled_back: "ROLLED BACK: the server shows ",
    another_history: "ANOTHER HISTORY: the server shows a history that does not continue the one",
    another_key: "NOT TRUE: ",
    withheld: "NOT TRUE: the server's newest checkpoint is 864",
    no_such_vault: "its server has no such vault for this identity's key",
    broken_off: "the server failed",
    damaged: "refused with code storage_damaged: what the server says",
}


@pytest.mark.parametrize("how", WRONG)
async def test_what_is_wrong_with_a_vault_on_its_server_is_told_in_words(
    how: object, cast: Company
) -> None:
    assert callable(how)
    found = await shown(at(cast, "olga", await how(cast)))
    assert found.state is State.PROBLEM
    assert found.told.startswith(WRONG[how])
    assert found.hint
    assert found.about == f"vault {cast.open['olga'].vault.vault_id[:16]}"


async def test_a_home_that_lost_its_copy_reads_the_log_in_memory(cast: Company) -> None:
    for lie, state, told in (
        (Lie(), State.OK, "log is whole, "),
        (await no_such_vault(cast), State.PROBLEM, "no such vault"),
        (await another_key(cast), State.PROBLEM, "NOT TRUE"),
    ):
        home = at(cast, "bo", lie)
        for each in (home.directory / "vaults").glob("*"):
            each.unlink()
        found = await shown(home)
        assert (found.state, told in found.told) == (state, True)
        assert list((home.directory / "vaults").glob("*")) == []


async def test_a_copy_that_is_damaged_is_no_fault_of_the_server(cast: Company) -> None:
    (path,) = (cast.lab.directory / "bo" / "vaults").glob("*.db")
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM leaves WHERE position = 1")
    db.close()
    server, clock = await check_servers(Subject(at(cast, "bo")))
    assert (server.state, clock.state) == (State.OK, State.OK)


async def test_what_was_not_joined_yet_is_not_asked_for(
    cast: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    invited = await (await cast("olga")).invite(Role.BIDDER, name="Cy")
    cy = cast.newcomer("cy")

    async def cut_off(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr(Joining, "_finish_join", cut_off)
    with pytest.raises(KeyError):
        await cy.join(invited.link)
    found = await check_servers(Subject(cy))
    assert [each.about for each in found] == [f"server {URL}", "clock"]
    new = cast.newcomer("rescue")
    new.rescue_request(URL, bytes(32), None)
    assert [each.about for each in await check_servers(Subject(new))] == [f"server {URL}", "clock"]
