"""The whole transfer, as its users would play it: `make demo`.

A real server process over TLS, real files, and a home of its own for each person: the seller,
an admin, and two bidders. Every step is the `sealroom` command in a process of its own, and
every check is made on what it left behind.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from examples.customers import CLASSES, CSV_PATH, ROWS
from protocol.blocks import cell_lengths

SEALROOM: Final = Path(sys.executable).with_name("sealroom")
TITLE: Final = "Project Lark"
COLLECTION: Final = "customers"
SHOWN_FIELD: Final = "national_id"
SHOWN_RECORD: Final = 6
START_SECONDS: Final = 20
VANISH_SECONDS: Final = 60

console = Console(highlight=False)


class DemoFailed(Exception):
    """A step did not end as it must."""


@dataclass(frozen=True)
class Person:
    """Somebody with a home; `run` is that person typing a command."""

    name: str
    home: Path

    def run(self, *command: str, expect: int = 0) -> dict[str, Any]:
        """Run `sealroom` with --json in this person's home, and return its answer.

        Raises:
            DemoFailed: another exit code than expected.
        """
        console.print(f"  [cyan]{self.name}[/] $ sealroom {_shown(command)}", soft_wrap=True)
        environment = {
            **os.environ,
            "SEALROOM_HOME": str(self.home),
            "SEALROOM_PASSPHRASE": f"a passphrase of {self.name}'s own",
        }
        started = time.monotonic()
        done = subprocess.run(
            [SEALROOM, "--json", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode != expect:
            raise DemoFailed(
                f"exit code {done.returncode} where {expect} was due:\n{done.stdout}{done.stderr}"
            )
        answer: dict[str, Any] = json.loads(done.stdout)
        console.print(f"    [dim]exit {expect}, {time.monotonic() - started:.2f} s[/]")
        return answer


def main() -> int:
    """Play the transfer; return the exit code."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sealroom-demo-") as folder:
        try:
            play(Path(folder))
        except DemoFailed as failed:
            console.print(f"[red]the demo failed:[/] {failed}")
            return 1
    took = time.monotonic() - started
    console.print(Panel(f"Everything went as it must, in {took:.0f} s.", style="green"))
    return 0


def play(folder: Path) -> None:
    """Play every step in a folder of its own."""
    people = [Person(name, folder / name) for name in ("seller", "admin", "lynx", "otter")]
    seller, admin, lynx, otter = people
    with server(folder / "server") as ready:
        create(seller, ready)
        upload(seller)
        reveal(folder / "server", seller)
        appoint(seller, admin)
        for bidder in (lynx, otter):
            admit(admin, bidder)
        staged_reads(admin, lynx)
        revocation(admin, lynx, otter)
        handover(seller, otter)
        takeover(seller, otter, folder / "server")
        afterwards(seller, otter, folder)


# --- the steps


def create(seller: Person, ready: dict[str, Any]) -> None:
    """Create the vault, under the server's pin and with its token."""
    step("The seller creates a vault", "Its keys never leave the seller's machine.")
    made = seller.run(
        "vault", "create", ready["url"], "--title", TITLE, "--name", "Seller",
        "--pin", ready["pin"], "--token", ready["token"],
    )  # fmt: skip
    say(f"vault {made['vault_id'][:16]}…, the hash of its first act")


def upload(seller: Person) -> None:
    """Upload the example table."""
    size = CSV_PATH.stat().st_size
    step(
        f"The seller uploads {ROWS:,} customers",
        f"{CSV_PATH.name}, {size:,} bytes. Each cell is sealed under a key of its own.",
    )
    classes = [f"--class={field}={name}" for field, name in CLASSES.items()]
    done = seller.run("upload", str(CSV_PATH), "--collection", COLLECTION, *classes)
    rate = done["cells"] / max(done["seconds"], 1e-9)
    say(
        f"{done['records']:,} records, {done['cells']:,} cells, {done['sealed_bytes']:,} bytes "
        f"sealed, in {done['seconds']:.2f} s ({rate:,.0f} cells a second)"
    )


def reveal(data: Path, seller: Person) -> None:
    """Show one cell as its owner reads it, and as the server holds it."""
    step(f"What the server holds in place of one cell: {SHOWN_FIELD} of record {SHOWN_RECORD + 1}")
    answer = seller.run(
        "read", COLLECTION, "--fields", SHOWN_FIELD, "--limit", str(SHOWN_RECORD + 1)
    )
    value = answer["rows"][SHOWN_RECORD][SHOWN_FIELD]
    stored = stored_cell(data, list(CLASSES).index(SHOWN_FIELD), SHOWN_RECORD)
    table = Table(show_header=False)
    table.add_row("the seller reads", value)
    table.add_row("the server's database holds", stored.hex(" ", 8))
    console.print(table)
    expect(value.encode() not in raw_database(data), "the value is nowhere in the server's files")


