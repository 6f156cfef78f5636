"""A server that answered once and stops is waited for, for as long as was said, and no longer."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from client import session, transport, trust
from client.cli import invocation, main
from client.errors import Refused, Unreachable
from client.patience import LONGEST_PAUSE, PASSING, Patient, Waiting, in_words
from client.transport import SLEPT_SECONDS, HttpTransport
from protocol import api
from protocol.errors import Stale
from tests.deals import a_vault, acts_since, honest, in_batches_of, rows, through
from tests.in_process import ServiceTransport

VAULT, UPLOAD = bytes(32), bytes(16)
STAGED = api.Staged((UPLOAD,))
GONE = Unreachable("could not reach host:1")
Step = Any


class Scripted:
    """A transport that gives one outcome after the other, whatever it is asked."""

    def __init__(self, *script: Step) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self.closed = 0

    def _next(self, what: str, arguments: tuple[Any, ...]) -> Any:
        self.asked.append((what, arguments))
        step = self.script.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step

    def __getattr__(self, what: str) -> Callable[..., Any]:
        async def asked(*arguments: Any) -> Any:
            return self._next(what, arguments)

        return asked

    async def fetch(self, *arguments: Any) -> AsyncGenerator[bytes, None]:
        steps = self._next("fetch", arguments)
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            yield step

    async def close(self) -> None:
        self.closed += 1


class Waited:
    """Sleeps for nobody, and writes down for how long, and what was told."""

    def __init__(self, *script: Step, most: float = 100) -> None:
        self.inner = Scripted(*script)
        self.pauses: list[float] = []
        self.told: list[Waiting] = []
        self.patient = Patient(self.inner, most=most, tell=self.told.append, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def staged(self) -> api.Staged:
        return await self.patient.staged(VAULT, UPLOAD)


async def test_a_server_that_never_answered_is_not_waited_for() -> None:
    waited = Waited(GONE)
    with pytest.raises(Unreachable) as caught:
        await waited.staged()
    assert caught.value is GONE
    assert (waited.pauses, waited.told) == ([], [])


async def test_one_that_has_answered_is_asked_again_at_growing_intervals() -> None:
    waited = Waited(STAGED, *[GONE] * 7, STAGED, GONE, STAGED)
    assert await waited.staged() == STAGED
    assert await waited.staged() == STAGED
    assert waited.pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE]
    assert waited.told == [
        Waiting("could not reach host:1", 100), Waiting("", 91, over=True)
    ]  # fmt: skip
    # Another outage begins with short pauses.
    await waited.staged()
    assert waited.pauses[7:] == [1]


async def test_patience_ends_and_says_for_how_long_it_lasted() -> None:
    waited = Waited(STAGED, *[GONE] * 20)
    await waited.staged()
    with pytest.raises(
        Unreachable, match=r"^could not reach host:1, and 100 seconds of waiting did not help$"
    ) as caught:
        await waited.staged()
    assert sum(waited.pauses) == 100
    assert caught.value.waited
    assert "Give the same command" in (caught.value.hint or "")


async def test_whoever_wants_no_waiting_has_none() -> None:
    waited = Waited(STAGED, GONE, most=0)
    await waited.staged()
    with pytest.raises(Unreachable):
        await waited.staged()
    assert waited.pauses == []


@pytest.mark.parametrize("code", sorted(PASSING))
async def test_refusals_that_pass_are_waited_out(code: str) -> None:
    waited = Waited(STAGED, Refused("not now", code=code), STAGED)
    await waited.staged()
    assert await waited.staged() == STAGED
    assert waited.told[0].why == "not now"


async def test_other_refusals_are_answers() -> None:
    waited = Waited(Refused("no", code="not_found"), GONE, STAGED)
    with pytest.raises(Refused, match="no"):
        await waited.staged()
    assert await waited.staged() == STAGED  # it has answered, so it was waited for
    assert waited.pauses == [1]


async def test_several_that_wait_tell_it_once() -> None:
    waited = Waited(STAGED, GONE, GONE, GONE, STAGED, STAGED, STAGED)
    await waited.staged()
    await asyncio.gather(*(waited.staged() for _ in range(3)))
    assert [each.over for each in waited.told] == [False, True]


def fetching(*counts: int) -> tuple[api.FetchBlocks, tuple[int, ...]]:
    """Return a request for so many fields of each batch, and the blocks' sizes."""
    wanted = tuple(
        api.WantedBatch(bytes([at] * 16), tuple(range(many))) for at, many in enumerate(counts)
    )
    return api.FetchBlocks(UPLOAD, wanted), tuple(range(10, 10 + sum(counts)))


