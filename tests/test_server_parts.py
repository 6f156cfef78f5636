"""The server's small parts, each by itself: statuses, rates, routes, bodies."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import api, errors
from protocol.errors import LimitExceeded, MalformedMessage, NotFound, RateLimited, SealroomError
from protocol.wire import from_bytes
from tests.passing import in_no_time
from vault import statuses
from vault.answers import PIECE_BYTES
from vault.bodies import Pace, declared_length, read_body
from vault.config import Config, InvalidConfig
from vault.rates import RateLimit
from vault.routes import ROUTES, Body, SignedBy, route_of
from vault.statuses import STATUSES, NoLength, TooSlow, WrongContentType, refusal_of, status_of
from vault.storage import base

# --- statuses


def error_classes() -> list[type[SealroomError]]:
    found = [
        each
        for module in (errors, base, statuses)
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, SealroomError)
    ]
    return sorted(set(found), key=lambda each: each.__name__)


@pytest.mark.parametrize("error", error_classes(), ids=lambda each: each.__name__)
def test_every_error_that_can_reach_a_peer_has_a_status(error: type[SealroomError]) -> None:
    local = {
        errors.SealroomError,
        errors.WrongPassphrase,
        errors.NoKeyring,
        errors.ExposedFile,
    }
    assert (status_of(error) == 500) == (error in local)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NonCanonical, 400),
        (errors.ClockSkew, 401),
        (errors.ServerRestarted, 401),
        (errors.NotAuthorised, 403),
        (errors.StaleAct, 409),
        (errors.Conflict, 409),
        (base.SizeMoved, 409),
        (errors.WeakKey, 422),
        (errors.Fork, 422),
        (errors.RateLimited, 429),
        (base.StorageFull, 507),
        (base.DirectoryInUse, 503),
        (ValueError, 500),
        (errors.ApiMisuse, 500),
    ],
)
def test_an_error_has_the_status_of_the_nearest_class_above_it(
    error: type[Exception], status: int
) -> None:
    assert status_of(error) == status


def test_the_statuses_are_those_of_errors() -> None:
    assert all(400 <= status < 600 for status in STATUSES.values())


def test_a_refusal_says_what_an_error_says_and_no_more() -> None:
    told = refusal_of(NotFound("nothing here", hint="look elsewhere"), 7)
    assert from_bytes(api.ErrorBody, told.body) == api.ErrorBody(
        "not_found", "nothing here", "look elsewhere", 7
    )
    bug = refusal_of(ValueError("canary"), 7)
    assert (bug.status, bug.code) == (500, "internal")
    assert b"canary" not in bug.body
    assert b"canary" not in refusal_of(SealroomError("canary"), 7).body
    long = refusal_of(MalformedMessage("é" * 5_000), 7)
    assert len(from_bytes(api.ErrorBody, long.body).message.encode()) == 2_048
    assert refusal_of(RateLimited("slow down", retry_after=3), 7).headers == (("Retry-After", "3"),)


# --- rates


def test_a_bucket_holds_a_burst_and_fills_at_its_rate() -> None:
    limit = RateLimit(2, 3)
    for _ in range(3):
        limit.spend(b"a", 10.0)
    with pytest.raises(RateLimited) as refused:
        limit.spend(b"a", 10.0)
    assert refused.value.retry_after == 1
    limit.spend(b"b", 10.0)
    limit.spend(b"a", 10.5)
    with pytest.raises(RateLimited):
        limit.spend(b"a", 10.9)
    for _ in range(3):
        limit.spend(b"a", 1_000.0)  # no more than a burst, however long it waited
    with pytest.raises(RateLimited):
        limit.spend(b"a", 1_000.0)


def test_only_so_many_buckets_are_kept() -> None:
    limit = RateLimit(1, 1, buckets=2)
    for key in (b"a", b"b", b"c"):
        limit.spend(key, 0.0)
    limit.spend(b"a", 0.0)  # was forgotten
    with pytest.raises(RateLimited):
        limit.spend(b"c", 0.0)


def test_whoever_goes_on_asking_is_not_the_one_that_is_forgotten() -> None:
    """Else it would have a new burst whenever so many others had asked."""
    limit = RateLimit(1, 1, buckets=2)
    limit.spend(b"a", 0.0)
    for key in (b"b", b"c", b"d"):
        limit.spend(key, 0.0)
        with pytest.raises(RateLimited):
            limit.spend(b"a", 0.0)


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_nobody_gets_more_than_the_rate_and_one_burst(
    pauses: list[float], per_second: int, burst: int
) -> None:
    limit, now, served = RateLimit(per_second, burst), 0.0, 0
    for pause in pauses:
        now += pause
        try:
            limit.spend(b"a", now)
            served += 1
        except RateLimited as refused:
            limit.spend(b"a", now + refused.retry_after + 1e-6)
            served += 1
            now += refused.retry_after + 1e-6
    assert served <= burst + per_second * now + 1e-3


# --- routes


def test_every_path_of_the_interface_has_a_route() -> None:
    templates = {
        value
        for value in vars(api).values()
        if isinstance(value, str) and value.startswith(("/v1/", "/healthz"))
    }
    assert templates - {api._VAULT} == {route.template for route in ROUTES}
    assert {route.template for route in ROUTES if route.signed_by is SignedBy.NOBODY} == {
        api.HEALTH,
        api.SERVER,
    }


@pytest.mark.threat("H9")
@given(st.text(max_size=120))
def test_no_other_text_is_a_path(text: str) -> None:
    with pytest.raises(NotFound):
        route_of("GET", "/" + text + "~")


@pytest.mark.threat("H9")
@pytest.mark.parametrize("which", api.ID_HEX)
@given(data=st.data())
def test_an_id_in_a_path_has_one_spelling(which: str, data: st.DataObject) -> None:
    sizes = {name: digits // 2 for name, digits in api.ID_HEX.items()}
    drawn = {name: data.draw(st.binary(min_size=n, max_size=n)) for name, n in sizes.items()}
    texts = {name: raw.hex() for name, raw in drawn.items()}
    route, ids = route_of("PUT", api.BATCH.format(**texts))
    assert (route.template, ids) == (api.BATCH, drawn)
    right = texts[which]
    others = {right[:-1], right + "0", right[2:], "", right[:-1] + " ", right + "\n", right.upper()}
    for other in others - {right}:
        with pytest.raises(NotFound):
            route_of("PUT", api.BATCH.format(**{**texts, which: other}))


@pytest.mark.threat("H9")
@pytest.mark.parametrize("odd", ["/", "%", ".", "g", "\N{FULLWIDTH DIGIT ONE}", "\n", "\0", "_"])
def test_nothing_but_digits_and_a_to_f_is_in_an_id(odd: str) -> None:
    for at in (0, 15, 31):
        text = "0" * at + odd + "0" * (31 - at)
        with pytest.raises(NotFound):
            route_of("PUT", api.BATCH.format(vault="0" * 64, upload="0" * 32, batch=text))


# --- bodies

TAKES = Body("a/b", 100)
PACE = Pace(deadline_seconds=2, grace_seconds=0.2, bytes_per_second=1_000)


@pytest.mark.parametrize(
    ("headers", "takes", "expected"),
    [
        ({}, None, 0),
        ({"Content-Length": "0"}, None, 0),
        ({"Content-Length": "1"}, None, MalformedMessage),
        ({"Content-Length": "100", "Content-Type": "a/b"}, TAKES, 100),
        ({"Content-Length": "101", "Content-Type": "a/b"}, TAKES, LimitExceeded),
        ({"Content-Length": "9", "Content-Type": "a/b; charset=x"}, TAKES, WrongContentType),
        ({"Content-Length": "9", "Content-Encoding": "br"}, TAKES, WrongContentType),
        ({"Content-Encoding": "br"}, None, WrongContentType),
        ({"Content-Length": "09", "Content-Type": "a/b"}, TAKES, NoLength),
        ({"Content-Length": "\u0661", "Content-Type": "a/b"}, TAKES, NoLength),
        ({"Content-Type": "a/b"}, TAKES, NoLength),
        ({"Transfer-Encoding": "chunked"}, None, NoLength),
        ({"Content-Length": "0", "Content-Type": "a/b"}, TAKES, MalformedMessage),
    ],
)
def test_a_head_tells_how_much_follows(
    headers: dict[str, str], takes: Body | None, expected: int | type[SealroomError]
) -> None:
    if isinstance(expected, int):
        assert declared_length(headers, takes) == expected
        return
    with pytest.raises(expected) as refused:
        declared_length(headers, takes)
    assert type(refused.value) is expected


class Arriving:
    """A body that comes in pieces, each after a pause."""

    def __init__(self, pieces: list[bytes], pause: float = 0) -> None:
        self.pieces, self.pause = pieces, pause

    async def readany(self) -> bytes:
        await asyncio.sleep(self.pause)
        return self.pieces.pop(0) if self.pieces else b""


async def test_a_body_is_read_whole_with_its_hash() -> None:
    body, sha256 = await read_body(Arriving([b"ab", b"c"]), 3, PACE)
    assert body == b"abc"
    assert sha256 is not None
    assert sha256.hex().startswith("ba7816bf")
    assert await read_body(Arriving([]), 0, PACE) == (b"", None)
    with pytest.raises(MalformedMessage):
        await read_body(Arriving([b"ab"]), 3, PACE)


def test_a_body_may_not_trickle() -> None:
    with pytest.raises(TooSlow):
        in_no_time(read_body(Arriving([b"x"] * 1_000, 0.01), 1_000, PACE))
    # what comes fast enough may take longer than the grace
    body, _ = in_no_time(read_body(Arriving([b"x" * 20] * 40, 0.01), 800, PACE))
    assert len(body) == 800
    with pytest.raises(TooSlow):  # but not longer than the deadline
        in_no_time(read_body(Arriving([b"x" * 20] * 250, 0.01), 5_000, PACE))


def test_a_deadline_ends_even_a_fast_body() -> None:
    assert PACE.next_by(10, 0) == 10.2
    assert PACE.next_by(10, 500) == 10.7
    assert PACE.next_by(10, 10**9) == 12
    assert PIECE_BYTES < 2**20


# --- configuration


@pytest.mark.parametrize(("name", "value"), [("drain_seconds", 0), ("loaded_vaults", 0)])
def test_a_server_has_time_and_room(tmp_path_factory: object, name: str, value: int) -> None:
    with pytest.raises(InvalidConfig, match=name):
        Config(data_dir=base.__file__, **{name: value})  # type: ignore[arg-type]
