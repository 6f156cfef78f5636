"""M1, M2, H13: whatever the server stored and logged holds no cell, no name, no word, no key.

One whole run over the real server, with text that cannot occur by chance in every place where
people write something; then every byte on its disk and in its log is searched for all of it.
"""

from __future__ import annotations

import base64
import random
import shutil
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio

from client.crypto.block_keys import cell_key, derive_batch_key
from client.crypto.identity import Identity
from client.crypto.invites import invite_access_key, invite_identity
from client.crypto.sharing import open_share
from client.crypto.wraps import unwrap
from client.errors import Unreachable
from client.home import Home
from client.links import parse_link
from client.patience import Patient
from client.people import write_person
from client.transport import HttpTransport, Signer
from client.vault import Vault
from examples import customers
from protocol.acts import Reason, Role
from protocol.blocks import FieldClass
from tests.deals import cheap_keyrings, classes_in_turn, in_batches_of, through
from tests.servers import subprocess_server
from vault.storage.sqlite_file import FILE_NAME

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEAST: Final = 8
"""Bytes of the shortest text that is looked for: shorter ones occur by chance."""


# --- looking for bytes in bytes, however they are written


def written(needle: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield every form in which bytes are looked for, with its name."""
    yield "raw", needle
    yield "hex", needle.hex().encode()
    yield "upper hex", needle.hex().upper().encode()
    for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
        for shift in range(3):
            # The digits that the needle alone decides, wherever in a stream it begins.
            digits = encode(bytes(shift) + needle)
            yield f"{name} at {shift}", digits[-(-8 * shift // 6) : 8 * (shift + len(needle)) // 6]
    try:
        text = needle.decode()
    except UnicodeDecodeError:
        return
    yield "utf-16", text.encode("utf-16-le")
    escaped = text.encode("unicode_escape")
    if escaped != needle:
        yield "escaped", escaped


class Haystack:
    """Bytes of many files, by all of whose windows of eight bytes they are searched."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        windows = [self._windows(content) for content in files.values()]
        self._index = np.unique(np.concatenate([np.zeros(0, np.uint64), *windows]))

    @staticmethod
    def _windows(content: bytes) -> npt.NDArray[np.uint64]:
        whole = np.frombuffer(content, np.uint8)
        if len(whole) < LEAST:
            return np.zeros(0, np.uint64)
        return np.lib.stride_tricks.sliding_window_view(whole, LEAST).copy().view("<u8").ravel()

    def hits(self, needles: Mapping[str, Iterable[bytes]]) -> list[str]:
        """Say what was found where, and how it was written; never the needle itself."""
        listed = [
            (what, how, form)
            for what, each in needles.items()
            for needle in each
            if len(needle) >= LEAST
            for how, form in written(needle)
            if len(form) >= LEAST
        ]
        heads = np.frombuffer(b"".join(form[:LEAST] for *_, form in listed), "<u8")
        likely = np.isin(heads, self._index)
        return [
            f"{what} in {name}, {how}"
            for (what, how, form), maybe in zip(listed, likely, strict=True)
            if maybe
            for name, content in self.files.items()
            if form in content
        ]


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- the run


def canary(what: str) -> str:
    """Return 16 letters that stand nowhere else; the same for the same place."""
    return "".join(random.Random(what).choices(string.ascii_letters, k=16))


@dataclass
class Run:
    """What went in, and what the server and the clients kept of it."""

    words: dict[str, list[bytes]] = field(default_factory=dict)
    keys: dict[str, list[bytes]] = field(default_factory=dict)
    token: str = ""
    while_running: dict[str, bytes] = field(default_factory=dict)
    stopped: dict[str, bytes] = field(default_factory=dict)
    log: bytes = b""
    homes: dict[str, bytes] = field(default_factory=dict)
    public: dict[str, list[bytes]] = field(default_factory=dict)

    def name(self, what: str) -> str:
        """Return a name that holds a canary."""
        self.words.setdefault("names", []).append(canary(what).encode())
        return f"{what} {canary(what)}"


def table(folder: Path, run: Run) -> Path:
    """Write a table of invented people, with canaries in every column, its header and its name."""
    header, *rows = [line.split(",") for line in _plain_lines()]
    header = [run.name(f"column {name}") for name in header]
    for number in range(5):
        rows.insert(number * 40, [canary(f"cell {number} {name}") for name in header])
    path = folder / f"{run.name('file').replace(' ', '-')}.csv"
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    cells = {cell.encode() for row in rows for cell in row}
    run.words["cells"] = sorted(cell for cell in cells if len(cell) >= LEAST)
    run.words["canaries in cells"] = [canary(f"cell 0 {name}").encode() for name in header]
    return path


def _plain_lines() -> list[str]:
    text = customers.csv_bytes(customers.customers(400)).decode()
    return [line for line in text.splitlines() if '"' not in line][:200]


def keys_of(run: Run, member: Vault) -> None:
    """Collect every secret that a member's home can reach."""
    session = member.session
    add_identity(run, member.identity)
    for address in session.state.live_addresses():
        wrap = session.believed.wraps.get((address, member.identity.member_id))
        if wrap is None:
            continue
        opened = session.key(address)
        group_key = bytes(unwrap(member.identity, wrap))
        for what, key in [
            ("share", opened.share.expose()), ("field key", opened.key.expose()), ("K", group_key)
        ]:  # fmt: skip
            run.keys.setdefault(what, []).append(key)
        where = session.state.collections[address.collection]
        for batch, ref in where.blocks(address.field)[:3]:
            if ref.epoch == address.epoch:
                of_batch = derive_batch_key(opened.key.expose(), batch.id, ref.salt)
                first = cell_key(opened.key.expose(), batch.id, ref.salt, 0)
                run.keys.setdefault("batch key", []).append(of_batch)
                run.keys.setdefault("cell key", []).append(first.expose())
    recovery, vault_id = session.state.recovery, session.vault_id
    if recovery is not None and member.identity.member_id in recovery.dealing.custodians:
        both = open_share(member.identity, vault_id, recovery.owner, recovery.dealing).expose()
        run.keys.setdefault("custodian's share", []).extend((both[:32], both[32:]))


def add_identity(run: Run, identity: Identity) -> None:
    mlkem, x25519 = identity._kem_parts
    for what, key in [
        ("seed", identity.seed.expose()),
        ("signing key", bytes(identity.request_key)),
        ("rewrap scalar", identity.rewrap_scalar.expose()),
        ("ML-KEM seed", mlkem.private_bytes_raw()),
        ("X25519 key", x25519.private_bytes_raw()),
    ]:
        run.keys.setdefault(what, []).append(key)
    run.public.setdefault("member id", []).append(identity.member_id)


def add_invite(run: Run, inviter: Vault, link: str) -> None:
    secret = parse_link(link).secret
    run.keys.setdefault("invite secret", []).append(secret.expose())
    run.keys.setdefault("link", []).append(link.encode())
    run.keys.setdefault("access key", []).append(bytes(invite_access_key(secret)))
    session = inviter.session
    (made,) = (
        each
        for each in session.state.invites.values()
        if each.access_key == bytes(invite_access_key(secret).verify_key)
    )
    act = session.believed.acts[made.made_at]
    assert act is not None
    assert act.cited is not None
    cited = act.cited
    derived = invite_identity(
        secret, session.vault_id, made.inviter, made.role, made.expiry, cited.size, cited.root
    )
    assert derived.member_id == made.id
    add_identity(run, derived)


class Interrupted(HttpTransport):
    """Breaks off before the third batch."""

    sent = 0

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        if self.sent == 4:
            raise Unreachable("the cable was cut")
        self.sent += 1
        await super().stage(vault_id, upload, batch, body)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Do everything once, over TLS, against the real command in a process of its own."""
    folder, made = tmp_path_factory.mktemp("canaries"), Run()
    (folder / "tables").mkdir()
    data = folder / "server"
    file = table(folder / "tables", made)
    passphrase = canary("passphrase") + " with words"
    made.keys["passphrase"] = [passphrase.encode()]
    with cheap_keyrings():
        async with subprocess_server(data) as server:
            made.token = server.announced["token"]

            def home(name: str) -> Home:
                return Home(folder / "homes" / name, lambda: passphrase)

            sellers = home("seller")
            seller = await sellers.create_vault(
                server.url,
                title=made.name("title"),
                name=made.name("seller"),
                pin=server.pin,
                token=made.token,
            )
            options, columns = in_batches_of(64), _header(file)
            classes = classes_in_turn(columns)
            first = made.name("collection")
            await seller.upload(file, collection=first, classes=classes, options=options)
            add_identity(made, seller.identity)
            await sellers.rotate_identity(seller)
            members = [seller]
            for role, what in [
                (Role.ADMIN, "admin"), (Role.AUDITOR, "auditor"),
                (Role.BIDDER, "loser"), (Role.BIDDER, "buyer"),
            ]:  # fmt: skip
                name = made.name(what)
                granted = None if role is not Role.BIDDER else [FieldClass.GENERAL]
                invited = await seller.invite(role, name=name, classes=granted)
                member, joined = await home(what).join(invited.link)
                await seller.confirm(name, words=joined.words)
                add_invite(made, seller, invited.link)
                members.append(member)
            open_invite = await seller.invite(Role.BIDDER, name=made.name("nobody"))
            add_invite(made, seller, open_invite.link)
            admin, auditor, loser, buyer = members[1:]
            whom = [each.identity.member_id.hex() for each in (admin, auditor)]
            await seller.set_up_recovery(whom)
            for custodian in (admin, auditor):
                await custodian.session.sync()
                keys_of(made, custodian)
            await buyer.read(first, limit=70)
            await seller.grant(f"loser {canary('loser')}", fields=[columns[4]])
            await loser.read(first)
            note = made.name("reason")
            await write_person(seller.session, loser.identity.member_id, "loser", note=note)
            await admin.revoke(loser.identity.member_id.hex(), Reason.LOST_BID)
            second = made.name("second collection")
            cut = Interrupted(server.url, pin=server.pin, signer=_signer(seller))
            with through(seller, cut), pytest.raises(Unreachable):
                await seller.upload(file, collection=second, classes=classes, options=options)
            await cut.close()
            keys_of(made, seller)
            await seller.upload(file, collection=second, classes=classes, options=options)
            # One that is never finished stays with the server as it was sent.
            cut = Interrupted(server.url, pin=server.pin, signer=_signer(seller))
            with through(seller, cut), pytest.raises(Unreachable):
                await seller.upload(file, collection=made.name("left"), options=options)
            await cut.close()
            await seller.rotate(collection=first, reencrypt=True)
            await seller.offer(buyer.identity.member_id.hex())
            await buyer.accept(words=await buyer.words(seller.identity.member_id.hex()))
            for name in (first, second):
                out = folder / "out.csv"
                await buyer.export(name, path=out, overwrite=True)
                assert out.read_bytes() == file.read_bytes()
            keys_of(made, buyer)
            await buyer.takeover()
            keys_of(made, buyer)
            for member in members:
                add_identity(made, member.identity)
                await member.close()
            shutil.copytree(data, folder / "while running")
            made.while_running = files_below(folder / "while running")
            code, log = await server.stop()
            assert code == 0
            made.log = log.encode()
        made.stopped = files_below(data)
        made.homes = files_below(folder / "homes")
    return made


def _header(file: Path) -> list[str]:
    return file.read_text().splitlines()[0].split(",")


def _signer(member: Vault) -> Signer | None:
    like = member.session.transport
    assert isinstance(like, Patient)
    assert isinstance(like.inner, HttpTransport)
    return like.inner._signer


# --- the search


def of_server(run: Run) -> dict[str, bytes]:
    return {
        **{f"{name} while running": content for name, content in run.while_running.items()},
        **run.stopped,
        "log": run.log,
    }


@pytest.mark.threat("M1")
@pytest.mark.threat("M2")
@pytest.mark.threat("H13")
async def test_the_server_holds_no_cell_no_name_and_no_key(run: Run) -> None:
    haystack = Haystack(of_server(run))
    assert sum(map(len, haystack.files.values())) > 1_000_000
    assert any(name.endswith("-wal while running") for name in haystack.files)
    assert haystack.hits(run.words) == []
    assert haystack.hits(run.keys) == []


@pytest.mark.threat("H13")
async def test_the_log_holds_no_token_and_no_whole_id(run: Run) -> None:
    assert b'"event": "request"' in run.log
    assert b"act_appended" in run.log
    haystack = Haystack({"log": run.log})
    assert haystack.hits({"token": [run.token.encode()], "ids": run.public["member id"]}) == []


@pytest.mark.threat("M1")
async def test_a_home_keeps_its_keys_in_the_keyring_and_its_cells_nowhere(run: Run) -> None:
    haystack = Haystack(run.homes)
    assert any(name.endswith(".db") for name in haystack.files)
    assert haystack.hits(run.words) == []
    assert haystack.hits(run.keys) == []


# --- the controls: what would be found


async def test_everything_that_is_looked_for_was_there_to_be_found(run: Run) -> None:
    assert len(run.words["names"]) == 15 + 12
    assert len(run.words["cells"]) > 1_000
    assert run.keys.keys() == {
        "passphrase", "seed", "signing key", "rewrap scalar", "ML-KEM seed", "X25519 key",
        "invite secret", "link", "access key", "share", "field key", "K", "batch key", "cell key",
        "custodian's share",
    }  # fmt: skip
    assert all(len(key) >= 16 for keys in run.keys.values() for key in keys)
    assert len(set(run.keys["field key"])) > 50
    assert len(run.token) > 20


async def test_what_the_server_may_know_is_found_where_it_is(run: Run) -> None:
    found = Haystack(of_server(run)).hits(run.public)
    assert {hit.partition(" in ")[0] for hit in found} == {"member id"}
    assert any(FILE_NAME in hit for hit in found)
    assert not any(" in log" in hit for hit in found)


@pytest.mark.parametrize("where", ["db", "wal", "log"])
async def test_anything_planted_anywhere_is_found(run: Run, where: str) -> None:
    files = of_server(run)
    name = next(
        name for name in files
        if {"db": name.endswith(FILE_NAME), "wal": "-wal" in name, "log": name == "log"}[where]
    )  # fmt: skip
    content = files[name][: 1 << 16]
    needles = {
        "cell": run.words["cells"][0],
        "short cell": next(cell for cell in run.words["cells"] if len(cell) == LEAST),
        "character": "客户客户".encode(),
        "key": run.keys["field key"][0],
    }
    for what, needle in needles.items():
        forms = dict(written(needle))
        assert len(forms) >= 9
        for how, form in forms.items():
            at = len(content) // 2 + 3
            planted = {name: content[:at] + form + content[at:]}
            assert f"{what} in {name}, {how}" in Haystack(planted).hits({what: [needle]})


def _shifted(encode: Callable[[bytes], bytes], needle: bytes) -> Iterator[bytes]:
    for before in range(7):
        yield encode(b"x" * before + needle + b"and more")


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
async def test_base64_is_found_wherever_in_a_stream_it_begins(
    encode: Callable[[bytes], bytes],
) -> None:
    needle = bytes(range(200, 232))
    for stream in _shifted(encode, needle):
        assert Haystack({"file": stream}).hits({"key": [needle]})
        assert not Haystack({"file": stream}).hits({"key": [needle[::-1]]})
