"""What is told without being said: by lengths, by waiting, by bodies, by hashes (H11, V1, C15, M3).

SECURITY.md gives the figures. Those that follow from the table and the code are compared with it
here; those of a clock are printed, by `python -m tests.waits`, and decide nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import inspect
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.columns import Cells
from client.crypto.cells import ColumnToSeal, seal_batch
from client.crypto.identity import Identity
from protocol import api
from protocol.blocks import FieldClass, cell_lengths
from protocol.encoding import encode
from protocol.labels import Label, digest
from protocol.merkle import leaf_hash
from protocol.requests import verify_head
from tests import lengths, waits
from tests.casts import staged_cast
from tests.company import TABLE, TITLE, company
from tests.remains import on_disk
from tests.servers import LiveVault, live_vault
from vault.service import VaultService
from vault.storage.sqlite import SqliteStorage

SECURITY = Path(__file__).resolve().parent.parent / "SECURITY.md"
KEY = bytes(range(32))

# --- lengths


@pytest.mark.threat("V1")
async def test_what_lengths_tell_of_the_example_table_is_what_security_md_says() -> None:
    printed = lengths.lines(await lengths.measure())
    print("\n".join(printed))
    said = SECURITY.read_text(encoding="utf-8")
    assert [line for line in printed if " ".join(line.split()) not in " ".join(said.split())] == []
    assert "python -m tests.lengths" in said


def test_the_figures_would_be_others_without_padding() -> None:
    names = ["Al", "Bo", "Christopher", "Dagobert"] * 5
    one, other = tuple(map(len, names)), tuple(32 for _ in names)
    assert lengths.bits(one) > 1.4
    assert lengths.bits(other) == 0
    assert lengths.unique([one]) == lengths.unique([other]) == 0
    assert lengths.unique([one, range(20)]) == 1


@pytest.mark.threat("C15")
@pytest.mark.parametrize("field_class", [FieldClass.GENERAL, FieldClass.CORE])
@pytest.mark.parametrize("size", [3, 100, 5_000])
def test_nothing_is_compressed_before_it_is_sealed(field_class: FieldClass, size: int) -> None:
    """Values that a compressor would make short, and those that none can: one length each."""
    drawn = random.Random(15)
    short = [b"%03d" % at + b"a" * (size - 3) for at in range(300)]
    noise = [b"%03d" % at + drawn.randbytes(size - 3) for at in range(300)]
    seen = []
    for values in (short, noise):
        cells = Cells.from_list(values, string_like=True)
        sealed = seal_batch([ColumnToSeal(0, 1, field_class, KEY, cells)])
        seen.append((sealed.manifest.blocks[0].length, *cell_lengths(sealed.blocks[0], 300)))
    assert seen[0] == seen[1]
    assert seen[0][0] > 300 * size


# --- hashes of what can be guessed

HASHES: dict[str, Callable[[bytes], bytes]] = {
    "sha256": lambda value: hashlib.sha256(value).digest(),
    "sha1": lambda value: hashlib.sha1(value, usedforsecurity=False).digest(),
    "md5": lambda value: hashlib.md5(value, usedforsecurity=False).digest(),
    "blake2b": lambda value: hashlib.blake2b(value, digest_size=32).digest(),
    "leaf": leaf_hash,
    "encoded": lambda value: hashlib.sha256(encode(value)).digest(),
    "encoded text": lambda value: hashlib.sha256(encode(value.decode("latin-1"))).digest(),
    **{label.name: lambda value, label=label: digest(label, value) for label in Label},  # type: ignore[misc]
}


@pytest.mark.threat("M3")
async def test_no_hash_of_a_value_or_a_name_is_anywhere(tmp_path: Path) -> None:
    """Whoever has the server's disk can test no guess on it: not even one that is right."""
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        vault_id = olga.session.vault_id
        await olga.read("customers")
        disk = on_disk(cast.lab.directory / "server")
    cells = [cell for column in TABLE.columns for cell in column.to_pylist()]
    guesses = [each.encode() for each in (*cells, *TABLE.column_names, "customers", TITLE, "Olga")]
    found = []
    for guess in guesses:
        for name, hashed in HASHES.items():
            keyed = hmac.new(vault_id, guess, hashlib.sha256).digest()
            for text in (hashed(guess), hashed(vault_id + guess), keyed):
                found += [(name, guess)] if text in disk or text.hex().encode() in disk else []
    assert found == []
    # The control: what is there is found, and a hash of a block is.
    assert vault_id in disk
    blocks = [ref for where in olga.session.state.collections.values() for batch in where.batches
              for ref in batch.manifest.blocks]  # fmt: skip
    assert all(ref.sha256 in disk for ref in blocks)


# --- who is refused, and how long that takes


@pytest.mark.threat("H11")
async def test_a_refusal_costs_one_verification_and_no_look_into_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the vault is there, whether the id is a member's: the server does the same work."""
    work: Counter[str] = Counter()

    def counted(*given: Any) -> Any:
        work["verifications"] += 1
        return verify_head(*given)

    async def never(_: VaultService) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("vault.auth.verify_head", counted)
    monkeypatch.setattr(VaultService, "sweep", never)  # which would come in between
    for name, method in inspect.getmembers(SqliteStorage, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            monkeypatch.setattr(SqliteStorage, name, looked(method, name, work))
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        nobody, absent = Identity.generate(), LiveVault(server=live.server, asker=live.asker)
        forger = (Identity.generate().request_key, cast["bidder"].member_id)
        seen = []
        for vault, signer in ((absent, nobody), (live, nobody), (live, forger)):
            for path in (
                api.LOG + "?from=0",
                api.CONSISTENCY + "?from=1&to=2",
                api.OBSERVATIONS + "?from=0",
            ):
                work.clear()
                answer = await live.ask(signer, "GET", vault.at(path))
                seen.append((path, answer.status, dict(work)))
        kinds = [seen[:3], seen[3:6], seen[6:]]
        assert kinds[0] == kinds[1] == kinds[2]
        assert {(status, tuple(did.items())) for _, status, did in seen[:2]} == {
            (404, (("verifications", 1),))
        }
        # The control: whoever is let in makes the server look.
        work.clear()
        assert (await live.get(live.owner, live.at(api.LOG) + "?from=0")).status == 200
        assert work["read_leaves"] > 0


def looked(method: Any, name: str, work: Counter[str]) -> Any:
    async def counted(*given: Any, **named: Any) -> Any:
        work[name] += 1
        return await method(*given, **named)

    return counted


@pytest.mark.threat("H11")
async def test_how_long_a_refusal_takes_is_measured_and_printed() -> None:
    """A coin toss decides nothing here; that the figures would show a difference, does."""
    found = await waits.measure(20)
    print("\n".join(waits.lines(found)))
    assert {len(each) for each in found.values()} == {20}
    drawn = random.Random(11)
    one, other = ([drawn.gauss(mean, 1) for _ in range(500)] for mean in (10.0, 10.5))
    assert abs(waits.welch(one, one[::-1])) < 1e-9
    assert waits.welch(other, one) > 4.5
