"""Each command with a vault that only writes down what it is asked: arguments in, text out."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from client import results
from client.cli import invocation, main
from client.errors import InputError, Refused
from client.keyring import Keyring
from client.results import Progress, as_json
from client.tables import WriteOptions
from protocol.acts import Reason, Role
from protocol.blocks import FieldClass
from protocol.errors import LimitExceeded, MalformedMessage, PinMismatch

WORDS = "abandon ability able about above absent absorb abstract absurd abuse access accident"
AS_IT_CAME: dict[str, Any] = {"where": (), "options": WriteOptions()}
HOSTILE = "\x1b[2J\u202eAnn\n"
SHOWN = "\\x1b[2J\\u202eAnn\\n"
ID = "ab" * 32
LINK = f"sealroom://host:1/{ID}#{'A' * 43}"

ACT = results.ActResult("grant", 7, ID, HOSTILE)
ROTATED = results.RotateResult(8, (HOSTILE, "iban"), 1_234, 0.5)
MEMBERS = (
    results.MemberInfo(ID, HOSTILE, "owner", "confirmed", False, (), (), WORDS, True),
    results.MemberInfo(
        "cd" * 32, None, "bidder", "unconfirmed", True, (HOSTILE,), ("core",), None, False
    ),
    results.MemberInfo("ef" * 32, "C", "admin", "confirmed", False, (), (), WORDS, False),
)
OFFER = results.OfferInfo(3, ID, HOSTILE, 1_700_000_000, False)
STATUS = results.VaultStatus(
    ID, HOSTILE, "https://h", ID, "owner", "confirmed", 1_234, ID, 61, 2, 1, 3, 1_000_000, OFFER, 4
)
FIELDS = (
    results.FieldInfo(0, HOSTILE, "string", "general", True, 1, False),
    results.FieldInfo(1, None, None, "core", False, 2, True),
)
COLLECTION = results.CollectionInfo("c0" * 16, HOSTILE, HOSTILE, 50, 2, 123_456, ID, FIELDS)
TABLE = pa.table({HOSTILE: [HOSTILE, None], "n": [1, 2]})
UPLOADED = results.UploadResult("c0" * 16, HOSTILE, 50, 2, 100, 1, 9_999, 3, 1.0, (HOSTILE,))
READ = results.ReadResult(HOSTILE, 50, (HOSTILE, "b"), 100, 9_999, 1.0, HOSTILE)
INVITE = results.InviteResult(LINK, ID, HOSTILE, "bidder", ("general",), 1_700_000_000)
JOINED = results.JoinResult(ID, HOSTILE, ID, ID, "bidder", "unconfirmed", WORDS, True, 61)
REVOKED = results.RevokeResult(9, ID, HOSTILE, (HOSTILE,), 2, 30, ROTATED, (HOSTILE,))
OFFERED = results.OfferResult(9, ID, 1_234, 1_700_000_000, 1.0)
ACCEPTED = results.AcceptResult(9, 12, 1, 50, 100, 9_999, 1.0)
LOG = results.LogResult(
    ID, 2, ID, f"o\n2\n{HOSTILE}", 61, 2,
    (
        results.LogEntry(0, "offer", ID, HOSTILE, {"to": HOSTILE, "expires": 1_700_000_000}),
        results.LogEntry(1, "grant", ID, None, {"rules": ["core", HOSTILE], "n": 0, "who": ""}),
        results.LogEntry(2, "observation", None, None, {}),
    ),
)  # fmt: skip
INFO = results.VaultInfo(ID, HOSTILE, "https://h:1", "00" * 32, "identity-1", True)

ANSWERS: Mapping[str, Any] = {
    "status": STATUS,
    "members": MEMBERS,
    "collections": (COLLECTION, results.CollectionInfo("c1" * 16, None, None, 0, 0, 0, ID, ())),
    "collection": COLLECTION,
    "read": TABLE,
    "export": READ,
    "upload": UPLOADED,
    "invite": INVITE,
    "confirm": ACT,
    "words": WORDS,
    "grant": ACT,
    "withdraw_grant": ACT,
    "withdraw_invite": ACT,
    "change_role": ACT,
    "revoke": REVOKED,
    "rotate": ROTATED,
    "offer": OFFERED,
    "accept": ACCEPTED,
    "reject": ACT,
    "log": LOG,
    "create_vault": INFO,
    "join": JOINED,
}

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class FakeVault:
    """Answers every verb as it was told to, and remembers the question."""

    vault_id = ID

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        async def asked(*arguments: Any, **named: Any) -> Any:
            return self._world.answer(verb, arguments, named)

        return asked

    async def close(self) -> None:
        self._world.closed += 1

    async def __aenter__(self) -> FakeVault:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class World:
    """One command line: its home, what the vault answers, and what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers: dict[str, Any] = dict(ANSWERS)
        self.calls: list[Call] = []
        self.closed = 0
        self.opened: list[str | None] = []
        self.unlocked = 0
        (directory / "keyring").write_bytes(b"")

    def run(self, *arguments: str) -> int:
        return main.run(["--home", str(self.directory), *arguments], make_home=self.home)

    def answer(self, verb: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        show = named.pop("on_progress", None)
        if show is not None:
            show(Progress("working", 1, 2, "records"))
        self.calls.append((verb, arguments, named))
        found = self.answers[verb]
        if callable(found):
            found = found()
        if isinstance(found, BaseException):
            raise found
        return found

    # --- what a home has

    def home(self, directory: Path, passphrase: Callable[[], str]) -> Any:
        assert directory == self.directory
        self.passphrase = passphrase
        return self

    @property
    def keyring_path(self) -> Path:
        return self.directory / "keyring"

    @property
    def keyring(self) -> None:
        self.unlocked += 1

    def vault(self, reference: str | None) -> FakeVault:
        self.opened.append(reference)
        return FakeVault(self)

    def vaults(self) -> tuple[results.VaultInfo, ...]:
        return (INFO,)

    async def create_vault(self, *arguments: Any, **named: Any) -> FakeVault:
        self.answer("create_vault", arguments, named)
        return FakeVault(self)

    async def join(self, *arguments: Any, **named: Any) -> tuple[FakeVault, Any]:
        return FakeVault(self), self.answer("join", arguments, named)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("SEALROOM_PASSPHRASE", "correct horse")
    monkeypatch.setattr(invocation, "somebody_there", lambda: False)
    (tmp_path / "t.csv").write_text("a\n1\n")
    return World(tmp_path)


GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE

COMMANDS: list[tuple[str, Call, Any, str]] = [
    ("vault status", ("status", (), {}), STATUS, "1,000,000 records"),
    (
        "collection list",
        ("collections", (), {}),
        {"collections": ANSWERS["collections"]},
        "120.6 KiB",
    ),
    ("collection show X", ("collection", ("X",), {}), COLLECTION, "2, to be rotated"),
    ("members", ("members", (), {}), {"members": MEMBERS}, "core (when confirmed)"),
    ("confirm Ann --yes", ("confirm", ("Ann",), {"words": None, "yes": True}), ACT, "confirmed: "),
    (
        f"confirm Ann --words '{WORDS.upper()}'",
        ("confirm", ("Ann",), {"words": WORDS, "yes": False}),
        ACT,
        "leaf 7",
    ),
    ("role Ann keyless-admin", ("change_role", ("Ann", Role.KEYLESS_ADMIN), {}), ACT, "now key"),
    (
        "grant Ann --classes general,core --classes core",
        ("grant", ("Ann",), {"classes": (GENERAL, CORE), "fields": (), "collection": None}),
        ACT,
        "granted to: ",
    ),
    (
        "grant Ann --fields 'iban,\"a, b\"' --collection X",
        ("grant", ("Ann",), {"classes": (), "fields": ("iban", "a, b"), "collection": "X"}),
        ACT,
        "granted to: ",
    ),
    ("withdraw Ann", ("withdraw_invite", ("Ann",), {}), ACT, "invite withdrawn: "),
    (
        "withdraw Ann --classes sensitive --collection X",
        ("withdraw_grant", ("Ann",), {"classes": (SENSITIVE,), "fields": (), "collection": "X"}),
        ACT,
        "grants ended: ",
    ),
    (
        "withdraw Ann --fields iban",
        ("withdraw_grant", ("Ann",), {"classes": (), "fields": ("iban",), "collection": None}),
        ACT,
        "grants ended: ",
    ),
    ("revoke Ann --reason lost-bid", ("revoke", ("Ann", Reason.LOST_BID), {}), REVOKED, "2 reads"),
    ("rotate", ("rotate", (), {"collection": None, "fields": None}), ROTATED, "wraps   1,234"),
    (
        "rotate --collection X --fields a,b",
        ("rotate", (), {"collection": "X", "fields": ("a", "b")}),
        ROTATED,
        "2 fields",
    ),
    (
        "handover offer Ann",
        ("offer", ("Ann",), {"days": 14, "words": None, "yes": False}),
        OFFERED,
        "1,234, each with a proof",
    ),
    (
        "handover offer Ann --expires 36h --yes",
        ("offer", ("Ann",), {"days": 1.5, "words": None, "yes": True}),
        OFFERED,
        "leaf 9",
    ),
    ("handover accept --yes", ("accept", (), {"words": None, "yes": True}), ACCEPTED, "9.8 KiB"),
    (
        f"handover accept --words '{WORDS}'",
        ("accept", (), {"words": WORDS, "yes": False}),
        ACCEPTED,
        "run 'sealroom rotate'",
    ),
    ("handover reject --reason terms", ("reject", (Reason.TERMS,), {}), ACT, "rejected (leaf 7"),
    ("handover status", ("status", (), {}), {"offer": OFFER}, "offered to "),
    ("log", ("log", (), {"verify": False}), LOG, "rules core, "),
    ("log --verify", ("log", (), {"verify": True}), LOG, "2 leaves, from the first"),
    (
        "read X --out out.csv --fields a --limit 9 --overwrite",
        (
            "export",
            ("X",),
            {"fields": ("a",), "limit": 9, "path": Path("out.csv"), "overwrite": True} | AS_IT_CAME,
        ),
        READ,
        "50 records of 2 fields verified and written to ",
    ),
    (
        "read X --out out.parquet",
        (
            "export",
            ("X",),
            {"fields": None, "limit": None, "path": Path("out.parquet"), "overwrite": False}
            | AS_IT_CAME,
        ),
        READ,
        "fetched  9.8 KiB",
    ),
    (
        "invite bidder --name ' Ann '",
        ("invite", (Role.BIDDER,), {"name": "Ann", "classes": None, "days": 14}),
        INVITE,
        LINK,
    ),
    (
        "invite admin --name Ann --classes core --expires 1w",
        ("invite", (Role.ADMIN,), {"name": "Ann", "classes": (CORE,), "days": 7}),
        INVITE,
        LINK,
    ),
    (
        f"vault create H:1 --title Lark --name Sam --pin {'AB' * 32} --token T",
        (
            "create_vault",
            ("https://h:1",),
            {"title": "Lark", "name": "Sam", "pin": b"\xab" * 32, "token": "T"},
        ),
        INFO,
        ID,
    ),
    (
        "vault create https://h",
        (
            "create_vault",
            ("https://h",),
            {"title": "", "name": "owner", "pin": None, "token": ""},
        ),
        INFO,
        ID,
    ),
    (
        f"join {LINK} --yes",
        ("join", (LINK,), {"words": None, "yes": True, "identity": None}),
        JOINED,
        "words    abandon",
    ),
    (
        f"join {LINK} --words '{WORDS}' --name me",
        ("join", (LINK,), {"words": WORDS, "yes": False, "identity": "me"}),
        JOINED,
        "bidder, unconfirmed",
    ),
]  # fmt: skip


def split(command: str) -> list[str]:
    import shlex

    return shlex.split(command)


def no_raw_controls(text: str) -> bool:
    return {each for each in text if unicodedata.category(each) in ("Cc", "Cf")} <= {"\n"}


@pytest.mark.parametrize(
    ("command", "call", "answer", "shown"), COMMANDS, ids=lambda each: str(each)[:40]
)
def test_a_command_for_people(
    command: str, call: Call, answer: Any, shown: str, world: World, capsys: Any
) -> None:
    assert world.run(*split(command)) == 0
    out, err = capsys.readouterr()
    assert world.calls == [call]
    assert shown in out
    assert no_raw_controls(out + err)
    assert world.closed == 1
    assert "error:" not in err


@pytest.mark.parametrize(
    ("command", "call", "answer", "shown"), COMMANDS, ids=lambda each: str(each)[:40]
)
def test_a_command_for_programs(
    command: str, call: Call, answer: Any, shown: str, world: World, capsys: Any
) -> None:
    assert world.run("--json", *split(command)) == 0
    out, err = capsys.readouterr()
    assert world.calls == [call]
    assert json.loads(out) == json.loads(json.dumps(as_json(answer)))
    assert no_raw_controls(out)
    assert err == ""


def test_every_command_that_asks_a_vault_is_in_the_table() -> None:
    asked = {call[0] for _, call, _, _ in COMMANDS}
    assert asked | {"upload", "read", "words"} == set(ANSWERS)


def test_the_vault_that_is_named_is_opened(world: World) -> None:
    assert world.run("--vault", "Lark", "members") == 0
    assert world.run("members") == 0
    assert world.opened == ["Lark", None]
    assert world.unlocked == 2


def test_hostile_names_are_shown_escaped(world: World, capsys: Any) -> None:
    assert world.run("members") == 0
    assert f"{SHOWN} " in capsys.readouterr().out


# --- upload


def test_an_upload_passes_everything_on(world: World, capsys: Any) -> None:
    file = world.directory / "t.csv"
    file.write_bytes("a=b;id\né;NULL\n".encode("cp1252"))
    options = "--class a=b=core --class id=general --class id=general --default-class core"
    how = "--encoding cp1252 --delimiter ; --null-text NULL"
    arguments = ["upload", str(file), "--collection", "X", *options.split(), *how.split()]
    assert world.run(*arguments) == 0
    ((name, (source,), said),) = world.calls
    assert (name, source.path, source.format["delimiter"]) == ("upload", file, ";")
    assert (source.format["encoding"], source.format["null_text"]) == ("cp1252", "NULL")
    assert said == {"collection": "X", "classes": {"a=b": CORE, "id": GENERAL}, "default": CORE}
    shown = capsys.readouterr().out
    assert shown.startswith(f"50 records of 2 fields sealed and committed: {SHOWN}\n")
    assert "3 batches were there already" in shown
    assert f"note     {SHOWN}" in shown


def test_fields_are_sensitive_unless_somebody_says_otherwise(world: World, capsys: Any) -> None:
    assert world.run("--json", "upload", str(world.directory / "t.csv"), "--collection", "X") == 0
    assert world.calls[0][2]["default"] is SENSITIVE
    assert json.loads(capsys.readouterr().out) == as_json(UPLOADED) | {"notes": [HOSTILE]}


def test_a_file_that_is_not_there_is_found_before_the_passphrase(world: World, capsys: Any) -> None:
    assert world.run("upload", "gone.csv", "--collection", "X") == 1
    assert world.unlocked == 0
    assert "hint: " in capsys.readouterr().err


def test_an_upload_that_is_stopped_says_how_to_go_on(world: World, capsys: Any) -> None:
    world.answers["upload"] = KeyboardInterrupt()
    file = str(world.directory / "t.csv")
    assert world.run("--json", "upload", file, "--collection", "X") == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert err == "error: stopped\nhint: The same command goes on where it stopped.\n"


# --- reading to the screen


def test_a_preview_for_people(world: World, capsys: Any) -> None:
    assert world.run("read", "X", "--fields", "a") == 0
    out, err = capsys.readouterr()
    assert world.calls[0] == ("read", ("X",), {"fields": ("a",), "limit": 20, "where": ()})
    assert out.split("\n")[1].split() == [SHOWN, "1"]
    assert out.split("\n")[2].split() == ["NULL", "2"]
    assert err == "2 of 50 records, verified; --limit N shows more, --out FILE writes all\n"
    assert no_raw_controls(out)


def test_a_preview_of_all_there_is(world: World, capsys: Any) -> None:
    world.answers["read"] = pa.table({"a": list(range(50))})
    assert world.run("read", "X", "--limit", "60") == 0
    assert world.calls[0][2]["limit"] == 60
    assert capsys.readouterr().err == "50 records, all verified\n"


def test_a_preview_for_programs(world: World, capsys: Any) -> None:
    assert world.run("--json", "read", "X") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "collection": HOSTILE,
        "collection_id": "c0" * 16,
        "fields": [{"name": HOSTILE, "type": "string"}, {"name": "n", "type": "int64"}],
        "rows": [{HOSTILE: HOSTILE, "n": 1}, {HOSTILE: None, "n": 2}],
        "records": 2,
        "total": 50,
        "complete": False,
    }


