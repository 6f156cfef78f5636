"""The real `sealroom` command against a real `sealroom serve`, each in a process of its own.

Several homes, one server over TLS on the loopback. What the commands print is read as a
person or a script would read it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.hangs import HANGS_SECONDS
from tests.real_commands import (
    CLASSES,
    ROWS,
    Ended,
    Server,
    command,
    environment,
    heeding_ctrl_c,
    quickly,
    running,
    sealroom,
    write_table,
)

# --- the whole transfer


def test_a_whole_transfer(tmp_path: Path) -> None:
    table = write_table(tmp_path / "customers.csv")
    seller, buyer = ("--json", "--home", tmp_path / "seller"), ("--json", "--home", tmp_path / "b")
    with running(tmp_path) as server:
        made = sealroom(*seller, "vault", "create", *server.create, "--title", "Lark").ok()
        assert (made["title"], made["server"]) == ("Lark", f"https://{server.address}")

        up = sealroom(*seller, "upload", table, "--collection", "customers", *CLASSES).ok()
        assert (up["records"], up["cells"], up["collection"]) == (ROWS, 4 * ROWS, "customers")

        link = sealroom(*seller, "invite", "bidder", "--name", "Ann", "--classes", "general").ok()
        joined = sealroom(*buyer, "join", link["link"]).ok()
        assert (joined["title"], joined["compared"]) == ("Lark", False)
        again = sealroom(*buyer, "join", link["link"], "--yes").ok()
        assert (again["status"], again["compared"]) == ("unconfirmed", True)
        assert again["words"] == joined["words"]

        refused = sealroom(*seller, "confirm", "Ann")
        assert (refused.code, refused.document["error"]["code"]) == (3, "not_compared")
        sealroom(*seller, "confirm", "Ann", "--words", again["words"].upper()).ok()

        seen = sealroom(*buyer, "read", "customers", "--limit", "2").ok()
        assert seen["rows"] == [{"id": "0", "country": "FR"}, {"id": "1", "country": "DE"}]
        assert (seen["total"], seen["complete"]) == (ROWS, False)

        offered = sealroom(*seller, "handover", "offer", "Ann", "--expires", "2d").ok()
        assert offered["keys"] == 8
        open_offer = sealroom(*buyer, "handover", "status").ok()["offer"]
        assert (open_offer["to_me"], open_offer["index"]) == (True, offered["index"])

        accepted = sealroom(*buyer, "handover", "accept").ok()
        assert (accepted["records"], accepted["cells"]) == (ROWS, 4 * ROWS)
        sealroom(*buyer, "rotate").ok()
        copy = tmp_path / "copy.csv"
        assert sealroom(*buyer, "read", "customers", "--out", copy).ok()["records"] == ROWS
        assert copy.read_bytes() == table.read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o600

        assert sealroom(*seller, "upload", table, "--collection", "more").code == 3
        log = sealroom(*buyer, "log", "--verify").ok()
        kinds = [each["kind"] for each in log["entries"] if each["kind"] != "observation"]
        assert log["verified"] == log["size"] == len(log["entries"])
        assert kinds[0] == "genesis"
        assert kinds[-2:] == ["accept", "create-epoch"]

        before = (tmp_path / "b" / "keyring").read_bytes()
        assert server.stop() == 0
        gone = sealroom(*buyer, "rotate")
        assert (gone.code, gone.document["error"]["code"]) == (5, "unreachable")
        assert "hint: Is the server running" in gone.err
        assert (tmp_path / "b" / "keyring").read_bytes() == before
        listed = sealroom(*buyer, "vault", "list").ok()["vaults"]
        assert [each["title"] for each in listed] == ["Lark"]


# --- stopping and going on


def test_an_upload_that_was_stopped_goes_on_where_it_stopped(tmp_path: Path) -> None:
    table = write_table(tmp_path / "large.csv", 120_000)
    home = ("--json", "--home", tmp_path / "home")
    upload = (*home, "upload", table, "--collection", "large")
    with running(tmp_path) as server:
        sealroom(*home, "vault", "create", *server.create).ok()
        begun = subprocess.Popen(
            [command(), *map(str, upload)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heeding_ctrl_c,
        )
        wait_until(lambda: server.log.read_text().count('"PUT"') > 5)
        begun.send_signal(signal.SIGINT)
        out, err = begun.communicate(timeout=HANGS_SECONDS)
        assert begun.returncode == 130, err
        assert json.loads(out)["error"]["code"] == "interrupted"
        assert err == "error: stopped\nhint: The same command goes on where it stopped.\n"
        shown = sealroom(*home, "collection", "show", "large").ok()
        assert (shown["name"], shown["records"]) == (None, 0)
        assert [each["file"] for each in shown["unfinished"]] == ["large.csv"]
        (tmp_path / "part.csv").write_text("a,b\n1,2\n")
        other = sealroom(*home, "upload", tmp_path / "part.csv", "--collection", "large")
        assert other.document["error"]["message"] == (
            "an upload of large.csv to 'large' is unfinished"
        )

        done = sealroom(*upload).ok()
        assert done["records"] == 120_000
        assert done["resumed_batches"] > 0


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + HANGS_SECONDS
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# --- a terminal


def at_a_terminal(
    arguments: Sequence[str | Path], typed: Sequence[tuple[bytes, bytes]]
) -> tuple[int, bytes]:
    """Run the command at a terminal; type each answer once its prompt has appeared."""
    ours, theirs = pty.openpty()
    env = environment(TERM="xterm", NO_COLOR="1", COLUMNS="100")
    del env["SEALROOM_PASSPHRASE"]
    process = subprocess.Popen(
        [command(), *map(str, arguments)],
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: os.login_tty(os.dup(0)),
    )
    os.close(theirs)
    shown, answered = b"", 0
    waiting = list(typed)
    while True:
        with contextlib.suppress(OSError):  # what a terminal says when its other end is closed
            piece = os.read(ours, 4096)
            shown += piece
            if piece:
                if waiting and waiting[0][0] in shown[answered:]:
                    answered = len(shown)
                    os.write(ours, waiting.pop(0)[1])
                continue
        break
    os.close(ours)
    return process.wait(HANGS_SECONDS), shown


def test_at_a_terminal_a_passphrase_is_asked_for_and_not_shown(tmp_path: Path) -> None:
    home = tmp_path / "home"
    new = ("--home", home, "identity", "new", "--name", "me")
    asked = [(b"New passphrase", b"s3cret\n"), (b"same again", b"s3cret\n")]
    code, shown = at_a_terminal(new, asked)
    assert code == 0, shown
    assert b"s3cret" not in shown
    assert b"me" in shown
    assert (home / "keyring").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700

    code, shown = at_a_terminal(("--home", home, "vault", "list"), [(b"Passphrase", b"\x03")])
    assert code == 130
    assert b"error: stopped" in shown

    code, shown = at_a_terminal(("--home", home, "vault", "list"), [(b"Passphrase", b"wrong\n")])
    assert code == 1
    assert b"hint: " in shown


def test_a_version_comes_at_once_and_without_the_heavy_libraries() -> None:
    probe = (
        "import sys, client.cli.main as m; "
        "heavy = {'pyarrow', 'numpy', 'aiohttp', 'rich', 'nacl'}; "
        "print(m.run(['--version']), heavy & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "0 set()"


def test_what_reads_no_table_does_not_wait_for_arrow(tmp_path: Path) -> None:
    home = ("--home", tmp_path / "home")
    with running(tmp_path) as server:
        sealroom(*home, "vault", "create", *server.create, "--title", "Lark")
        table = write_table(tmp_path / "customers.csv")
        sealroom(*home, "upload", table, "--collection", "customers", *CLASSES)
        link = sealroom(*home, "--json", "invite", "auditor", "--name", "Ann").ok()["link"]
        sealroom("--home", tmp_path / "ann", "join", link)
        for given in (
            ("vault", "status"),
            ("confirm", "Ann", "--yes"),
            ("members",),
            ("collection", "list"),
            ("revoke", "Ann", "--reason", "left"),
        ):
            done = sealroom(*home, *given, PYTHONPROFILEIMPORTTIME="1")
            assert done.code == 0, done.err
            assert "aiohttp" in done.err
            assert "pyarrow" not in done.err, given


def test_a_terminal_without_utf8_gets_escapes(tmp_path: Path) -> None:
    home = ("--home", tmp_path / "home")
    done = sealroom(*home, "identity", "new", "--name", "李", PYTHONIOENCODING="latin-1")
    assert done.code == 0
    assert "name  \\u674e" in done.out


# --- what goes wrong


@dataclass
class World:
    """A server with a vault of Sam's, the bidder Ann in it, and links in every state."""

    directory: Path
    server: Server
    links: dict[str, str] = field(default_factory=dict)

    def home(self, name: str) -> Path:
        return self.directory / name

    def copy(self, name: str, to: Path) -> Path:
        return Path(shutil.copytree(self.home(name), to))

    def quickly(self, name: str, *arguments: str | Path) -> Any:
        """Run a command as this home's user; it has to succeed."""
        return quickly("--json", "--home", self.home(name), *arguments).ok()

    def acts(self) -> list[str]:
        entries = self.quickly("sam", "log")["entries"]
        return [each["kind"] for each in entries if each["kind"] != "observation"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("world")
    with running(directory) as server:
        made = World(directory, server)
        made.quickly("sam", "vault", "create", *server.create, "--title", "Lark")
        table = write_table(directory / "t.csv")
        made.quickly("sam", "upload", table, "--collection", "customers", *CLASSES)
        for name in ("Ann", "Bob", "Carl", "Dora"):
            invited = made.quickly(
                "sam", "invite", "bidder", "--name", name, "--classes", "general"
            )
            made.links[name] = invited["link"]
        made.quickly("sam", "withdraw", "Bob")
        made.quickly("ann", "join", made.links["Ann"], "--yes")
        made.quickly("sam", "confirm", "Ann", "--yes")
        other = made.quickly("other", "vault", "create", *server.create)["vault_id"]
        made.links["other vault"] = altered(made.links["Carl"], vault=other)
        made.links["altered secret"] = altered(made.links["Carl"], secret="Q")
        made.links["altered pin"] = altered(made.links["Carl"], pin="A" * 43)
        made.links["no server"] = altered(made.links["Carl"], host="127.0.0.1:1")
        yield made


def altered(link: str, *, host: str = "", vault: str = "", secret: str = "", pin: str = "") -> str:
    place, _, key = link.removeprefix("sealroom://").partition("#")
    old_host, _, old_vault = place.partition("/")
    old_secret, _, old_pin = key.partition(".")
    flipped = secret + old_secret[len(secret) :]
    if secret and flipped == old_secret:
        flipped = "R" + old_secret[1:]
    return f"sealroom://{host or old_host}/{vault or old_vault}#{flipped}.{pin or old_pin}"


FILES = {
    "empty.csv": b"",
    "undecodable.csv": b"a,b\n1,\xff\xfe\n",
    "ragged.csv": b"a,b\n1,2\n3\n",
    "good.csv": b"a,b\n1,2\n",
    "book.xlsx": b"PK\x03\x04" + bytes(60),
}

UPLOADS = [
    ("gone.csv", (), "table_unreadable"),
    ("empty.csv", (), "table_empty"),
    ("undecodable.csv", (), "table_encoding"),
    ("ragged.csv", (), "table_ragged"),
    ("book.xlsx", (), "table_unreadable"),
    ("good.csv", ("--class", "c=core"), "input"),
    ("good.csv", ("--encoding", "klingon"), "table_encoding"),
]


@pytest.mark.parametrize(("file", "options", "code"), UPLOADS)
def test_files_that_are_refused(
    file: str, options: tuple[str, ...], code: str, world: World, tmp_path: Path
) -> None:
    if file in FILES:
        (tmp_path / file).write_bytes(FILES[file])
    before = world.acts()
    home = ("--json", "--home", world.home("sam"))
    failed = quickly(*home, "upload", tmp_path / file, "--collection", "refused", *options)
    assert_failed(failed, 1, code)
    collections = world.quickly("sam", "collection", "list")["collections"]
    assert [each["name"] for each in collections if each["records"]] == ["customers"]
    if code != "table_ragged" and code != "table_encoding":  # those are found while it is read
        assert world.acts() == before


BIDDERS = [
    ("grant", "Ann", "--classes", "core"),
    ("invite", "bidder", "--name", "Eve"),
    ("rotate",),
    ("read", "customers", "--fields", "iban"),
    ("read", "customers", "--fields", "id,name"),
    ("confirm", "Ann", "--yes"),
    ("role", "Ann", "admin"),
    ("revoke", "Sam", "--reason", "other"),
    ("withdraw", "Carl"),
    ("handover", "offer", "Ann"),
    ("handover", "accept", "--yes"),
    ("handover", "reject", "--reason", "other"),
    ("upload", "TABLE", "--collection", "mine"),
]


@pytest.mark.parametrize("arguments", BIDDERS, ids=" ".join)
def test_what_a_bidder_may_not(arguments: tuple[str, ...], world: World) -> None:
    before = world.acts()
    table = str(world.directory / "t.csv")
    members = {
        each["name"]: each["member_id"] for each in world.quickly("sam", "members")["members"]
    }
    names = {
        "TABLE": table,
        "Sam": members["owner"],
        "Ann": members["Ann"],
        "Carl": members["Carl"],
    }
    named = [names.get(each, each) for each in arguments]
    failed = quickly("--json", "--home", world.home("ann"), *named)
    assert_failed(failed, 3)
    assert world.acts() == before


JOINS = [
    ("Ann", 3),
    ("Bob", 3),
    ("other vault", 3),
    ("altered secret", 3),
    ("altered pin", 4),
    ("no server", 5),
]


@pytest.mark.parametrize(("link", "code"), JOINS)
def test_links_that_let_nobody_in(link: str, code: int, world: World, tmp_path: Path) -> None:
    before = world.acts()
    failed = sealroom("--json", "--home", tmp_path / "new", "join", world.links[link], "--yes")
    assert_failed(failed, code)
    secret = world.links[link].partition("#")[2]
    assert secret not in failed.out + failed.err
    assert world.acts() == before
    assert not (tmp_path / "new" / "keyring").exists()


def test_a_link_that_is_not_whole(tmp_path: Path, world: World) -> None:
    failed = quickly("--json", "--home", tmp_path / "new", "join", world.links["Carl"][:-50])
    assert_failed(failed, 1, "input")
    assert not (tmp_path / "new").exists()


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


KEYRINGS: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda content: content[:-1], "malformed"),
    (lambda content: content[:10], "malformed"),
    (lambda content: b"", "malformed"),
    (lambda content: flipped(content, 0), "malformed"),
    (lambda content: flipped(content, 40), "wrong_passphrase"),
    (lambda content: flipped(content, len(content) // 2), "wrong_passphrase"),
    (lambda content: flipped(content, len(content) - 1), "wrong_passphrase"),
]


@pytest.mark.parametrize(("damage", "code"), KEYRINGS)
def test_a_damaged_keyring(
    damage: Callable[[bytes], bytes], code: str, world: World, tmp_path: Path
) -> None:
    home = world.copy("ann", tmp_path / "home")
    damaged = damage((home / "keyring").read_bytes())
    (home / "keyring").write_bytes(damaged)
    failed = quickly("--json", "--home", home, "vault", "list")
    assert_failed(failed, 1, code)
    assert (home / "keyring").read_bytes() == damaged


def test_a_wrong_passphrase(world: World) -> None:
    keyring = world.home("ann") / "keyring"
    before = keyring.read_bytes()
    wrong = sealroom("--json", "--home", world.home("ann"), "members", SEALROOM_PASSPHRASE="x")
    assert_failed(wrong, 1, "wrong_passphrase")
    none = sealroom("--json", "--home", world.home("ann"), "members", SEALROOM_PASSPHRASE="")
    assert_failed(none, 1, "input")
    assert keyring.read_bytes() == before


def test_a_keyring_that_others_may_read(world: World, tmp_path: Path) -> None:
    home = world.copy("ann", tmp_path / "home")
    (home / "keyring").chmod(0o644)
    assert_failed(quickly("--json", "--home", home, "members"), 1, "exposed_file")


CREATES: list[tuple[str, tuple[str, ...], int, str, str]] = [
    ("wrong pin", ("ADDRESS", "--pin", "00" * 32), 4, "pin_mismatch", "pin"),
    ("no pin", ("ADDRESS",), 5, "unreachable", "--pin"),
    ("half a pin", ("ADDRESS", "--pin", "abc"), 1, "input", "64 hex digits"),
    ("no server", ("127.0.0.1:1", "--pin", "00" * 32), 5, "unreachable", "running"),
    ("no address", ("http://x",), 1, "input", "8443"),
]


@pytest.mark.parametrize(
    ("arguments", "exits", "code", "hint"), [c[1:] for c in CREATES], ids=[c[0] for c in CREATES]
)
def test_servers_that_no_vault_is_made_on(
    arguments: tuple[str, ...], exits: int, code: str, hint: str, world: World, tmp_path: Path
) -> None:
    named = [world.server.address if each == "ADDRESS" else each for each in arguments]
    failed = quickly("--json", "--home", tmp_path / "new", "vault", "create", *named)
    assert_failed(failed, exits, code)
    assert hint in failed.document["error"]["hint"]
    assert not (tmp_path / "new").exists()


def test_a_wrong_token(world: World, tmp_path: Path) -> None:
    right = world.server.create
    home = ("--json", "--home", tmp_path / "new")
    failed = quickly(*home, "vault", "create", *right[:-1], "wrong")
    assert_failed(failed, 3)
    assert quickly(*home, "vault", "list").ok() == {"vaults": []}
    (kept,) = quickly(*home, "identity", "show").ok()["identities"]
    made = quickly(*home, "vault", "create", *right).ok()
    (serving,) = quickly(*home, "identity", "show").ok()["identities"]
    assert serving == kept | {"vault_id": made["vault_id"]}


def test_a_vault_that_this_home_does_not_have(world: World) -> None:
    failed = quickly("--json", "--home", world.home("ann"), "--vault", "Finch", "members")
    assert_failed(failed, 1, "input")


def test_an_identity_serves_in_one_vault(world: World) -> None:
    home = ("--json", "--home", world.home("other"))
    join = (*home, "join", world.links["Dora"], "--yes", "--name")
    before = world.acts()
    assert_failed(quickly(*join, "identity-1"), 1, "input")
    assert world.acts() == before
    assert quickly(*join, "another").ok()["role"] == "bidder"
    shown = quickly(*home, "identity", "show").ok()["identities"]
    assert [each["name"] for each in shown] == ["identity-1", "another"]
    assert len({each["vault_id"] for each in shown}) == 2
    assert_failed(quickly(*home, "members"), 1, "input")  # of which vault?
    named = quickly(*home, "--vault", "Lark", "members").ok()["members"]
    assert [each["role"] for each in named if each["me"]] == ["bidder"]


def test_no_link_leads_into_a_vault_of_ones_own(world: World) -> None:
    link = quickly("--json", "--home", world.home("sam"), "join", world.links["Dora"], "--yes")
    assert_failed(link, 1, "input")


def test_a_file_that_is_there_is_not_replaced(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    read = ("--json", "--home", world.home("ann"), "read", "customers", "--out", out)
    assert_failed(quickly(*read), 1, "table_exists")
    assert out.read_text() == "mine"
    assert quickly(*read, "--overwrite").ok()["records"] == ROWS
    assert out.read_text().startswith("id,country\n0,FR\n")
    unknown = (*read[:-1], tmp_path / "out.docx")
    assert_failed(quickly(*unknown), 1, "table_format")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.csv"]


def assert_failed(ended: Ended, exits: int, code: str | None = None) -> None:
    """Hold a failure to the promise: its exit code, one document, an error line, a hint."""
    assert ended.code == exits, ended
    told = ended.document["error"]
    assert set(told) == {"code", "message", "hint"}
    assert code in (None, told["code"]), ended
    assert ended.err.startswith("error: "), ended
    assert "\nhint: " in ended.err, ended
    assert "Traceback" not in ended.err
