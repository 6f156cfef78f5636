"""How a vault looks to an auditor, who reads the log and nothing else, and to a keyless admin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.cli.vault import closed_text, title_text
from client.errors import InputError, Refused
from client.vault import Vault
from protocol.acts import Reason, Role
from protocol.blocks import FieldClass
from tests.cli_world import COLLECTION, JOINED, SIGNED, STATUS, World, made_world
from tests.company import TABLE, TITLE, Company, company
from tests.deals import a_vault, joined

Doing = Callable[[Vault], Awaitable[object]]


@pytest.fixture
async def cast(tmp_path: Path) -> AsyncIterator[Company]:
    async with company(tmp_path) as made:
        yield made


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return made_world(tmp_path, monkeypatch)


READING: list[Doing] = [
    lambda vault: vault.read("customers"),
    lambda vault: vault.export("customers", path="customers.csv"),
    lambda vault: vault.get_document("lease.txt"),
]


@pytest.mark.parametrize("reading", READING)
@pytest.mark.parametrize(
    ("who", "why", "instead"),
    [
        ("aud", "an auditor reads no data, and no names of it", "'sealroom log --verify' says who"),
        ("kim", "a keyless-admin reads no data", "by admins and bidders who were granted it"),
    ],
)
async def test_whose_role_holds_no_data_is_told_so_and_what_it_can_do(
    cast: Company, reading: Doing, who: str, why: str, instead: str
) -> None:
    with pytest.raises(Refused, match=why) as refused:
        await reading(await cast(who))
    assert refused.value.refusal == "not_authorised"
    assert instead in (refused.value.hint or "")


async def test_nobody_else_is_refused_by_its_role(cast: Company) -> None:
    assert (await (await cast("bo")).read("customers")).num_rows == TABLE.num_rows


async def test_an_auditor_who_names_a_collection_is_told_that_it_knows_none_by_name(
    cast: Company,
) -> None:
    aud = await cast("aud")
    with pytest.raises(InputError, match="'customers' among those whose names you may") as caught:
        await aud.collection("customers")
    assert "The names of 1 are closed to you, as to every auditor." in (caught.value.hint or "")
    (found,) = await aud.collections()
    assert (found.name, found.closed) == (None, True)
    assert (await aud.collection(found.collection_id)).records == TABLE.num_rows


async def test_what_is_closed_to_somebody_is_counted_and_what_has_no_name_yet_is_not(
    cast: Company,
) -> None:
    olga, bo, aud = await cast("olga"), await cast("bo"), await cast("aud")
    await olga.upload(TABLE.select(["iban"]), collection="core", default=FieldClass.CORE)
    await olga.session.act(lambda _: _defining())
    assert [(await each.status()).nameless for each in (olga, bo, aud)] == [0, 1, 2]
    assert [each.closed for each in await aud.collections()] == [True, True, False]


def _defining() -> Any:
    from client.session import Draft
    from protocol import acts

    return Draft(acts.DefineCollection(b"\x01" * 16, (FieldClass.CORE,)))


async def test_a_title_is_sealed_from_whom_no_name_opens_to(cast: Company, tmp_path: Path) -> None:
    for who, title, sealed in [
        ("olga", TITLE, False),
        ("kim", TITLE, False),
        ("bo", TITLE, False),
        ("aud", "", True),
    ]:
        status = await (await cast(who)).status()
        assert (status.title, status.title_sealed) == (title, sealed)
    invited = await (await cast("olga")).invite(Role.AUDITOR, name="Ivo")
    vault, result = await cast.newcomer("ivo").join(invited.link)
    await vault.close()
    assert (result.title, result.title_sealed) == ("", True)


async def test_a_vault_without_a_title_has_none_to_whom_a_name_opens(tmp_path: Path) -> None:
    async with a_vault(tmp_path, title="") as (lab, vault):
        await vault.upload(TABLE, collection="customers", default=FieldClass.GENERAL)
        assert not await vault.title_sealed()
        async with joined(lab, vault, "Bo", Role.BIDDER, (FieldClass.GENERAL,)) as bo:
            assert (await bo.title(), await bo.title_sealed()) == ("", False)


@pytest.mark.parametrize("doing", [lambda v: v.accept(yes=True), lambda v: v.reject(Reason.OTHER)])
@pytest.mark.parametrize(
    ("who", "hint"),
    [
        ("aud", "You are an auditor here: this is for the bidder to whom the vault is offered."),
        ("olga", "You are the owner here: this is for the bidder to whom the vault is offered."),
    ],
)
async def test_whoever_is_no_bidder_is_told_to_whom_a_vault_is_offered(
    cast: Company, doing: Doing, who: str, hint: str
) -> None:
    with pytest.raises(Refused, match="no handover is offered to you") as refused:
        await doing(await cast(who))
    assert refused.value.hint == hint


async def test_whoever_signs_a_head_is_told_whether_writers_go_by_it(cast: Company) -> None:
    olga, aud = await cast("olga"), await cast("aud")
    assert not (await aud.heartbeat()).counts
    await olga.change_policy(head_signers=["Aud"])
    assert (await aud.heartbeat()).counts
    assert (await olga.heartbeat()).counts


# --- in words


def test_a_title_that_is_sealed_is_not_called_missing(world: World, capsys: Any) -> None:
    world.answers["status"] = replace(STATUS, title="", title_sealed=True)
    world.answers["join"] = replace(JOINED, title="", title_sealed=True)
    assert world.run("vault", "status") == 0
    assert "title     sealed from you" in capsys.readouterr().out
    assert world.run("join", f"sealroom://host:1/{'ab' * 32}#{'A' * 43}") == 0
    assert "title    sealed from you" in capsys.readouterr().out
    assert title_text("", sealed=False) == "untitled"


def test_collections_whose_names_are_closed_are_said_to_be(world: World, capsys: Any) -> None:
    closed = replace(COLLECTION, name=None, file=None, closed=True)
    world.answers["status"] = replace(STATUS, nameless=2)
    world.answers["collections"] = (closed,)
    world.answers["documents"] = ()
    assert world.run("vault", "status") == 0
    told = "1,000,000 records; the names of 2 collections are closed to you: each may be a table,"
    assert told in capsys.readouterr().out
    assert world.run("collection", "list") == 0
    assert capsys.readouterr().err == closed_text(1) + "\n"
    assert world.run("documents", "list") == 0
    told = "no documents whose names you may know; the names of 1 collection are closed to you"
    assert capsys.readouterr().out.startswith(told)
    world.answers["collections"] = (COLLECTION,)
    assert world.run("documents", "list") == 0
    assert capsys.readouterr().out == "no documents yet\n"
    assert world.run("collection", "list") == 0
    assert capsys.readouterr().err == ""


def test_a_signature_that_nobody_goes_by_is_said_to_be_one(world: World, capsys: Any) -> None:
    world.answers["heartbeat"] = replace(SIGNED, counts=False)
    assert world.run("heartbeat") == 0
    assert "'sealroom policy set --head-signers'" in capsys.readouterr().out
    world.answers["heartbeat"] = SIGNED
    assert world.run("heartbeat") == 0
    assert capsys.readouterr().out == "signed (leaf 7 of the log)\n"