def test_two_fields_of_one_name_are_not_made_one(world: World, capsys: Any) -> None:
    world.answers["read"] = pa.table([[1], [2]], names=["a", "a"])
    assert world.run("--json", "read", "X") == 1
    assert "two fields are called 'a'" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert world.run("read", "X") == 0
    assert capsys.readouterr().out == "a  a\n1  2\n"


# --- usage


@pytest.mark.parametrize(
    "command",
    [
        "read X --overwrite",
        "read X --limit 0",
        "read X --fields ,",
        "grant Ann",
        "grant Ann --collection X",
        "grant Ann --classes all",
        "withdraw Ann --collection X",
        "role Ann king",
        "invite owner --name A",
        "invite bidder",
        "invite bidder --name ' '",
        "invite bidder --name A --expires 14",
        "revoke Ann",
        "revoke Ann --reason spite",
        "handover reject",
        "upload t.csv",
        "upload t.csv --collection X --class a",
        "upload t.csv --collection X --class a=core --class a=general",
        "upload t.csv --collection X --default-class none",
        "join",
        "vault create",
    ],
)
def test_wrong_usage_asks_nobody(command: str, world: World, capsys: Any) -> None:
    assert world.run("--json", *split(command)) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"
    assert world.calls == []
    assert world.unlocked == 0