@pytest.mark.parametrize("cut", range(7))
async def test_a_fetch_goes_on_at_the_block_where_it_broke(cut: int) -> None:
    request, sizes = fetching(2, 1, 3)
    blocks = [bytes(size) for size in sizes]
    waited = Waited(STAGED, [*blocks[:cut], GONE], [GONE], blocks[cut:])
    await waited.staged()
    got = [block async for block in waited.patient.fetch(VAULT, request, sizes)]
    assert got == blocks
    asked = [arguments for what, arguments in waited.inner.asked if what == "fetch"]
    listed = [
        [(each.batch, field) for each in again.batches for field in each.fields]
        for _, again, _ in asked
    ]
    whole = [(each.batch, field) for each in request.batches for field in each.fields]
    assert listed == [whole, *([whole[cut:]] * (2 if cut < 6 else 0))]
    assert [size for *_, size in asked] == [sizes, *([sizes[cut:]] * (2 if cut < 6 else 0))]


async def test_a_fetch_of_nothing_asks_nobody() -> None:
    waited = Waited()
    assert [b async for b in waited.patient.fetch(VAULT, fetching(1)[0], ())] == []
    assert waited.inner.asked == []


async def test_every_request_is_passed_on_and_waited_for() -> None:
    calls: dict[str, tuple[Any, ...]] = {
        "server_info": (), "create_vault": ("request",), "log_page": (VAULT, 3),
        "consistency": (VAULT, 1, 2), "submit": (VAULT, "act"), "observations": (VAULT, 4),
        "staged": (VAULT, UPLOAD), "stage": (VAULT, UPLOAD, UPLOAD, b"body"),
        "stage_several": (VAULT, UPLOAD, [b"body"]),
    }  # fmt: skip
    for name, arguments in calls.items():
        waited = Waited(STAGED, GONE, "answer")
        await waited.staged()
        await getattr(waited.patient, name)(*arguments)
        assert waited.inner.asked[1:] == [(name, arguments)] * 2
        await waited.patient.close()
        assert waited.inner.closed == 1


@pytest.mark.threat("R21")
async def test_an_upload_and_a_read_over_a_server_that_comes_and_goes(tmp_path: Path) -> None:
    class Away(ServiceTransport):
        """The honest server, away at every third request and for each request twice."""

        def __init__(self, like: ServiceTransport) -> None:
            self.service, self.keyid = like.service, like.keyid
            self.calls = 0

        async def _answer(self, work: Any) -> Any:
            self.calls += 1
            if self.calls % 3 == 0:
                work.close()
                raise GONE
            return await super()._answer(work)

    told: list[Waiting] = []
    async with a_vault(tmp_path) as (_, mine):

        async def at_once(_: float) -> None:
            await asyncio.sleep(0)

        away: Any = Away(honest(mine))  # type: ignore[arg-type]
        with through(mine, Patient(away, tell=told.append, sleep=at_once)):
            await mine.upload(rows(40), collection="c", options=in_batches_of(4))
            assert (await mine.read("c")).equals(rows(40))
        assert len(told) > 8


# --- clocks that jump


@pytest.mark.threat("R20")
async def test_after_a_sleep_connections_are_made_anew(tmp_path: Path) -> None:
    now = [1_000_000.0]
    started = time.monotonic()

    def clock() -> float:
        return now[0] + time.monotonic() - started

    client = HttpTransport("https://localhost:1", pin=bytes(32), clock=clock)
    opened = [client._http()]
    for jump in (0, SLEPT_SECONDS / 2, SLEPT_SECONDS * 2, -SLEPT_SECONDS * 2):
        now[0] += jump
        await client._renew()
        opened.append(client._http())
    assert [a is b for a, b in itertools.pairwise(opened)] == [True, True, False, False]
    assert [each.closed for each in opened] == [True, True, True, True, False]
    await client.close()


