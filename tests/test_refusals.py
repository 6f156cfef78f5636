"""What a server may say to a user when it refuses, and in whose voice (SPEC 10.3)."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import vault
from client import refusals
from client.cli.exits import LAST_HINTS, REFUSED, UNREACHABLE, tell
from client.errors import Refused
from client.transport import _refusal
from protocol import errors
from protocol.api import ErrorBody
from protocol.errors import NotAuthorised, VerificationFailed
from protocol.wire import to_bytes
from vault import statuses
from vault.storage import base

ROOT = Path(vault.__file__).parent.parent
AT_ITS_START = {
    *("cli.py", "config.py", "copies.py", "horizon.py", "listener.py", "starting.py", "tls.py"),
    "sqlite_file.py",
}
"""Where a server fails before it answers anybody; what of it fails later is in `LATER`."""
LATER = {
    "Have whoever runs it free some space, then repeat the command.",
    "see the server's disk and log",
    base.RESTORE,
}
FOLDERS = ("vault", "vault/storage", "protocol/ledger", "protocol/acts")


def hints_in(path: Path) -> Iterator[str]:
    """Return every hint that a module gives, seven for each number in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "hint":
            match node.value:
                case ast.Constant(value=str(text)):
                    yield text
                case ast.JoinedStr(values=parts):
                    yield "".join(
                        str(p.value) if isinstance(p, ast.Constant) else "7" for p in parts
                    )


def honest_hints() -> set[str]:
    modules = [path for folder in FOLDERS for path in (ROOT / folder).glob("*.py")]
    return LATER.union(*(hints_in(each) for each in modules if each.name not in AT_ITS_START))


def test_every_hint_of_an_honest_server_is_shown_and_there_are_no_others() -> None:
    honest = honest_hints()
    known = {each for hints in refusals.HINTS.values() for each in hints}
    assert {each.replace("7 s.", "N s.") for each in honest} | {
        "Its operator finds it logged."
    } == known


def codes_of(module: ModuleType) -> set[str]:
    return {
        kind.code
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, errors.SealroomError) and kind.__module__ == module.__name__
    }


def test_a_server_has_every_code_but_those_of_what_a_client_finds_by_itself() -> None:
    found = {kind.code for kind in VerificationFailed.__subclasses__()}
    found |= {VerificationFailed.code, "error", "wrong_passphrase", "no_keyring", "exposed_file"}
    # What a role may not do, a server finds as well.
    found -= {NotAuthorised.code}
    sent = codes_of(errors) | codes_of(statuses) | codes_of(base)
    theirs = refusals.HINTS.keys() - {"internal", "busy", refusals.NO_CODE}
    assert sent - found - {"storage_in_use", "storage_still_read"} == theirs


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "told"),
    [
        (403, "pin_mismatch", REFUSED, "refused"),
        (409, "fork", REFUSED, "refused"),
        (400, "not_compared", REFUSED, "refused"),
        (404, "not_found", REFUSED, "not_found"),
        (503, "storage_damaged", REFUSED, "storage_damaged"),
        (503, "storage_failed", UNREACHABLE, "unreachable"),
    ],
)
def test_a_server_that_speaks_in_the_clients_voice_is_quoted(
    status: int, code: str, exit_code: int, told: str, capsys: Any
) -> None:
    lure = "Run 'sealroom identity backup --words' and read the words to support at +49 30 555."
    message = "this home's keyring has a known flaw\"\nhint: " + lure
    error = _refusal(status, to_bytes(ErrorBody(code, message, lure, 1)), 1)
    assert tell(error, as_json=True) == exit_code
    out, err = capsys.readouterr()
    shown = json.loads(out)["error"]
    assert (shown["code"], shown["hint"]) == (told, LAST_HINTS.get(exit_code))
    line = err.splitlines()[0]
    assert lure not in err.replace(line, "")
    assert "the server says: \"this home's keyring" in line
    assert line.startswith("error: the server ")
    assert line.count('"') == 2
    assert line.endswith('"')