def test_the_token_need_not_be_typed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALROOM_TOKEN", "from-the-environment")
    for command, token in (
        ("vault create https://h", "from-the-environment"),
        ("vault create https://h --token typed", "typed"),
    ):
        assert world.run(*split(command)) == 0
        ((_, _, named),) = world.calls
        assert named["token"] == token
        world.calls.clear()


@pytest.mark.parametrize(
    "command",
    [
        "join sealroom://host:1/abcd#efgh",
        "join 'not a link'",
        f"join {LINK} --words 'abandon ability'",
        f"join {LINK} --words '{WORDS} zoo'",
        "confirm Ann --words 'x y z'",
        "handover accept --words abandonn",
        "vault create http://h",
        "vault create h --pin abc",
    ],
)
def test_what_was_typed_wrong_asks_nobody(command: str, world: World, capsys: Any) -> None:
    assert world.run(*split(command)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "\nhint: " in err
    assert world.calls == []
    assert world.unlocked == 0


# --- errors of the vault


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (InputError("no"), 1, "input"),
        (Refused("no", code="not_granted"), 3, "not_granted"),
        (PinMismatch("no"), 4, "pin_mismatch"),
        (MalformedMessage("no"), 4, "malformed"),
        (LimitExceeded("no"), 4, "limit_exceeded"),
        (ZeroDivisionError("no"), 70, "internal"),
    ],
)
def test_how_a_command_ends(
    error: Exception, code: int, name: str, world: World, capsys: Any
) -> None:
    world.answers["rotate"] = error
    assert world.run("--json", "rotate") == code
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == name
    assert err.startswith("error: ")
    assert world.closed == 1


