"""The life of a vault after its first upload, by the command line against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deals import cheap_keyrings
from tests.real_commands import CLASSES, ROWS, Ended, quickly, running, write_table


@dataclass
class People:
    """A server, and everybody's home beside it."""

    directory: Path
    create: tuple[str, ...]

    def run(self, name: str, *arguments: str | Path) -> Ended:
        return quickly("--json", "--home", self.directory / name, *arguments)

    def ok(self, name: str, *arguments: str | Path) -> Any:
        """Run a command as somebody; it has to succeed."""
        return self.run(name, *arguments).ok()

    def refused(self, name: str, *arguments: str | Path) -> str:
        """Run a command as somebody, and return with which code it was refused."""
        done = self.run(name, *arguments)
        assert done.code == 3, done
        return str(done.document["error"]["code"])

    def joins(self, name: str, role: str, *more: str) -> None:
        invited = self.ok("olga", "invite", role, "--name", name, *more)
        joined = self.ok(name, "join", invited["link"], "--yes")
        self.ok("olga", "confirm", name, "--words", joined["words"])

    def reads(self, name: str) -> int:
        return int(self.ok(name, "read", "customers", "--limit", "99")["records"])

    def epochs(self, name: str) -> set[int]:
        shown = self.ok(name, "collection", "show", "customers")
        return {field["epochs"] for field in shown["fields"]}


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with cheap_keyrings(), running(tmp_path) as server:
        made = People(tmp_path, server.create)
        made.ok("olga", "vault", "create", *made.create, "--title", "Lark", "--name", "Olga")
        table = write_table(tmp_path / "t.csv")
        made.ok("olga", "upload", table, "--collection", "customers", *CLASSES)
        made.joins("ada", "admin")
        made.joins("bo", "bidder", "--classes", "general")
        yield made


def test_keys_are_replaced_records_erased_and_the_vault_stopped(people: People) -> None:
    plan = people.ok("ada", "rotate", "--reencrypt", "--dry-run")
    assert (plan["cells"] > 4 * ROWS, plan["seconds"]) == (True, None)
    assert people.epochs("olga") == {1}
    done = people.ok("ada", "rotate", "--reencrypt")["reencrypted"]
    assert (done["cells"], done["retired"] > 4) == (plan["cells"], True)
    assert people.epochs("olga") == {2}
    assert people.reads("bo") == ROWS

    which = ("--records", "2,4-5", "--reason", "request", "--yes")
    erased = people.ok("ada", "erase", "customers", *which)
    assert (erased["records"], len(erased["acts"])) == (3, 1)
    numbered = people.ok("bo", "read", "customers", "--numbers", "--limit", "3")["rows"]
    assert [row["record"] for row in numbered] == [1, 3, 6]
    assert people.reads("bo") == ROWS - 3

    people.ok("ada", "freeze", "--reason", "breach")
    assert people.refused("bo", "read", "customers") == "frozen"
    assert people.ok("bo", "vault", "status")["phase"] == "frozen"
    assert people.refused("ada", "unfreeze") == "not_authorised"
    people.ok("olga", "unfreeze")
    assert people.reads("bo") == ROWS - 3

    assert people.ok("olga", "policy", "set", "--head-age", "1h", "--head-signers", "ada") == (
        people.ok("bo", "policy", "show")
    )
    assert people.ok("ada", "heartbeat")["kind"] == "heartbeat"

    seen = people.ok("ada", "revoke", "bo", "--reason", "key-lost", "--dry-run")
    fields = ["id", "country", "names of general fields"]
    assert seen["could_read"] == [{"collection": "customers", "fields": fields}]
    assert people.reads("bo") == ROWS - 3
    gone = people.ok("ada", "revoke", "bo", "--reason", "key-lost", "--reencrypt", "--reinvite")
    assert (gone["could_read"], gone["left_tainted"]) == (seen["could_read"], [])
    assert people.refused("bo", "read", "customers") in ("removed", "not_found")
    people.ok("bo2", "join", gone["invited"]["link"], "--yes")
    people.ok("ada", "confirm", "bo", "--yes")
    assert people.reads("bo2") == ROWS - 3

    people.ok("olga", "collection", "retire", "customers", "--reason", "retention", "--yes")
    assert people.ok("bo2", "collection", "list")["collections"] == []
    people.ok("olga", "vault", "destroy", "--reason", "terms", "--yes")
    assert people.ok("ada", "vault", "status")["phase"] == "ended"
    attested = people.ok("ada", "attest", "destroyed", "--yes")
    assert json.loads(Path(attested["proof"]).read_text())["index"] == attested["index"]
    assert people.ok("ada", "identity", "show")["identities"] == []


def test_an_owner_moves_to_new_keys_and_comes_back_from_paper(people: People) -> None:
    moved = people.ok("olga", "identity", "rotate")
    assert (moved["status"], moved["rotated"]["wraps"] > 4) == ("confirmed", True)
    assert people.refused("ada", "handover", "offer", "bo") == "not_authorised"
    page = people.directory / "kit.html"
    people.ok("olga", "identity", "backup", "--out", page)
    restored = people.ok("safe", "identity", "restore", "--kit", page)
    assert (restored["title"], restored["joined"]) == ("Lark", True)
    assert people.reads("safe") == ROWS
    assert people.ok("safe", "vault", "status")["me"] == moved["new_id"]


def test_two_custodians_give_an_owner_its_keys_back(people: People) -> None:
    people.joins("aud", "auditor")
    dealt = people.ok("olga", "recovery", "setup", "--custodians", "ada,aud", "--threshold", "2")
    assert len(dealt["custodians"]) == 2
    assert people.ok("aud", "recovery", "status")["recovery"]["mine"] is True
    (listed,) = people.ok("ada", "vault", "list")["vaults"]
    address, pin = listed["server"], listed["pin"]
    asked = people.ok("new", "recovery", "request", address, listed["vault_id"], "--pin", pin)
    request = people.directory / "request.txt"
    request.write_text(asked["text"])
    assert people.refused("new", "recovery", "rebuild") == "too_few_shares"
    for custodian in ("ada", "aud"):
        (mine,) = people.ok(custodian, "identity", "show")["identities"]
        vault, whom = listed["vault_id"], mine["member_id"]
        words = people.ok("new", "recovery", "words", vault, whom)["words"]
        assert people.refused(custodian, "recovery", "release", request) == "not_compared"
        people.ok(custodian, "recovery", "release", request, "--words", words)
    rebuilt = people.ok("new", "recovery", "rebuild")
    assert rebuilt["wrong"] == []
    assert people.ok("new", "vault", "status")["role"] == "owner"
    assert people.reads("new") == ROWS
    people.ok("new", "rotate", "--tainted")
    assert people.ok("olga", "vault", "status")["status"] == "replaced"
    assert people.refused("olga", "read", "customers") == "replaced"


def test_a_buyer_takes_over_and_the_seller_attests(people: People) -> None:
    people.ok("olga", "handover", "offer", "bo", "--yes")
    people.ok("bo", "handover", "accept", "--yes")
    taken = people.ok("bo", "handover", "takeover")
    assert taken["reencrypted"]["retired"] > 4
    assert people.reads("bo") == ROWS
    attested = people.ok("olga", "attest", "destroyed", "--yes")
    assert attested["statement"] == "keys-destroyed"
    kinds = [entry["kind"] for entry in people.ok("bo", "log", "--verify")["entries"]]
    assert kinds[-1] == "attest"
    assert people.ok("olga", "vault", "list")["vaults"] == []