@pytest.mark.parametrize(
    ("code", "hint", "shown"),
    [
        ("rate_limited", "Wait 12 s.", True),
        ("rate_limited", "Wait 123456 s.", False),
        ("frozen", "The owner lifts it, with 'sealroom unfreeze'.", True),
        ("not_found", "The owner lifts it, with 'sealroom unfreeze'.", False),
        ("frozen", "The owner lifts it, with 'sealroom unfreeze'. Call +49 30 555.", False),
        ("fork", "Ask this server for its key again.", True),
    ],
)
def test_a_hint_is_one_of_ours_that_goes_with_its_code(code: str, hint: str, shown: bool) -> None:
    error = refusals.refused(ErrorBody(code, "no", hint, 1), 1)
    assert error.hint == (hint if shown else None)


@pytest.mark.threat("H6")
@pytest.mark.parametrize(
    ("server", "told"),
    [
        (1_800_003_600, "2027-01-15 09:00:00 UTC: they are 3,600 s apart"),
        (1_799_996_400, "2027-01-15 07:00:00 UTC: they are 3,600 s apart"),
        (2**40, "1,099,511,627,776 s after 1970: they are 1,097,711,627,776 s apart"),
    ],
)
def test_where_clocks_differ_both_are_told_and_neither_is_called_right(
    server: int, told: str
) -> None:
    body = ErrorBody(
        "clock_skew", "yours is wrong", "set the clock of the machine that sent it", server
    )
    error = _refusal(401, to_bytes(body), 1_800_000_000.9)
    assert isinstance(error, Refused)
    assert error.refusal == "clock_skew"
    mine = "this machine's clock says 2027-01-15 08:00:00 UTC, and the server's "
    assert str(error) == f"{mine}{told}, and requests are taken within 60 s"
    assert "One of the two is wrong" in str(error.hint)


@pytest.mark.parametrize("server", [1_800_000_000, 1_800_000_060, 1_799_999_940])
def test_clocks_that_agree_by_now_are_called_neither_wrong(server: int) -> None:
    body = ErrorBody("clock_skew", "it is 3", "set the clock of the machine that sent it", server)
    error = _refusal(401, to_bytes(body), 1_800_000_000)
    assert str(error) == 'the server says: "it is 3"'
    assert error.hint == "Both clocks agree by now: try again. It may have been long on its way."


LIKE_QUOTES = (
    '"\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u02ba\u301d\u301e\u301f'
    "\uff02\u275d\u275e\u3003\u05f4"
)


@pytest.mark.parametrize("quote", LIKE_QUOTES)
@pytest.mark.parametrize("space", " \u00a0\u3000\u2003\u2800\u3164\u200b\t\n\u2028")
def test_nothing_that_looks_like_the_end_of_a_quote_is_followed_by_a_line_of_its_own(
    quote: str, space: str
) -> None:
    lure = "hint: Run 'sealroom identity backup --to kit'."
    message = f"nothing is here{quote}{space * 60}{lure}{space * 9}"
    told = refusals.quoted(ErrorBody("not_found", message, None, 0))
    assert told == f'the server says: "nothing is here\' {lure}"'


def test_of_a_servers_words_so_many_are_shown() -> None:
    most = "word " * 79 + "words"
    assert len(most) == refusals.MOST_QUOTED
    assert refusals.quoted(ErrorBody("busy", most, None, 0)) == f'the server says: "{most}"'
    for more in (most + "s", most + " s", "s" * 65_000, " " * 65_000):
        told = refusals.quoted(ErrorBody("busy", more, None, 0))
        assert told.endswith(' ..."')
        assert len(told) <= refusals.MOST_QUOTED + len('the server says: " ..."')


def test_no_honest_refusal_is_changed_but_for_its_quotes() -> None:
    honest = "members' words (12) are 10,000 at most; 'x' is not \u00fc or \u5b57"
    assert refusals.quoted(ErrorBody("busy", honest, None, 0)) == f'the server says: "{honest}"'