def test_ctrl_c_stops_what_runs(world: World, capsys: Any) -> None:
    world.answers["rotate"] = KeyboardInterrupt()
    assert world.run("rotate") == 130
    assert "hint: 'sealroom log' shows what landed" in capsys.readouterr().err


# --- words


def refused_once() -> Callable[[], Any]:
    """Refuse for want of a comparison, until it was made."""
    answers = iter([Refused("not compared", code="not_compared", hint="h"), ACT])
    return lambda: next(answers)


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    import io

    monkeypatch.setattr(invocation, "somebody_there", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))


@pytest.mark.parametrize(
    ("command", "verb"), [("confirm Ann", "confirm"), ("handover accept", "accept")]
)
def test_in_a_script_words_that_were_not_compared_are_a_refusal(
    command: str, verb: str, world: World, capsys: Any
) -> None:
    world.answers[verb] = refused_once()
    assert world.run("--json", *split(command)) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not_compared"
    assert len(world.calls) == 1


def test_words_compared_before_need_nobody(world: World) -> None:
    assert world.run("confirm", "Ann") == 0
    assert world.calls == [("confirm", ("Ann",), {"words": None, "yes": False})]


def test_at_a_terminal_a_person_compares_the_words(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.answers["confirm"] = refused_once()
    assert world.run("confirm", "Ann") == 0
    assert [call[0] for call in world.calls] == ["confirm", "words", "confirm"]
    assert world.calls[-1][2] == {"words": None, "yes": True}
    err = capsys.readouterr().err
    assert "\n    abandon   ability   able      about\n" in err
    assert "read out the same words?" in err


def test_the_buyer_compares_the_sellers_words(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.answers["accept"] = refused_once_then_accepted()
    assert world.run("handover", "accept") == 0
    assert [call[0] for call in world.calls] == ["accept", "members", "accept"]
    assert "    abandon " in capsys.readouterr().err


def refused_once_then_accepted() -> Callable[[], Any]:
    answers = iter([Refused("not compared", code="not_compared"), ACCEPTED])
    return lambda: next(answers)


def test_words_that_differ_end_it(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "n\n")
    world.answers["confirm"] = refused_once()
    assert world.run("confirm", "Ann") == 4
    assert [call[0] for call in world.calls] == ["confirm", "words"]
    assert "do not go on: somebody is in between" in capsys.readouterr().err


def test_no_answer_is_not_a_yes(world: World, capsys: Any, monkeypatch: Any) -> None:
    at_a_terminal(monkeypatch, "")
    world.answers["confirm"] = refused_once()
    assert world.run("confirm", "Ann") == 130
    at_a_terminal(monkeypatch, "\n")
    world.answers["confirm"] = refused_once()
    assert world.run("confirm", "Ann") == 4


def test_another_refusal_asks_nobody(world: World, monkeypatch: Any) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.answers["confirm"] = Refused("no", code="out_of_order")
    assert world.run("confirm", "Ann") == 3
    assert len(world.calls) == 1


def not_compared() -> Any:
    return results.JoinResult(ID, HOSTILE, ID, ID, "bidder", "unconfirmed", WORDS, False, 0)


def test_a_script_that_joins_is_told_the_words(world: World, capsys: Any) -> None:
    world.answers["join"] = not_compared()
    assert world.run("--json", "join", LINK) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["words"], told["compared"]) == (WORDS, False)
    assert len(world.calls) == 1


def test_a_person_who_joins_is_told_to_compare_the_words(world: World, capsys: Any) -> None:
    world.answers["join"] = not_compared()
    assert world.run("join", LINK) == 0
    out = capsys.readouterr().out
    assert "bidder, unconfirmed" in out
    assert "Read these words to the inviter" in out
    world.answers["join"] = JOINED
    assert world.run("join", LINK, "--yes") == 0
    assert "Read these words" not in capsys.readouterr().out


def test_a_link_can_come_on_standard_input(world: World, monkeypatch: Any) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(f" {LINK}\nmore"))
    assert world.run("join", "-", "--yes") == 0
    assert world.calls[0][1] == (f" {LINK}\n",)


