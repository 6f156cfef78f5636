"""What a transfer may cost, in counts that do not depend on the machine's mood.

Requests, bytes on the wire, proofs, boxes and signatures: how many there are at most, and what
they grow with. A handover and a removal grow with fields and people, and never with records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import nacl.bindings
import pyarrow as pa
import pytest

import client.crypto.wraps as making
from client.crypto.identity import Identity
from client.transport import Transport
from client.vault import UploadOptions, Vault
from protocol import sigma
from protocol.api import SubmitAct
from protocol.blocks import FieldClass
from protocol.wire import to_bytes
from tests.deals import a_vault, joined
from tests.in_process import Lab, ServiceTransport

FIELDS = 10
NAMES = [f"field{number}" for number in range(FIELDS)]
CLASSES = dict.fromkeys(NAMES, FieldClass.GENERAL)
KEYS = FIELDS + 2
"""What a handover of one collection of one class passes on: fields, their names, people's names."""

KEY_WORK = ("proofs", "proofs checked", "boxes", "acts signed")

BATCH = 100
PADDED, OVERHEAD = 32, 16 + 4
"""Values of 17 to 31 bytes have 32 with their padding, a tag of 16, and 4 for their length."""


@dataclass
class Costs:
    """What was asked of the server, and what was computed on both sides, since the last `taken`."""

    requests: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    computed: Counter[str] = field(default_factory=Counter)

    @property
    def key_work(self) -> dict[str, int]:
        """What was computed for keys and acts."""
        return {what: self.computed[what] for what in KEY_WORK}

    def taken(self) -> Costs:
        """Return what was counted, and count from zero."""
        counted = Costs(self.requests.copy(), self.sent.copy(), self.computed.copy())
        for each in (self.requests, self.sent, self.computed):
            each.clear()
        return counted


class Counting:
    """A transport that counts what goes through it, whatever methods it has."""

    def __init__(self, honest: ServiceTransport, costs: Costs) -> None:
        self._honest, self._costs = honest, costs

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._honest, name)

        def counted(*arguments: Any) -> Any:
            self._costs.requests[name] += 1
            self._costs.sent[name] += sum(map(_size, arguments))
            return method(*arguments)

        return counted


def _size(argument: object) -> int:
    if isinstance(argument, SubmitAct):
        return len(to_bytes(argument))
    if isinstance(argument, list):
        return sum(map(_size, argument))
    return len(argument) if isinstance(argument, bytes | bytearray) else 0


