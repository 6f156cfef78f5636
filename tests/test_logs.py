"""The log's lines hold what the table allows, and no canary gets into them by any way."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from http import HTTPMethod, HTTPStatus
from io import StringIO
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from protocol.errors import ApiMisuse, Conflict, IntegrityError
from vault.logs import (
    FIELDS,
    LOGGER_NAME,
    Event,
    IdPrefix,
    JsonLineHandler,
    PathTemplate,
    RepeatLimit,
    RequestId,
    configure_logging,
    log_event,
)

CANARY = "canary0123456789"
VAULT_ID = bytes.fromhex("0123456789abcdef" * 4)


@pytest.fixture
def stream() -> Iterator[StringIO]:
    """A configured process; everything is put back afterwards."""
    root, before = logging.getLogger(), [*logging.getLogger().handlers]
    levels = {name: logging.getLogger(name).level for name in ("root", LOGGER_NAME)}
    shown = warnings.showwarning
    stream = StringIO()
    handler = configure_logging(stream, repeats=5, window_seconds=3600)
    yield stream
    logging.captureWarnings(capture=False)
    warnings.showwarning = shown
    root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    for other in before:
        root.addHandler(other)


def lines(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


# --- what may stand in a line


def test_a_line_holds_what_it_was_given(stream: StringIO) -> None:
    request = RequestId()
    log_event(
        Event.REQUEST,
        vault=IdPrefix.of(VAULT_ID),
        request=request,
        path=PathTemplate("/v1/vaults/{vault}/log"),
        method=HTTPMethod.POST,
        error=Conflict,
        status=409,
        bytes=0,
        ms=-1,
    )
    (line,) = lines(stream)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "event": "request",
        "vault": "01234567",
        "request": request.text,
        "path": "/v1/vaults/{vault}/log",
        "method": "POST",
        "error": "conflict",
        "status": 409,
        "bytes": 0,
        "ms": -1,
    }


def test_events_have_words_and_levels_of_their_own(stream: StringIO) -> None:
    for event in Event:
        log_event(event)
    assert [line["event"] for line in lines(stream)] == [event.word for event in Event]
    assert len({event.word for event in Event}) == len(Event)
    assert {line["level"] for line in lines(stream)} == {"info", "warning", "error"}


def test_an_error_of_another_library_is_named_by_its_class(stream: StringIO) -> None:
    log_event(Event.INTERNAL_ERROR, error=KeyError)
    log_event(Event.INTERNAL_ERROR, error=type(CANARY * 9, (Exception,), {}))
    log_event(Event.INTERNAL_ERROR, error=type("a b", (Exception,), {}))
    assert [line["error"] for line in lines(stream)] == ["KeyError", "other", "other"]


@pytest.mark.parametrize(
    "fields",
    [
        {"passphrase": 1},
        {"message": 1},
        {"event": 1},
        {"vault": CANARY},
        {"vault": CANARY.encode()},
        {"vault": VAULT_ID},
        {"vault": 7},
        {"member": RequestId()},
        {"status": CANARY},
        {"status": True},
        {"status": 200.0},
        {"status": HTTPStatus.OK},
        {"count": None},
        {"count": int.from_bytes(CANARY.encode(), "big")},
        {"count": -(2**53)},
        {"error": Conflict(CANARY)},
        {"error": CANARY},
        {"error": str},
        {"path": f"/{CANARY}"},
        {"method": CANARY},
        {"request": CANARY},
    ],
)
def test_whatever_is_not_in_the_table_is_refused(stream: StringIO, fields: dict[str, Any]) -> None:
    if "event" in fields:
        with pytest.raises(TypeError):
            log_event(Event.REQUEST, **fields)
    else:
        with pytest.raises(ApiMisuse) as refused:
            log_event(Event.REQUEST, **fields)
        assert CANARY not in str(refused.value)
    assert stream.getvalue() == ""


def test_the_table_has_no_type_that_holds_text() -> None:
    assert set(FIELDS.values()) == {IdPrefix, RequestId, PathTemplate, HTTPMethod, type, int}


@pytest.mark.parametrize("text", ["", "canary01", "0123456", "012345678", "0123456G", "01234567\n"])
def test_an_id_prefix_is_eight_hex_digits(text: str) -> None:
    with pytest.raises(ApiMisuse):
        IdPrefix(text)
    assert IdPrefix.of(VAULT_ID).text == "01234567"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v1",
        "//",
        "/v1/",
        "/v1/" + VAULT_ID.hex(),
        "/v1/" + VAULT_ID[:16].hex(),
        "/v1/Name",
        "/v1/a b",
        "/v1/{}",
        "/v1/{vault}x",
        "/v1/log?token=1",
        "/v1/log\n",
        "/密钥",
    ],
)
def test_a_path_template_takes_no_real_path(text: str) -> None:
    with pytest.raises(ApiMisuse):
        PathTemplate(text)


def test_request_ids_differ_and_are_drawn_here() -> None:
    assert len({RequestId().text for _ in range(100)}) == 100
    with pytest.raises(TypeError):
        RequestId(CANARY)  # type: ignore[call-arg]


# --- what other code logs


def noisy(logger: logging.Logger) -> None:
    logger.error("token %s", CANARY)
    logger.error(CANARY, extra={"sealroom_payload": {"event": CANARY}})
    try:
        raise ValueError(CANARY) from KeyError(CANARY)
    except ValueError:
        logger.exception("failed with %r", CANARY, stack_info=True)
    logger.error("broken %d %s", CANARY)  # would make the standard handler print it all


@pytest.mark.threat("H13")
@pytest.mark.parametrize("name", ["aiohttp.server", "sealroom", "asyncio", CANARY, f"py.{CANARY}"])
def test_other_peoples_text_stays_out(
    stream: StringIO,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    # pytest hangs its own handlers beside ours while a test runs, and they do print.
    ours = [each for each in logging.getLogger().handlers if isinstance(each, JsonLineHandler)]
    monkeypatch.setattr(logging.getLogger(), "handlers", ours)
    noisy(logging.getLogger(name))
    printed = capfd.readouterr()
    assert CANARY not in stream.getvalue() + printed.out + printed.err
    found = lines(stream)
    assert [line.get("error") for line in found] == [None, None, "ValueError", None]
    root = name.partition(".")[0]
    expected = root if root in ("aiohttp", "asyncio", "py") else "other"
    assert {line["library"] for line in found} == {expected}
    assert all(set(line) <= {"time", "level", "event", "library", "error"} for line in found)


def test_levels_are_words_and_low_ones_of_libraries_are_left_out(stream: StringIO) -> None:
    logger = logging.getLogger("aiohttp.access")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, 35, logging.CRITICAL):
        logger.log(level, CANARY)
    assert [line["level"] for line in lines(stream)] == ["warning", "warning", "error"]
    handler = JsonLineHandler(stream, RepeatLimit(9, 9.0))
    handler.emit(logging.LogRecord("aiohttp", logging.DEBUG, "", 0, CANARY, None, None))
    assert lines(stream)[-1]["level"] == "debug"


@pytest.mark.filterwarnings("always")
def test_warnings_come_the_same_way(stream: StringIO) -> None:
    warnings.warn(CANARY, UserWarning, stacklevel=1)
    assert [line["library"] for line in lines(stream)] == ["py"]
    assert CANARY not in stream.getvalue()


async def test_a_handler_that_fails_in_aiohttp_leaves_no_text(
    stream: StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    async def handle(request: web.Request) -> web.Response:
        raise IntegrityError(await request.text())

    app = web.Application()
    app.router.add_post("/{name}", handle)
    async with TestServer(app) as server, ClientSession() as session:
        answer = await session.post(server.make_url(f"/{CANARY}?{CANARY}"), data=CANARY)
        assert answer.status == 500
    found = lines(stream)
    assert [(line["library"], line["error"]) for line in found] == [("aiohttp", "IntegrityError")]
    printed = capfd.readouterr()
    assert CANARY not in stream.getvalue() + printed.out + printed.err


async def test_a_task_that_fails_unheard_leaves_no_text(stream: StringIO) -> None:
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": CANARY, "exception": ValueError(CANARY)})
    assert [line["library"] for line in lines(stream)] == ["asyncio"]
    assert CANARY not in stream.getvalue()


# --- repetition


def clocked(repeats: int) -> tuple[JsonLineHandler, StringIO, Callable[[float], None]]:
    now = [100.0]
    stream = StringIO()
    limit = RepeatLimit(repeats, 10.0, clock=lambda: now[0])

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    return JsonLineHandler(stream, limit), stream, pass_time


def record(name: str = "aiohttp", level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, CANARY, None, None)


def test_like_lines_are_counted_and_told_with_the_next(stream: StringIO) -> None:
    handler, out, pass_time = clocked(3)
    for _ in range(1000):
        handler.emit(record())
    handler.emit(record("asyncio"))  # of another kind
    handler.emit(record(level=logging.WARNING))
    assert [line["library"] for line in lines(out)] == ["aiohttp"] * 3 + ["asyncio", "aiohttp"]
    pass_time(9.9)
    handler.emit(record())
    assert len(lines(out)) == 5
    pass_time(0.1)
    handler.emit(record())
    told, written = lines(out)[5:]
    assert (told["event"], told["of"], told["count"]) == ("suppressed", "library", 998)
    assert written["event"] == "library"
    assert CANARY not in out.getvalue()


def test_what_was_left_out_is_told_at_the_end(stream: StringIO) -> None:
    handler, out, _ = clocked(2)
    for _ in range(5):
        handler.emit(record())
    handler.emit(record("asyncio"))
    handler.close()
    assert [line.get("count") for line in lines(out)] == [None, None, None, 3]
    handler.close()
    assert len(lines(out)) == 4


@pytest.mark.threat("D4")
def test_a_storm_makes_few_lines(stream: StringIO) -> None:
    for number in range(10_000):
        log_event(Event.REQUEST_REFUSED, status=400, ms=number)
        logging.getLogger("aiohttp.server").error(CANARY)
    assert len(lines(stream)) == 10


def test_a_dead_stream_is_no_error(stream: StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    class Full(StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    JsonLineHandler(Full(), RepeatLimit(9, 9.0)).emit(record())
    closed = StringIO()
    closed.close()
    JsonLineHandler(closed, RepeatLimit(9, 9.0)).emit(record())
    assert capfd.readouterr().err == ""


def test_configuring_replaces_every_other_handler(stream: StringIO) -> None:
    other = StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(other))
    handler = configure_logging(stream)
    try:
        assert logging.getLogger().handlers == [handler]
        logging.getLogger("aiohttp").error(CANARY)
        assert other.getvalue() == ""
    finally:
        logging.getLogger().removeHandler(handler)


def test_without_a_stream_the_log_goes_to_stderr(
    stream: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = configure_logging()
    try:
        log_event(Event.SERVER_STARTED, port=8443)
    finally:
        logging.getLogger().removeHandler(handler)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["port"]) == ("server_started", 8443)