# --- other results


def test_nothing_to_show(world: World, capsys: Any) -> None:
    world.answers |= {
        "collections": (),
        "rotate": results.RotateResult(None, (), 0, 0.0),
        "revoke": results.RevokeResult(9, ID, None, (), 0, 0, ROTATED, ()),
        "log": results.LogResult(ID, 0, ID, "", 0, 0, ()),
        "invite": results.InviteResult(LINK, ID, "Ann", "bidder", (), 1_700_000_000),
    }
    for command in ("collection list", "rotate", "revoke A --reason left", "log"):
        assert world.run(*split(command)) == 0
    out = capsys.readouterr().out
    assert "no collections yet" in out
    assert "nothing to rotate" in out
    assert f"removed: {ID}" in out
    assert "could read  nothing" in out
    assert "left" not in out
    assert world.run(*split("invite bidder --name Ann")) == 0
    assert "For Ann, bidder, until " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("offer", "shown"),
    [
        (None, "none offered"),
        (results.OfferInfo(1, ID, "Ann", 0, True), "offered to you until 1970"),
        (results.OfferInfo(1, ID, "", 0, False), f"offered to {ID[:16]} until"),
    ],
)
def test_how_an_offer_is_told(
    offer: Any, shown: str, world: World, capsys: Any, monkeypatch: Any
) -> None:
    from dataclasses import replace

    monkeypatch.setenv("TZ", "UTC")
    world.answers["status"] = replace(STATUS, offer=offer, tainted_fields=0)
    assert world.run("handover", "status") == 0
    assert capsys.readouterr().out.startswith(shown)
    assert world.run("vault", "status") == 0
    assert "new key" not in capsys.readouterr().out