class Dozing(ServiceTransport):
    """A machine that sleeps while one request is on its way, and gets the answer after it."""

    def __init__(self, like: Any, clock: list[float], asleep: str, seconds: float) -> None:
        self.service, self.keyid = like.service, like.keyid
        self.clock, self.asleep, self.seconds = clock, asleep, seconds

    def _doze(self, what: str) -> None:
        if what == self.asleep:
            self.asleep = ""
            self.clock[0] += self.seconds

    async def log_page(self, vault_id: bytes, start: int) -> api.LogPage:
        self._doze("log_page")
        return await super().log_page(vault_id, start)

    async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        self._doze("submit")
        return await super().submit(vault_id, act)


@pytest.mark.threat("R20")
@pytest.mark.parametrize("asleep", ["log_page", "submit"])
async def test_a_night_s_sleep_in_the_middle_of_a_request_ends_nothing(
    tmp_path: Path, asleep: str
) -> None:
    clock = [time.time()]
    async with a_vault(tmp_path) as (lab, mine):
        service_clock, mine.session.clock = lab.service, lambda: clock[0]
        patched = pytest.MonkeyPatch()
        patched.setattr(service_clock, "_clock", lambda: clock[0])
        try:
            size = mine.session.believed.ledger.size
            with through(mine, Dozing(honest(mine), clock, asleep, 8 * 3_600)):
                await mine.upload(rows(20), collection="c", options=in_batches_of(5))
            assert (await mine.read("c")).equals(rows(20))
            assert (await acts_since(mine, size)).count("commit") == 1
        finally:
            patched.undo()


async def test_a_server_whose_checkpoints_are_old_is_still_found_out(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (_, mine):
        calls = []

        def clock() -> float:
            calls.append(1)
            return time.time() + 3_600

        mine.session.clock = clock
        with pytest.raises(Stale, match=r"checkpoint is 3[56]"):
            await mine.session.sync()
        assert len(calls) == 2  # once to ask, once to see that it took no time


async def test_one_that_is_old_each_time_however_long_it_takes_is_too(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (_, mine):
        now = [time.time() + 3_600]

        def clock() -> float:
            now[0] += session.LATE_SECONDS
            return now[0]

        mine.session.clock = clock
        with pytest.raises(Stale):
            await mine.session.sync()


# --- the command line


def test_the_command_line_says_that_it_waits(capsys: pytest.CaptureFixture[str]) -> None:
    invocation._tell(Waiting("could not reach h\x1b[2J", 600))
    invocation._tell(Waiting("", 91, over=True))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "could not reach h\\x1b[2J: trying again for up to 10 minutes; Ctrl-C stops\n"
        "the server answers again, after 91 seconds\n"
    )
    assert in_words(119.4) == "119 seconds"


def test_how_long_is_said_before_the_command(tmp_path: Path) -> None:
    made: list[tuple[Path, int, int]] = []

    def home_of(
        directory: Path, _: Callable[[], str], *, wait_minutes: int, most_leaves: int
    ) -> Any:
        made.append((directory, wait_minutes, most_leaves))
        raise Refused("enough", code="enough")

    (tmp_path / "keyring").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, "home_of", home_of)
        patch.setenv("SEALROOM_PASSPHRASE", "x")
        for said in ((), ("--wait", "0"), ("--most-leaves", "9")):
            assert main.run(["--home", str(tmp_path), *said, "members"], cast(Any, home_of)) == 3
    most = trust.MOST_LEAVES
    assert made == [(tmp_path, 10, most), (tmp_path, 0, most), (tmp_path, 10, 9)]
    home = invocation.home_of(tmp_path, lambda: "", wait_minutes=2, most_leaves=9)
    assert home.most_leaves == 9
    connect = home.connect
    patient = connect("https://localhost:1", None, transport.Signer(None, b""))  # type: ignore[arg-type]
    assert isinstance(patient, Patient)
    assert patient._most == 120