@contextmanager
def computing(costs: Costs) -> Iterator[None]:
    """Count proofs, boxes and signatures, of all that run in this process.

    How many heads the server signs, and so how many are checked, also depends on the second.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name, what in (
            (making, "prove", "proofs"),
            (making, "seal_box", "boxes"),
            (sigma, "verify", "proofs checked"),
            (Identity, "sign", "acts signed"),
            (nacl.bindings, "crypto_sign_open", "signatures checked"),
        ):
            patch.setattr(module, name, _counted(getattr(module, name), costs.computed, what))
        yield


def _counted(function: Any, counts: Counter[str], what: str) -> Any:
    def counted(*arguments: Any, **named: Any) -> Any:
        counts[what] += 1
        return function(*arguments, **named)

    return counted


def table(records: int) -> pa.Table:
    return pa.table({name: [f"value number {at:08}" for at in range(records)] for name in NAMES})


@asynccontextmanager
async def uploaded(
    directory: Path, records: int, batch: int = BATCH
) -> AsyncIterator[tuple[Lab, Vault, Costs, Costs]]:
    """Give a vault with one collection, what counts from now on, and what the upload cost."""
    costs = Costs()
    directory.mkdir()
    async with a_vault(directory) as (lab, seller):
        lab.wrap = lambda honest: cast(Transport, Counting(honest, costs))
        seller.session.transport = lab.wrap(cast(ServiceTransport, seller.session.transport))
        with computing(costs):
            options = UploadOptions(batch_rows=batch)
            await seller.upload(
                table(records), collection="customers", classes=CLASSES, options=options
            )
            yield lab, seller, costs, costs.taken()


async def both_sizes(directory: Path, work: Any) -> tuple[Costs, Costs]:
    """Return what some work costs with 2 batches and with 20."""
    found = []
    for batches in (2, 20):
        async with uploaded(directory / str(batches), batches * BATCH) as (lab, seller, costs, _):
            found.append(await work(lab, seller, costs))
    few, many = found
    return few, many


# --- uploading


async def test_an_upload_sends_one_request_a_batch_and_few_others(tmp_path: Path) -> None:
    async with uploaded(tmp_path / "few", 2 * BATCH) as (_, _, _, few):
        pass
    async with uploaded(tmp_path / "many", 20 * BATCH) as (_, _, _, many):
        pass
    assert many.requests - few.requests == {"stage": 18}
    assert sum(few.requests.values()) <= 20
    # A batch's manifest is signed with all others in one act.
    assert few.computed["acts signed"] == many.computed["acts signed"]
    assert few.computed["proofs"] == many.computed["proofs"] == 0


async def test_an_upload_sends_each_sealed_byte_once_and_little_else(tmp_path: Path) -> None:
    records = 4_096
    async with uploaded(tmp_path / "vault", records, records) as (_, _, _, costs):
        cells = records * FIELDS
        # What is not of this batch's cells are manifests, names, and the acts that say so.
        assert 0 < costs.sent["stage"] - cells * (PADDED + OVERHEAD) < 8_000
        assert costs.sent["submit"] < 16_000
        assert costs.sent.total() / cells < PADDED + OVERHEAD + 0.5


# --- handing over


async def test_an_offer_makes_one_proof_a_key_and_grows_with_no_record(tmp_path: Path) -> None:
    async def offering(lab: Lab, seller: Vault, costs: Costs) -> Costs:
        async with joined(lab, seller, "Bo") as buyer:
            words = await seller.words("Bo")
            costs.taken()
            await seller.offer("Bo")
            made = costs.taken()
            await buyer.accept(words=words)
            return made

    few, many = await both_sizes(tmp_path, offering)
    assert few.key_work == many.key_work
    assert few.requests == many.requests
    assert few.computed["proofs"] == KEYS
    assert few.computed["boxes"] == 1
    # By the server, and by the seller as it replays the log.
    assert few.computed["proofs checked"] == 2 * KEYS
    assert few.computed["acts signed"] == 1
    assert few.computed["signatures checked"] <= 12
    assert sum(few.requests.values()) <= 6
    # An offer lists each collection's root, and no batch.
    assert abs(few.sent["submit"] - many.sent["submit"]) < 32


async def test_an_acceptance_fetches_all_in_requests_of_many_blocks(tmp_path: Path) -> None:
    async def accepting(lab: Lab, seller: Vault, costs: Costs) -> Costs:
        async with joined(lab, seller, "Bo") as buyer:
            words = await seller.words("Bo")
            await seller.offer("Bo")
            costs.taken()
            await buyer.accept(words=words)
            return costs.taken()

    few, many = await both_sizes(tmp_path, accepting)
    assert few.requests == many.requests
    assert few.requests["fetch"] <= 4
    assert sum(few.requests.values()) <= 14
    assert few.computed["proofs checked"] == many.computed["proofs checked"] <= KEYS
    assert few.computed["proofs"] == few.computed["boxes"] == 0


# --- removing, and sealing anew


async def test_a_removal_replaces_keys_and_grows_with_no_record(tmp_path: Path) -> None:
    async def revoking(lab: Lab, seller: Vault, costs: Costs) -> Costs:
        async with joined(lab, seller, "Lynx", classes=[FieldClass.GENERAL]):
            costs.taken()
            done = await seller.revoke("Lynx")
            assert done.rotated.wraps == FIELDS + 1
            return costs.taken()

    few, many = await both_sizes(tmp_path, revoking)
    assert few.key_work == many.key_work
    assert few.requests == many.requests
    # Who makes a key proves nothing to itself, and nobody else is left to whom it goes. Checked
    # are the proofs of the log: it is replayed to judge what the server says of reads.
    assert few.computed["proofs"] == 0
    assert few.computed["boxes"] == 1
    assert few.requests["submit"] == 2
    assert sum(few.requests.values()) <= 16


async def test_sealing_one_field_anew_moves_that_field_alone(tmp_path: Path) -> None:
    batches = 20
    async with uploaded(tmp_path / "vault", batches * BATCH) as (_, seller, costs, upload):
        await seller.rotate(collection="customers", fields=[NAMES[3]], reencrypt=True)
        done = costs.taken()
    # What is small goes together.
    assert (done.requests["stage"], done.requests["stage_several"]) == (0, 1)
    assert done.requests["fetch"] <= 2
    # Of the bytes a tenth, and of manifests, which list the blocks, no more.
    assert done.sent["stage_several"] < 1.05 * upload.sent["stage"] / FIELDS
    assert sum(done.requests.values()) <= 20
