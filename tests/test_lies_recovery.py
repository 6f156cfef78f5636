"""Every lie of a server, told to a custodian that releases and to an owner that rebuilds (K16).

As `test_lies`: each ends with the error that names the lie, and leaves no trace. Whoever rebuilds
knows nothing but a vault's id: as for whoever joins, an old log is a young one to it, in which
nobody has released anything yet.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from client.cli.exits import REFUSED, UNTRUE
from protocol import acts
from protocol.errors import IntegrityError, NotAuthorised
from tests.answer_lies import ACT_LIES
from tests.company import Company
from tests.forging import GHOST, forged
from tests.in_process import URL
from tests.liars import ForgedLog, Forger, Lie
from tests.lied_to import AGES, BEHIND, CURRENT, Command, Stage, Told, a_stage
from tests.log_lies import LIES, LogLie, own
from tests.test_lies import NEWCOMER, NOT_AT_FIRST, SECURITY, expect_done, expect_refused

pytestmark = [pytest.mark.threat(each) for each in ("K16", "S1", "S2", "S3", "S4", "H7", "V4")]

RELEASE: Final = Command("aud", "recovery release {here}/request.txt --yes")
REBUILD: Final = Command("mia", "recovery rebuild")
TOO_FEW: Final = "too_few_shares"


async def dealt(cast: Company, directory: Path) -> None:
    """Deal to three, two of whom must release; ada and kim did so to mia, and aud is asked."""
    olga = await cast("olga")
    await olga.set_up_recovery(("Ada", "Kim", "Aud"), 2)
    mia = cast.newcomer("mia")
    text = mia.rescue_request(URL, olga.session.vault_id, None).text
    (directory / "request.txt").write_text(text)
    for name in ("ada", "kim"):
        await (await cast(name)).release_share(text, yes=True)
    for age in AGES:
        shutil.copytree(cast.lab.directory / "mia", directory / age / "mia")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with a_stage(tmp_path_factory.mktemp("recovery"), more=dealt) as made:
        yield made


def expect_too_few(told: Told) -> None:
    """Demand that nothing was rebuilt from what is true and not enough."""
    assert (told.code, told.error) == (REFUSED, TOO_FEW), (told.out, told.err)
    assert told.sent == ()
    assert [each for each in told.changed if each.endswith("keyring")] == []


# --- the log


async def released(stage: Stage) -> acts.Release:
    """Return what a custodian released."""
    every = (await stage.cast("olga")).session.believed.acts
    return next(act.payload for act in every if act and isinstance(act.payload, acts.Release))


async def share_of_nobody(stage: Stage, log: ForgedLog) -> None:
    """Let somebody who is no custodian release what it likes."""
    bo = (await stage.cast("bo")).identity
    log.force(log.spoken(bo, await released(stage)))


async def share_in_a_custodians_name(stage: Stage, log: ForgedLog) -> None:
    """Release a custodian's share by a signature that is not its own."""
    aud = (await stage.cast("aud")).identity
    log.force(log.signed(aud, log.draft(aud, await released(stage)), by=GHOST))


async def dealing_in_the_owners_name(stage: Stage, log: ForgedLog) -> None:
    """Deal anew, so that what was released is worth nothing, or is released to others."""
    owner = (await stage.cast("olga")).identity
    recovery = log.state.recovery
    assert recovery is not None
    again = acts.Custodians(recovery.dealing)
    log.force(log.signed(owner, log.draft(owner, again), by=GHOST))


async def recovery_ended(stage: Stage, log: ForgedLog) -> None:
    """End recovery in the owner's name: whoever rebuilds is to give up."""
    owner = (await stage.cast("olga")).identity
    log.force(log.signed(owner, log.draft(owner, acts.Custodians(None)), by=GHOST))


OWN_LIES: Final = {
    "a share released by somebody who has none": LogLie(own(share_of_nobody), NotAuthorised),
    "a share released in a custodian's name": LogLie(
        own(share_in_a_custodians_name), IntegrityError
    ),
    "a dealing in the owner's name": LogLie(own(dealing_in_the_owners_name), IntegrityError),
    "recovery ended in the owner's name": LogLie(own(recovery_ended), IntegrityError),
}
EVERY: Final = LIES | OWN_LIES


@pytest.mark.parametrize("name", EVERY)
def test_a_lie_about_the_log_releases_no_share(stage: Stage, name: str) -> None:
    lie, error = stage.call(EVERY[name].make(stage)), EVERY[name].error
    told = stage.run(RELEASE, lie, BEHIND)
    expect_refused(told, error)
    assert told.sent == ()


@pytest.mark.parametrize("name", [each for each in EVERY if each not in NOT_AT_FIRST])
def test_a_lie_about_the_log_rebuilds_nothing(stage: Stage, name: str) -> None:
    lie, error = stage.call(EVERY[name].make(stage)), EVERY[name].error
    told = stage.run(REBUILD, lie, BEHIND, copied=True)
    if name in NEWCOMER and NEWCOMER[name] is not IntegrityError:
        expect_too_few(told)
    else:
        expect_refused(told, NEWCOMER.get(name, error))
        assert told.sent == ()


@pytest.mark.parametrize("withheld", [1, 2])
def test_releases_that_are_withheld_are_too_few_and_nothing_is_signed(
    stage: Stage, withheld: int
) -> None:
    """All that a server can do: the owner's new home waits, and says for how many."""

    async def made() -> Lie:
        state = (await stage.cast("olga")).session.state
        assert state.recovery is not None
        places = sorted(each.at for each in state.recovery.released)
        log = await forged(stage.cast, places[-withheld])
        log.clock = stage.clock
        return Forger(log)

    told = stage.run(REBUILD, stage.call(made()), BEHIND, copied=True)
    expect_too_few(told)
    if withheld == 1:
        assert "1 of 2 shares are here" in told.message


# --- what became of the acts


@pytest.mark.parametrize("name", ACT_LIES)
def test_a_lie_about_the_act_is_named_and_the_same_command_goes_on(stage: Stage, name: str) -> None:
    told = stage.run(RELEASE, ACT_LIES[name].make(), CURRENT, copied=True)
    expect_refused(told, ACT_LIES[name].error, keeps="compared")
    assert "submit" in told.sent
    told = stage.run(REBUILD, ACT_LIES[name].make(), BEHIND, copied=True)
    assert (told.code, told.error) == (UNTRUE, ACT_LIES[name].error.code)
    assert "submit" in told.sent
    # The log as far as it is true, and the identity that may have landed.
    kinds = {each.split()[0] for each in told.changed}
    assert kinds <= {"leaves", "pin", "wraps", "boxes", "mia/keyring"}


def test_both_succeed_where_nobody_lies(tmp_path: Path) -> None:
    with a_stage(tmp_path, more=dealt) as made:
        expect_done(made.run(RELEASE, Lie(), BEHIND, honest=True), "release")
        expect_done(made.run(REBUILD, Lie(), BEHIND, honest=True), "rebuild")


def test_security_md_says_how_many_lies_are_told_in_how_many_runs() -> None:
    lies = len(EVERY) + 2 + len(ACT_LIES)
    runs = 2 * len(EVERY) - len(NOT_AT_FIRST & {*EVERY}) + 2 + 2 * len(ACT_LIES)
    said = " ".join(SECURITY.read_text(encoding="utf-8").split())
    assert f"{lies} lies in {runs} runs (`tests/test_lies_recovery.py`)" in said
