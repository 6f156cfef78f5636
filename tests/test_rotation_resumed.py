"""A rotation in full that goes on later, when others were removed or have rotated since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from client import reencryption, resealing
from client.errors import Refused, Unreachable
from client.journals import RotationJournal
from client.overlap import Flights
from client.vault import Vault
from protocol.acts import Reason, Role, parse_envelope
from protocol.api import SubmitAct, Submitted
from protocol.blocks import catalog_field, split_batch_body
from tests.customers import GENERAL, TABLE, with_customers
from tests.deals import joined
from tests.in_process import Lab
from tests.remains import remains

NAMES = catalog_field(GENERAL)


made = pytest.fixture(with_customers)


def lying(vault: Vault, number: int) -> set[int]:
    """Return under which epochs the cells of a field lie."""
    (where,) = (each for each in vault.session.state.collections.values() if each.classes)
    return {ref.epoch for batch, ref in where.blocks(number) if batch.records}


def known_to(vault: Vault, others: Vault, number: int) -> set[int]:
    """Return the epochs of a field whose keys somebody else could open at some time."""
    (where,) = (each for each in vault.session.state.collections.values() if each.classes)
    wraps = others.session.believed.wraps
    me = others.identity.member_id
    return {
        address.epoch
        for address, party in wraps
        if (address.collection, address.field, party) == (where.id, number, me)
    }


@contextmanager
def cut(owner: type, step: str) -> Iterator[None]:
    """Have the client die where it comes to a step."""

    def dies(*_: Any, **__: Any) -> Any:
        raise Unreachable("the cable was cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, step, dies)
        with pytest.raises(Unreachable):
            yield


@pytest.mark.parametrize(
    ("where", "step"),
    [(reencryption._Job, "_retire"), (RotationJournal, "end"), (reencryption._Job, "_move")],
    ids=["before it retires", "before it ends", "before it moves"],
)
async def test_who_is_removed_after_an_interruption_opens_nothing_that_stays(
    made: tuple[Lab, Vault], where: type, step: str
) -> None:
    """The interrupted rotation had moved everything to a key that the next one removed has."""
    lab, owner = made
    async with (
        joined(lab, owner, "Bo", classes=[GENERAL]),
        joined(lab, owner, "Cy", classes=[GENERAL]) as cy,
    ):
        with cut(where, step):
            await owner.revoke("Bo", Reason.LOST_BID, reencrypt=True)
        await cy.session.sync()
        for number in (0, NAMES):
            assert known_to(owner, cy, number)
        await owner.revoke("Cy", Reason.LOST_BID, reencrypt=True)
        for number in (0, NAMES):
            assert not lying(owner, number) & known_to(owner, cy, number)
            known = owner.session.state.epochs
            (at,) = (each for each in known if each[1] == number)
            assert [each.retired for each in known[at]] == [*(True for _ in known[at][1:]), False]
    assert (await owner.read("customers")).equals(TABLE)


async def test_a_rotation_that_others_finished_begins_anew(made: tuple[Lab, Vault]) -> None:
    """Its journal is of keys that are long gone, and no reason to do nothing."""
    _, owner = made

    async def rotate() -> int:
        done = await owner.rotate(collection="customers", fields=["name"], reencrypt=True)
        assert done.reencrypted is not None
        return done.reencrypted.blocks

    with cut(reencryption._Job, "_move"):
        await rotate()
    await owner.rotate(reencrypt=True)
    before = lying(owner, 0)
    assert await rotate() == 3
    assert not lying(owner, 0) & before
    assert owner.session.store.rotations.unfinished() == ()
    assert (await owner.read("customers")).equals(TABLE)


async def test_names_move_on_from_a_key_that_somebody_took_along(made: tuple[Lab, Vault]) -> None:
    """The end of a grant taints no names; a rotation that goes on must not stop at their key."""
    lab, owner = made
    async with joined(lab, owner, "Bo", classes=[GENERAL]) as bo:
        with cut(reencryption._Job, "_retire"):
            await owner.rotate(collection="customers", reencrypt=True)
        await bo.session.sync()
        known = known_to(owner, bo, NAMES)
        assert lying(owner, NAMES) <= known
        await owner.withdraw_grant("Bo", classes=[GENERAL])
        await owner.rotate(collection="customers", reencrypt=True)
        assert not lying(owner, NAMES) & known
    assert (await owner.read("customers")).equals(TABLE)


async def test_a_collection_that_is_retired_as_its_blocks_land_stops_it(
    made: tuple[Lab, Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, owner = made
    async with joined(lab, owner, "Ada", Role.ADMIN) as ada:
        submit: Callable[[bytes, SubmitAct], Any] = ada.session.transport.submit

        async def retired_meanwhile(vault_id: bytes, sent: SubmitAct) -> Submitted:
            answer: Submitted = await submit(vault_id, sent)
            if parse_envelope(sent.envelope)[1].kind == "re-encrypt":
                await owner.retire_collection("customers")
            return answer

        monkeypatch.setattr(ada.session.transport, "submit", retired_meanwhile)
        with pytest.raises(Refused, match="was retired") as caught:
            await ada.rotate(collection="customers", reencrypt=True)
        assert caught.value.refusal == "out_of_order"


def fields_of(body: bytes) -> set[int]:
    manifest, _, _ = split_batch_body(body)
    return {ref.field for ref in manifest.blocks}


@pytest.mark.threat("M2")
async def test_what_a_rotation_left_staged_goes_with_the_keys_it_is_under(
    made: tuple[Lab, Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bo holds the key that Ada's rotation made, and whoever reads the disk has what it staged."""
    lab, owner = made
    async with (
        joined(lab, owner, "Ada", Role.ADMIN) as ada,
        joined(lab, owner, "Bo", classes=[GENERAL]),
    ):
        sent: list[bytes] = []
        stage = ada.session.transport.stage

        async def kept(vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
            sent.append(body)
            await stage(vault_id, upload, batch, body)

        with monkeypatch.context() as patch, cut(reencryption._Job, "_move"):
            patch.setattr(ada.session.transport, "stage", kept)
            patch.setattr(resealing, "BUNDLE_BYTES", 1)
            await ada.rotate(collection="customers", reencrypt=True)
        files = lab.directory / "server"
        assert remains(files, sent) == sent
        await owner.revoke("Bo", Reason.LOST_BID, reencrypt=True)
        await lab.service.sweep()
        # What Bo has no key of may land yet: names of the other classes.
        assert remains(files, sent) == [body for body in sent if not fields_of(body) & {0, NAMES}]
        assert {0, NAMES} <= {number for body in sent for number in fields_of(body)}
        # The rotation goes on all the same, under keys that are open.
        await ada.rotate(collection="customers", reencrypt=True)
        assert (await ada.read("customers")).equals(TABLE)


async def test_a_rotation_whose_keys_are_closed_before_anything_is_staged_takes_new_ones(
    made: tuple[Lab, Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, owner = made
    async with (
        joined(lab, owner, "Ada", Role.ADMIN) as ada,
        joined(lab, owner, "Bo", classes=[GENERAL]) as bo,
    ):
        stage = ada.session.transport.stage
        refused: list[str] = []

        async def removed_first(vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
            if not refused:
                await owner.revoke("Bo", Reason.LOST_BID)
            try:
                await stage(vault_id, upload, batch, body)
            except Refused as error:
                refused.append(error.refusal)
                raise

        monkeypatch.setattr(ada.session.transport, "stage", removed_first)
        monkeypatch.setattr(resealing, "BUNDLE_BYTES", 1)
        monkeypatch.setattr(resealing, "Flights", lambda: Flights(1))
        await ada.rotate(collection="customers", fields=["name"], reencrypt=True)
        assert refused
        assert set(refused) == {"out_of_order"}
        assert not lying(ada, 0) & known_to(ada, bo, 0)
        assert (await ada.read("customers")).equals(TABLE)
