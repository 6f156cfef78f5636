"""Each command with a vault that only writes down what it is asked: arguments in, text out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from client.cli.exits import UNTRUE
from client.cli.output import moment
from client.errors import InputError, Refused
from client.results import as_json
from client.results.data import EraseResult, UnfinishedUpload
from client.results.keys import (
    KeysWait,
    ReencryptResult,
    RevokePlan,
    RevokeResult,
    RotatePlan,
    RotateResult,
    Undone,
)
from client.results.log import LogEntry, LogResult
from client.results.people import InviteResult
from client.results.vaults import NewKeys, OfferInfo, Unheard, Way
from protocol.errors import LimitExceeded, MalformedMessage, PinMismatch
from tests.cli_table import COMMANDS
from tests.cli_world import (
    ANSWERS,
    COLLECTION,
    CORE,
    GENERAL,
    HOSTILE,
    ID,
    INFO,
    LINK,
    LOG,
    MOVED,
    MOVED_IDENTITY,
    NOTHING_WAITS,
    OFFER,
    RECOVERY,
    REVOKE_PLAN,
    REVOKED,
    SHOWN,
    STATUS,
    UPLOADED,
    WORDS,
    Call,
    World,
    made_world,
    no_raw_controls,
    split,
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return made_world(tmp_path, monkeypatch)


WITHOUT_A_SERVER = {"rescue_request", "rescue_words"}


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
    assert world.closed == (call[0] not in WITHOUT_A_SERVER)
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
    shown = {"words", "request_words", "custodian_words", "persons"}
    others = {"upload", "plan_upload", "read", *shown}
    assert asked | others == set(ANSWERS)


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
    looked, (name, (source,), said) = world.calls
    assert looked == ("plan_upload", (source,), {"rehearse": False, **said})
    assert (name, source.path, source.format["delimiter"]) == ("upload", file, ";")
    assert (source.format["encoding"], source.format["null_text"]) == ("cp1252", "NULL")
    classes = {"a=b": CORE, "id": GENERAL}
    assert said == {"collection": "X", "classes": classes, "default": CORE, "again": False}
    shown = capsys.readouterr().out
    assert shown.startswith(f"50 records of 2 fields sealed and committed: {SHOWN}\n")
    assert "3 batches were there already" in shown
    assert f"note     {SHOWN}" in shown


def test_fields_are_sensitive_unless_somebody_says_otherwise(world: World, capsys: Any) -> None:
    assert world.run("--json", "upload", str(world.directory / "t.csv"), "--collection", "X") == 0
    assert world.calls[0][2]["default"] is None
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
    asked = {"fields": ("a",), "limit": 20, "numbers": False, "where": ()}
    assert world.calls[0] == ("read", ("X",), asked)
    assert out.split("\n")[1].split() == [SHOWN, "1"]
    assert out.split("\n")[2].split() == ["NULL", "2"]
    assert err == "2 of 50 records, verified; --limit N shows more, --out FILE writes all\n"
    assert no_raw_controls(out)


def test_a_preview_with_the_numbers_by_which_records_are_erased(world: World, capsys: Any) -> None:
    world.answers["read"] = pa.table({"record": [1, 3], "n": [5, 6]})
    assert world.run("read", "X", "--numbers") == 0
    assert world.calls[0][2]["numbers"] is True
    assert capsys.readouterr().out == "record  n\n1       5\n3       6\n"


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


@pytest.mark.parametrize(
    ("command", "verb", "hint"),
    [
        ("freeze --reason breach", "freeze", "'sealroom log' shows what landed; the rest can be"),
        ("rotate", "rotate", "Nothing is lost: everything reads as before."),
        ("revoke Ann --reason left", "revoke", "'sealroom members' shows whether it is removed"),
        ("erase X --records 1 --reason left --yes", "erase", "'sealroom log' shows what is erased"),
        ("identity rotate", "rotate_identity", "The same command does the rest."),
    ],
)
def test_ctrl_c_stops_what_runs(
    command: str, verb: str, hint: str, world: World, capsys: Any
) -> None:
    world.answers[verb] = KeyboardInterrupt()
    assert world.run(*split(command)) == 130
    assert f"hint: {hint}" in capsys.readouterr().err


# --- other results


NOTHING_ROTATED = RotateResult(None, (), 0, None, 0.0)


def test_nothing_to_show(world: World, capsys: Any) -> None:
    world.answers |= {
        "collections": (),
        "rotate": NOTHING_ROTATED,
        "revoke": RevokeResult(9, ID, None, (), 0, 0, (), NOTHING_ROTATED, ()),
        "log": LogResult(ID, 0, ID, "", 0, 0, ()),
        "invite": InviteResult(LINK, ID, "Ann", "bidder", (), 1_700_000_000),
    }
    for command in ("collection list", "rotate", "revoke A --reason left", "log"):
        assert world.run(*split(command)) == 0
    out = capsys.readouterr().out
    assert "no collections yet" in out
    assert "nothing to rotate" in out
    assert f"removed: {ID}" in out
    assert "could read  nothing" in out
    assert "no keys were replaced by this command" in out
    assert "left" not in out
    assert world.run(*split("invite bidder --name Ann")) == 0
    assert "For Ann, bidder, until " in capsys.readouterr().err


def test_what_a_rotation_in_full_did_is_told_as_far_as_there_is_something_to_tell(
    world: World, capsys: Any
) -> None:
    world.answers["rotate"] = MOVED
    assert world.run("rotate", "--reencrypt") == 0
    out = capsys.readouterr().out
    assert "moved    4,000 cells in 30 blocks, 9.8 KiB" in out
    assert "resumed  3 blocks were sealed before" in out
    assert "others   2 blocks changed meanwhile, and were left or moved by somebody else" in out
    assert "retired  5 old keys: the server deletes what lay under them" in out
    little = ReencryptResult(1, 1, 16, 0, 0, 1)
    world.answers["rotate"] = replace(MOVED, reencrypted=little)
    assert world.run("rotate", "--reencrypt") == 0
    out = capsys.readouterr().out
    assert "1 old key: the server deletes what lay under it" in out
    assert "resumed" not in out
    assert "others" not in out


def test_plans_of_nothing(world: World, capsys: Any) -> None:
    world.answers |= {
        "plan_rotation": RotatePlan((), (), 0, 0, 0, None),
        "plan_revocation": RevokePlan(ID, None, (), 0, 0, (), (), KeysWait.ROLE),
    }
    assert world.run(*split("rotate --reencrypt --dry-run")) == 0
    out = capsys.readouterr().out
    assert "would rotate: 0 fields; nothing was done" in out
    assert "for     nobody" in out
    assert "takes   no rate was measured in this home yet" in out
    assert world.run(*split("rotate --dry-run")) == 0
    assert "takes" not in capsys.readouterr().out
    assert world.run(*split("revoke Ann --reason left --dry-run")) == 0
    out = capsys.readouterr().out
    assert f"would remove: {ID}; nothing was done" in out
    assert "replaces  nothing: you make no keys" in out
    assert "withdraws" not in out


def test_what_a_removal_leaves_to_others_is_told(world: World, capsys: Any) -> None:
    assert world.run(*split("revoke Ann --reason left")) == 0
    out = capsys.readouterr().out
    assert f"withdrawn   invites of {SHOWN}" in out
    assert "What is left takes no new records until somebody who holds it has run" in out
    world.answers["revoke"] = replace(REVOKED, left_tainted=(), invited=None)
    assert world.run(*split("revoke Ann --reason left")) == 0
    out = capsys.readouterr().out
    assert "What is left" not in out
    assert LINK not in out


OFFERED = "the vault is offered, and nobody makes new keys until the buyer has answered or the"


def test_what_a_removal_could_not_do_under_an_offer_is_told_and_is_no_success(
    world: World, capsys: Any
) -> None:
    left: dict[str, Any] = {
        "rotated": NOTHING_ROTATED,
        "invited": None,
        "keys_wait": KeysWait.OFFER,
    }
    world.answers["revoke"] = replace(REVOKED, **left)
    assert world.run(*split("revoke Ann --reason left")) == 0
    out = capsys.readouterr().out
    assert f"no keys were replaced: {OFFERED} offer is over\n" in out
    assert "The same command does what is left once the buyer has declined, or the offer" in out
    assert "rotate --tainted" not in out
    assert "not done" not in out
    both = (Undone.REENCRYPT, Undone.REINVITE)
    world.answers["revoke"] = replace(REVOKED, **left, undone=both)
    asked = "revoke Ann --reason left --reencrypt --reinvite"
    assert world.run(*split(asked)) == 3
    out = capsys.readouterr().out
    assert "removed: " in out
    assert "not done: --reencrypt, sealing anew what it could read\n" in out
    assert "not done: --reinvite, inviting it anew\n" in out
    assert world.run("--json", *split(asked)) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["keys_wait"], told["undone"]) == ("offer", ["reencrypt", "reinvite"])


def test_an_admin_without_keys_is_told_who_does_what_it_asked_and_could_not(
    world: World, capsys: Any
) -> None:
    world.answers["revoke"] = replace(
        REVOKED, rotated=NOTHING_ROTATED, keys_wait=KeysWait.ROLE, undone=(Undone.REENCRYPT,)
    )
    assert world.run(*split("revoke Ann --reason left --reencrypt")) == 3
    out = capsys.readouterr().out
    assert "no keys were replaced: you make no keys\n" in out
    assert "The owner, or an admin who holds what is left, does it with the same command" in out


def test_a_removal_that_could_not_be_done_whole_is_no_success_when_it_is_planned_either(
    world: World, capsys: Any
) -> None:
    planned = replace(REVOKE_PLAN, replaced=(), keys_wait=KeysWait.OFFER)
    world.answers["plan_revocation"] = planned
    assert world.run(*split("revoke Ann --reason left --dry-run")) == 0
    assert f"nothing: {OFFERED} offer is over" in capsys.readouterr().out
    world.answers["plan_revocation"] = replace(planned, undone=(Undone.REENCRYPT,))
    assert world.run(*split("revoke Ann --reason left --reencrypt --dry-run")) == 3
    out = capsys.readouterr().out
    assert "would not be done: --reencrypt, sealing anew what it could read\n" in out
    assert "once the buyer has declined" in out


def test_fields_of_one_name_are_told_by_their_collections(world: World, capsys: Any) -> None:
    for command in ("rotate", "rotate --dry-run", "revoke Ann --reason left --dry-run"):
        assert world.run(*split(command)) == 0
        out = capsys.readouterr().out
        lines = [line.strip() for line in out.splitlines()]
        assert f" {SHOWN}: {SHOWN}, iban\n" in out
        assert "orders: iban" in lines
        assert "the vault: names of people" in lines


def test_a_second_vault_of_one_title_is_told(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (f"join '{LINK}' --yes", "vault create h --token x"):
        assert world.run(*split(command)) == 0
        assert "are called" not in capsys.readouterr().err
    monkeypatch.setattr(world, "vaults", lambda: (INFO, replace(INFO, vault_id="cd" * 32)))
    for command in (f"join '{LINK}' --yes", "vault create h --token x"):
        assert world.run(*split(command)) == 0
        told = capsys.readouterr().err
        assert f"2 vaults of this home are called {SHOWN!r} now: name them by their ids" in told


@pytest.mark.parametrize(
    ("role", "told"), [("bidder", True), ("auditor", True), ("admin", False), ("owner", False)]
)
def test_whoever_may_know_no_names_is_told_why(
    role: str, told: bool, world: World, capsys: Any
) -> None:
    world.answers["members"] = tuple(
        replace(each, role=role if each.me else each.role) for each in ANSWERS["members"]
    )
    assert world.run("members") == 0
    out, err = capsys.readouterr()
    assert "(sealed) (you)" in out
    assert ("Names are sealed for the owner and the admins" in err) == told


def test_an_unfinished_upload_says_what_it_is_and_how_it_goes_on(world: World, capsys: Any) -> None:
    begun = UnfinishedUpload(HOSTILE, HOSTILE, 1_200, 2)
    new = replace(COLLECTION, name=None, batches=0, records=0, unfinished=(begun,))
    more = replace(COLLECTION, unfinished=(UnfinishedUpload(HOSTILE, None, 5, 1),))
    stray = replace(new, unfinished=(UnfinishedUpload(None, None, 0, 0),))
    world.answers |= {"collections": (new, more, stray), "collection": new}
    assert world.run("collection", "list") == 0
    out = capsys.readouterr().out
    assert f"{SHOWN} (unfinished upload)" in out
    short = new.collection_id[:16]
    goes_on = "  The same 'sealroom upload' goes on; what was sent is kept for 7 days."
    gives_up = f"  'sealroom collection retire {short} --reason mistake' gives it up now."
    assert out.splitlines()[-9:] == [
        f"unfinished: {SHOWN}, from {SHOWN}: 1,200 records in 2 batches sent", goes_on, gives_up,
        f"unfinished: {SHOWN}: 5 records in 1 batch sent", goes_on,
        f"  'sealroom collection give-up {short}' gives it up; what is there stays.",
        f"unfinished: {short}: 0 records in 0 batches sent", goes_on, gives_up,
    ]  # fmt: skip
    assert world.run("collection", "show", short) == 0
    out = capsys.readouterr().out
    assert f"under way   unfinished: {SHOWN}, from {SHOWN}: 1,200 records" in out
    assert no_raw_controls(out)
    world.answers["collections"] = (replace(new, documents=1),)
    assert world.run("collection", "list") == 0
    assert "unfinished:" not in capsys.readouterr().out


def test_documents_stand_apart_from_tables(world: World, capsys: Any) -> None:
    documents = replace(COLLECTION, name="documents-general", documents=2)
    world.answers |= {
        "collections": (COLLECTION, documents),
        "collection": documents,
        "status": replace(STATUS, documents=2),
    }
    assert world.run("collection", "list") == 0
    out = capsys.readouterr().out
    assert "documents-general" not in out
    told = "2 documents of class general"
    assert out.endswith(f"and {told}: 'sealroom documents list' shows them\n")
    assert world.run("collection", "show", "documents-general") == 0
    out = capsys.readouterr().out
    assert f"holds       {told}" in out
    assert "records" not in out
    assert world.run("vault", "status") == 0
    assert "3 collections, 1,000,000 records, 2 documents\n" in capsys.readouterr().out
    world.answers["collections"] = (documents,)
    assert world.run("collection", "list") == 0
    assert capsys.readouterr().out.startswith("no collections yet\nand 2 documents")


def read_by(index: int, who: str | None, time: int) -> LogEntry:
    detail = {} if who is None else {"who": who, "collection": "c", "blocks": 2, "time": time}
    return LogEntry(index, "observation", None, None, detail)


def test_reads_between_two_acts_are_one_line_unless_all_are_wanted(
    world: World, capsys: Any
) -> None:
    act = LogEntry(0, "grant", ID, "Ann", {})
    entries = (
        act, read_by(1, "Bo", 60), read_by(2, HOSTILE, 0), read_by(3, "Bo", 120),
        replace(act, index=4), read_by(5, "Bo", 180), replace(act, index=6),
        read_by(7, None, 0), read_by(8, None, 0),
    )  # fmt: skip
    world.answers["log"] = replace(LOG, size=9, entries=entries)
    assert world.run("log") == 0
    out, err = capsys.readouterr()
    rows = [" ".join(line.split()) for line in out.splitlines()[1:7]]
    assert rows == [
        "0 grant Ann",
        f"1-3 observations the server 3 reads by 2 members (Bo, {SHOWN}), "
        f"from {moment(0)} to {moment(120)}",
        "4 grant Ann",
        f"5 observation the server who Bo; collection c; blocks 2; time {moment(180)}",
        "6 grant Ann",
        "7-8 observations the server 2 reads",
    ]
    assert "--all shows each" in err
    world.answers["log"] = replace(LOG, size=2, entries=(read_by(0, "Bo", 0), read_by(1, "Bo", 1)))
    assert world.run("log") == 0
    assert f"2 reads by 1 member (Bo), at {moment(0)}\n" in capsys.readouterr().out
    world.answers["log"] = replace(LOG, size=9, entries=entries)
    assert world.run("log", "--all") == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[1:10]] == list("012345678")
    assert err == ""
    # A program is given each leaf, folded for nobody.
    assert world.run("--json", "log") == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["entries"]) == 9
    assert err == ""


def test_reads_that_cannot_have_been_are_shown_apart_and_end_the_command_as_untrue(
    world: World, capsys: Any
) -> None:
    false = read_by(2, "Bo", 2**40)
    false = replace(false, detail={**false.detail, "untrue": "why"})
    entries = (read_by(0, "Bo", 60), read_by(1, "Bo", 60), false, read_by(3, "Bo", 60))
    world.answers["log"] = replace(LOG, size=4, entries=entries, false_observations=(2,))
    assert world.run("log") == UNTRUE
    out, err = capsys.readouterr()
    rows = [" ".join(line.split()) for line in out.splitlines()[1:4]]
    assert rows[0] == f"0-1 observations the server 2 reads by 1 member (Bo), at {moment(60)}"
    assert rows[1].startswith("2 observation the server FALSE: why; who Bo; collection c; blocks 2")
    assert rows[2].startswith("3 observation the server who Bo")
    assert "1 observation of the server cannot be true, at leaf 2\n" in err
    assert world.run("--json", "log") == UNTRUE
    out, err = capsys.readouterr()
    assert json.loads(out)["false_observations"] == [2]
    many = tuple(range(1000, 1009))
    world.answers["log"] = replace(LOG, false_observations=many)
    assert world.run("log") == UNTRUE
    assert "9 observations of the server cannot be true, at leaf 1,000" in capsys.readouterr().err


def test_what_was_erased_is_told(world: World, capsys: Any) -> None:
    world.answers["erase"] = EraseResult((9,), "X", 1, 0, 0.5)
    assert world.run(*split("erase X --records 1 --reason left --yes")) == 0
    out = capsys.readouterr().out
    assert "erased: 1 record of X\n" in out
    assert "log   leaf 9" in out
    assert "before" not in out
    world.answers["erase"] = EraseResult((), "X", 0, 1, 0.5)
    assert world.run(*split("erase X --records 1 --reason left --yes")) == 0
    out = capsys.readouterr().out
    assert "before  1 were gone already" in out
    assert "log " not in out


def test_how_recovery_stands_is_told(world: World, capsys: Any) -> None:
    for found, shown, hidden in [
        (None, "no custodians: a lost owner's keyring would be the end of the vault", "share"),
        (replace(RECOVERY, mine=False), "YOUR SHARE IS FALSE", "your share"),
        (replace(RECOVERY, mine=None, rebuilt=False), "no: deal anew", "has to rotate"),
        (RECOVERY, "The owner's keys were rebuilt: it has to rotate its identity now.", "FALSE"),
    ]:
        world.answers["recovery_status"] = found
        assert world.run("recovery", "status") == 0
        out = capsys.readouterr().out
        assert shown in out
        assert hidden not in out.replace("share of", "")


def test_a_member_with_new_keys_is_told_the_words(world: World, capsys: Any) -> None:
    world.answers["rotate_identity"] = replace(
        MOVED_IDENTITY, status="unconfirmed", words=WORDS, rotated=None, left=()
    )
    assert world.run("identity", "rotate") == 0
    out, err = capsys.readouterr()
    assert "Read these words to the owner" in out
    assert "    abandon   ability   able      about\n" in out
    assert "left behind" not in out
    assert f"Keep a copy of {world.keyring_path}" in err


@pytest.mark.parametrize(
    ("phase", "age", "shown", "hidden"),
    [
        ("open", 7_200, "signed 2 h ago\n", "frozen"),
        ("open", 604_801, "signed 7 d ago, too long ago to write", "frozen"),
        ("open", -7_200, "signed by a clock that is 2 h ahead, too far to write", "frozen"),
        ("frozen", 60, "frozen    yes: nothing but removals lands", "destroyed"),
        ("frozen offer", 60, "frozen    yes: nothing but removals lands", "destroyed"),
        ("ended", 60, "frozen    the vault is destroyed", "removals"),
    ],
)
def test_how_a_vault_stands_as_a_whole(
    phase: str, age: int, shown: str, hidden: str, world: World, capsys: Any
) -> None:
    world.answers["status"] = replace(STATUS, phase=phase, head_age=age)
    assert world.run("vault", "status") == 0
    out = capsys.readouterr().out
    assert shown in out
    assert hidden not in out


def test_who_was_not_heard_of_is_named_with_what_to_do(world: World, capsys: Any) -> None:
    silent = (Unheard(ID, "Ann", 700_000), Unheard(ID, None, 90_000))
    for phase, told in (("open", True), ("ended", False)):
        world.answers["status"] = replace(STATUS, phase=phase, unheard=silent)
        assert world.run("vault", "status") == 0
        out = capsys.readouterr().out
        assert (f"unheard   Ann for 8 d, {ID[:16]} for 1 d: if any of them" in out) is told
        assert ("'sealroom heartbeat'" in out) is told


@pytest.mark.parametrize(
    ("offer", "shown"),
    [
        (None, "none offered"),
        (OfferInfo(1, ID, "Ann", 0, True), "offered to you until 1970"),
        (OfferInfo(1, ID, "", 0, False), f"offered to {ID[:16]} until"),
    ],
)
def test_how_an_offer_is_told(
    offer: Any, shown: str, world: World, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    world.answers["status"] = replace(STATUS, offer=offer, new_keys=NOTHING_WAITS)
    assert world.run("handover", "status") == 0
    assert capsys.readouterr().out.startswith(shown)
    assert world.run("vault", "status") == 0
    assert "new key" not in capsys.readouterr().out


def test_whoever_was_removed_is_told_so(world: World, capsys: Any) -> None:
    world.answers["status"] = replace(STATUS, status="revoked")
    assert world.run("vault", "status") == 0
    assert "no member any more, once owner: revoked" in capsys.readouterr().out


def test_an_acceptance_counts_documents_beside_tables(world: World, capsys: Any) -> None:
    world.answers["accept"] = replace(ANSWERS["accept"], documents=2)
    assert world.run("handover", "accept", "--yes") == 0
    assert "1 collection, 2 documents, 9.8 KiB\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("new", "other", "told"),
    [
        (NewKeys(4, 4, Way.ROTATE), {}, "4 fields take no new data until they have new keys: "
         "'sealroom rotate --tainted'"),
        (NewKeys(4, 1, Way.ROTATE), {}, "4 fields take no new data until they have new keys: "
         "'sealroom rotate --tainted' for 1; the others by whoever holds them"),
        (NewKeys(1, 0, None), {"role": "bidder"}, "1 field takes no new data until it has a new "
         "key: the owner gives them, or an admin who holds them"),
        (NewKeys(4, 0, None), {"offer": OFFER}, "4 fields take no new data until they have new "
         "keys: once the offer is accepted, declined or over"),
        (NewKeys(4, 0, None), {"offer": OFFER, "phase": "frozen offer"}, "4 fields take no new "
         "data until they have new keys: once the owner has lifted the freeze"),
        (NewKeys(9, 9, Way.TAKEOVER), {},
         "the seller still knows the keys that are in use: 'sealroom handover takeover'"),
        (NewKeys(9, 0, None), {"status": "revoked"}, None),
        (NewKeys(9, 0, None), {"phase": "ended"}, None),
    ],
)  # fmt: skip
def test_whose_turn_it_is_to_make_new_keys(
    new: NewKeys, other: dict[str, Any], told: str | None, world: World, capsys: Any
) -> None:
    world.answers["status"] = replace(STATUS, **({"offer": None, "new_keys": new} | other))
    assert world.run("vault", "status") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("new keys")]
    assert [" ".join(line.split()) for line in lines] == ([f"new keys {told}"] if told else [])