# --- the keyring, the passphrase


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SEALROOM_PASSPHRASE", raising=False)
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> int:
    return main.run(["--home", str(home), *arguments])


def typed(monkeypatch: pytest.MonkeyPatch, *answers: str | BaseException) -> list[str]:
    """Have a person at the terminal, and return the prompts that it will see."""
    waiting, prompts = list(answers), []

    def getpass(prompt: str) -> str:
        prompts.append(prompt)
        answer = waiting.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr("getpass.getpass", getpass)
    monkeypatch.setattr(invocation, "_has_terminal", lambda: True)
    return prompts


def test_a_new_keyring_asks_twice_and_an_old_one_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    prompts = typed(monkeypatch, "right", "right", "right", "right")
    assert run(home, "identity", "new", "--name", "me") == 0
    out, err = capsys.readouterr()
    assert len(prompts) == 2
    assert "New passphrase" in prompts[0]
    assert out.startswith("name  me\nid    ")
    assert f"Keep a copy of {home}/keyring" in err
    assert run(home, "identity", "show") == 0
    assert run(home, "vault", "list") == 0
    assert len(prompts) == 4
    out, _ = capsys.readouterr()
    assert "none yet" in out
    assert out.endswith("no vaults yet\n")


def test_two_different_passphrases_make_no_keyring(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    typed(monkeypatch, "right", "wrong")
    assert run(home, "--json", "identity", "new") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "wrong_passphrase"
    assert not home.exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), EOFError()])