def appoint(seller: Person, admin: Person) -> None:
    """Make an admin."""
    step("The seller invites an admin", "They compare twelve words on the phone.")
    invited = seller.run("invite", "admin", "--name", "Ada")
    joined = admin.run("join", invited["link"])
    say(f"Ada hears and reads: {joined['words']}")
    seller.run("confirm", "Ada", "--words", joined["words"])


def admit(admin: Person, bidder: Person) -> None:
    """Let a bidder in; it reads the general class."""
    name = bidder.name.capitalize()
    step(f"The admin invites the bidder {name}", "Stage one: the class general, nothing else.")
    invited = admin.run("invite", "bidder", "--name", name, "--classes", "general")
    joined = bidder.run("join", invited["link"])
    before = bidder.run("read", COLLECTION, expect=3)
    say(f"before it is confirmed: {before['error']['message']}")
    admin.run("confirm", name, "--words", joined["words"])


def staged_reads(admin: Person, lynx: Person) -> None:
    """Read what the stage allows, be refused the rest, get a grant, read it."""
    step("Lynx reads what its stage allows, and is refused the rest")
    seen = lynx.run("read", COLLECTION, "--fields", "customer_no,name,city,orders", "--limit", "3")
    console.print(table_of(seen["rows"]))
    refused = lynx.run("read", COLLECTION, "--fields", "phone", expect=3)
    say(f"phone: {refused['error']['message']}")
    admin.run("grant", "Lynx", "--fields", "phone")
    granted = lynx.run("read", COLLECTION, "--fields", "customer_no,phone", "--limit", "3")
    console.print(table_of(granted["rows"]))
    refused = lynx.run("invite", "bidder", "--name", "A friend", expect=3)
    say(f"a bidder invites nobody: {refused['error']['message']}")


def revocation(admin: Person, lynx: Person, otter: Person) -> None:
    """Revoke the loser; rotate; the other still reads."""
    step("Lynx lost. The admin revokes it", "Access is cut, and the keys it held are replaced.")
    done = admin.run("revoke", "Lynx", "--reason", "lost-bid")
    for each in done["could_read"]:
        fields = ", ".join(each["fields"])
        say(f"it could have read of {each['collection'] or 'the vault'}: {fields}")
    replaced = sum(len(each["fields"]) for each in done["rotated"]["fields"])
    say(
        f"the server admits {done['admitted_reads']} reads of {done['admitted_blocks']} blocks; "
        f"{replaced} keys replaced for exactly the remaining holders"
    )
    refused = lynx.run("read", COLLECTION, expect=3)
    say(f"Lynx reads again: {refused['error']['message']}")
    still = otter.run("read", COLLECTION, "--limit", "1")
    expect(len(still["rows"]) == 1, "Otter, who stays, still reads")
    rotated = admin.run("rotate", "--collection", COLLECTION, "--fields", SHOWN_FIELD)
    names = [name for each in rotated["fields"] for name in each["fields"]]
    say(f"and the admin rotates {', '.join(names)} for good measure")


def handover(seller: Person, otter: Person) -> None:
    """Offer everything, verify everything, accept."""
    step("The seller offers the handover to Otter", "Keys move, not data: each proved, none shown.")
    words = next(m["words"] for m in seller.run("members")["members"] if m["name"] == "Otter")
    offered = seller.run("handover", "offer", "Otter", "--words", words)
    say(f"{offered['keys']} keys rewrapped with proofs in {offered['seconds'] * 1000:.0f} ms")
    accepted = otter.run("handover", "accept", "--words", words)
    say(
        f"Otter opened and checked {accepted['cells']:,} cells ({accepted['verified_bytes']:,} "
        f"bytes) in {accepted['seconds']:.2f} s before it accepted"
    )


def takeover(seller: Person, otter: Person, data: Path) -> None:
    """Seal everything anew under keys that the seller never had; the seller destroys its own."""
    step("Otter takes over", "All is sealed anew, and what the seller's keys open is deleted.")
    before = stored_cell(data, list(CLASSES).index(SHOWN_FIELD), SHOWN_RECORD)
    expect(remains(data, before), "a cell that the seller's key opens is there")
    done = otter.run("handover", "takeover")
    moved = done["reencrypted"]
    say(
        f"{moved['cells']:,} cells sealed anew in {done['seconds']:.2f} s, "
        f"{moved['retired']} old keys retired"
    )
    expect(vanishes(data, before), "that cell is nowhere in its files any more")
    refused = seller.run("read", COLLECTION, expect=3)
    say(f"the seller reads: {refused['error']['message']}")
    attested = seller.run("attest", "destroyed", "--yes")
    say(f"the seller destroyed its keys, and signed that: leaf {attested['index']}")