def test_ctrl_c_at_the_prompt(
    home: Path, stop: BaseException, monkeypatch: Any, capsys: Any
) -> None:
    typed(monkeypatch, stop)
    assert run(home, "identity", "new") == 130
    assert capsys.readouterr().err == "error: stopped\nhint: Nothing was done.\n"
    assert not home.exists()


def test_without_a_terminal_nobody_is_asked(home: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(invocation, "_has_terminal", lambda: False)
    assert run(home, "identity", "new") == 1
    assert "hint: Give --passphrase-file FILE, or set SEALROOM_PASSPHRASE." in (
        capsys.readouterr().err
    )
    assert not home.exists()


@pytest.mark.parametrize("content", [b"right\n", b"right\r\nmore\n", b"right"])
def test_the_passphrase_from_a_file(
    home: Path, content: bytes, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setenv("SEALROOM_PASSPHRASE", "another")
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    assert run(home, "--passphrase-file", str(file), "identity", "new") == 0
    assert len(Keyring.load(home / "keyring", lambda: "right").identities) == 1
    assert run(home, "identity", "show") == 1
    assert "the passphrase is wrong" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe\n"])
def test_files_without_a_passphrase(home: Path, content: Any, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "passphrase"
    if content is not None:
        file.write_bytes(content)
    assert run(home, "--passphrase-file", str(file), "identity", "new") == 1
    assert "the passphrase file " in capsys.readouterr().err
    assert not home.exists()


def test_identities_in_json(home: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("SEALROOM_PASSPHRASE", "right")
    assert run(home, "--json", "identity", "new") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["name"] == "identity-1"
    assert made["vault_id"] is None
    assert len(made["member_id"]) == 64
    assert run(home, "--json", "identity", "show") == 0
    assert json.loads(capsys.readouterr().out) == {"identities": [made]}
    assert run(home, "--json", "identity", "new", "--name", "identity-1") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "input"


@pytest.mark.parametrize("command", ["members", "vault list", "identity show", "read X"])
def test_a_home_without_a_keyring_asks_for_no_passphrase(
    home: Path, command: str, monkeypatch: Any, capsys: Any
) -> None:
    prompts = typed(monkeypatch)
    assert run(home, "--json", *split(command)) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "no_keyring"
    assert "hint: 'sealroom vault create' or 'sealroom join' makes one" in err
    assert prompts == []
    assert not home.exists()


def test_the_vaults_of_a_home(home: Path, monkeypatch: Any, capsys: Any) -> None:
    from client.folder import Folder

    monkeypatch.setenv("SEALROOM_PASSPHRASE", "right")
    monkeypatch.setattr(
        Folder, "vaults", lambda _: (INFO, results.VaultInfo("cd" * 32, "", "s", None, "i", False))
    )
    home.mkdir()
    (home / "keyring").touch()
    assert run(home, "vault", "list") == 0
    out = capsys.readouterr().out
    assert SHOWN in out
    assert "untitled" in out
    assert "join not finished" in out
    assert run(home, "--json", "vault", "list") == 0
    assert [each["joined"] for each in json.loads(capsys.readouterr().out)["vaults"]] == [
        True,
        False,
    ]


def test_the_home_of_production_is_the_sdks(tmp_path: Path) -> None:
    from client.home import Home

    made = invocation.home_of(tmp_path, lambda: "x")
    assert isinstance(made, Home)
    assert made.directory == tmp_path


def test_a_terminal_is_asked_for_by_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def found(path: str, _: int) -> int:
        opened.append(path)
        return 99

    monkeypatch.setattr("os.open", found)
    monkeypatch.setattr("os.close", lambda _: None)
    assert invocation._has_terminal()
    assert opened == ["/dev/tty"]

    def absent(*_: object) -> int:
        raise OSError

    monkeypatch.setattr("os.open", absent)
    assert not invocation._has_terminal()


def test_somebody_is_there_who_sees_and_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for sees in (True, False):
        for answers in (True, False):
            monkeypatch.setattr("sys.stdin.isatty", lambda answers=answers: answers, raising=False)
            monkeypatch.setattr("sys.stderr.isatty", lambda sees=sees: sees, raising=False)
            assert invocation.somebody_there() == (sees and answers)