def afterwards(seller: Person, otter: Person, folder: Path) -> None:
    """The seller is out, the buyer has every cell, and the ledger says so."""
    step("Afterwards")
    listed = seller.run("identity", "show")["identities"]
    expect(listed == [], "the seller's home has no keys any more")
    out = folder / "bought.csv"
    done = otter.run("read", COLLECTION, "--out", str(out))
    expect(
        out.read_bytes() == CSV_PATH.read_bytes(),
        f"the export of {done['records']:,} records equals the seller's file, byte for byte",
    )
    log = otter.run("log", "--verify")
    expect(log["verified"] == log["size"], f"the ledger verifies: {log['verified']} leaves")
    acts = [entry["kind"] for entry in log["entries"] if entry["kind"] != "observation"]
    say(" → ".join(acts))


# --- the server


@contextmanager
def server(data: Path) -> Iterator[dict[str, Any]]:
    """Run `sealroom serve` on a free port; give what it printed when it was ready."""
    step("A server starts", "TLS 1.3, a self-signed key, an empty database.")
    process = subprocess.Popen(
        [SEALROOM, "--json", "serve", "--listen", "127.0.0.1:0", "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise DemoFailed("the server did not start")
        ready: dict[str, Any] = json.loads(line)
        say(f"{ready['url']}, pin {ready['pin'][:16]}…")
        yield ready
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def stored_cell(data: Path, field: int, record: int) -> bytes:
    """Return a cell of the first batch as it lies in the server's database."""
    with sqlite3.connect(f"file:{database(data)}?mode=ro", uri=True) as db:
        (block,) = db.execute(
            "SELECT contents.content FROM blocks JOIN contents ON contents.id = blocks.content "
            "WHERE field = ? ORDER BY length(contents.content) DESC LIMIT 1",
            (field,),
        ).fetchone()
    lengths = cell_lengths(block, ROWS)
    start = 4 * ROWS + sum(lengths[:record])
    return bytes(block[start : start + lengths[record]])


def database(data: Path) -> Path:
    """Return the server's database file."""
    return next(path for path in data.iterdir() if path.suffix == ".sqlite3")


def raw_database(data: Path) -> bytes:
    """Return every byte of every file that the server keeps."""
    content = bytearray()
    for path in data.rglob("*"):
        # Files of the database come and go.
        with suppress(FileNotFoundError, IsADirectoryError):
            content += path.read_bytes()
    return bytes(content)


def remains(data: Path, content: bytes) -> bool:
    """Say whether anything of it is in the server's files, where a page's end may cut it in two."""
    files = raw_database(data)
    return any(content[at : at + 16] in files for at in range(0, len(content) - 15, 8))


def vanishes(data: Path, content: bytes) -> bool:
    """Wait until something is nowhere in the server's files; say whether it went in time."""
    deadline = time.monotonic() + VANISH_SECONDS
    while remains(data, content):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


# --- showing


def step(title: str, more: str = "") -> None:
    """Begin a step."""
    console.print(f"\n[bold]{title}[/]" + (f"\n  [dim]{more}[/]" if more else ""))


def say(text: str) -> None:
    """Say what came of it."""
    console.print(f"    {text}", markup=False)


def expect(holds: bool, text: str) -> None:
    """Say a fact that was checked.

    Raises:
        DemoFailed: it does not hold.
    """
    if not holds:
        raise DemoFailed(f"this does not hold: {text}")
    console.print(f"    [green]✓[/] {text}")


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """Show rows as a table."""
    table = Table()
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


def _shown(command: Sequence[str]) -> str:
    """Return a command line as a person would type it, without what only a machine reads."""
    words: list[str] = []
    for word in command:
        if word.startswith("--class="):
            if words[-1] != "--class=…":
                words.append("--class=…")
        elif word.startswith("sealroom://"):
            words.append(word.partition("#")[0][:28] + "…#…")  # the secret is for its reader
        else:
            short = Path(word).name if word.startswith("/") else word
            short = short if len(short) <= 40 else short[:20] + "…"
            words.append(f'"{short}"' if " " in short else short)
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
