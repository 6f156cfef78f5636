"""Who may read which cell: the real client and server against a model that is plain Python.

After every step everybody reads everything. What the model permits has the right values, what it
forbids fails: in the client, at the server, and with every block and every wrap that the server
stores, opened with every key that somebody could ever have kept.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from client.catalogs import read_names
from client.crypto.keys import confirmed_field_key
from client.crypto.wraps import unwrap
from client.errors import InputError, Refused
from client.fetching import open_committed
from client.home import Home
from client.tables import cells_to_array
from client.vault import Vault
from protocol.acts import Reason, Role
from protocol.api import FetchBlocks, WantedBatch
from protocol.blocks import Address, FieldClass
from protocol.errors import CommitmentMismatch, NotAuthorised, WeakKey
from protocol.ledger.contents import Collection
from tests.deals import a_vault
from tests.in_process import Lab
from vault.storage.base import BlockKey

T = TypeVar("T")

CLASSES = (FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE)
FIELDS = dict(zip(("name", "phone", "iban"), CLASSES, strict=True))
ROWS = 3
MOST_PEOPLE, MOST_TABLES = 4, 3
OWNER = "Olga"


# --- the model: no keys, no bytes, no server


class Epoch:
    """A key of a field, as far as the model knows keys: who has seen it."""

    def __init__(self) -> None:
        self.known_to: set[str] = set()


@dataclass
class Column:
    """A field of a table: its values (None where erased), and the key that they lie under."""

    field_class: FieldClass
    values: list[str | None]
    newest: Epoch = field(default_factory=Epoch)
    live: list[Epoch] = field(default_factory=list)
    under: Epoch = field(init=False)

    def __post_init__(self) -> None:
        self.under = self.newest
        self.live = [self.newest]

    def rotate(self) -> None:
        self.newest = Epoch()
        self.live.append(self.newest)

    def reencrypt(self) -> None:
        self.rotate()
        self.under, self.live = self.newest, [self.newest]

    def left(self) -> list[str]:
        return [value for value in self.values if value is not None]


@dataclass
class Person:
    role: Role
    classes: set[FieldClass]
    live: bool = True
    confirmed: bool = False


@dataclass
class Model:
    """Who is there with which grants, which tables there are, and who has seen which key."""

    people: dict[str, Person] = field(default_factory=dict)
    tables: dict[str, dict[str, Column]] = field(default_factory=dict)
    frozen: bool = False

    def holds(self, name: str, column: Column) -> bool:
        person = self.people[name]
        return person.live and column.field_class in person.classes

    def may_read(self, name: str, column: Column) -> bool:
        return self.holds(name, column) and not self.frozen

    def columns(self) -> Iterable[Column]:
        return (column for table in self.tables.values() for column in table.values())

    def learn(self) -> None:
        """Let everybody see the keys that they hold now; nobody ever forgets one."""
        for column in self.columns():
            for name in self.people:
                if self.holds(name, column):
                    for epoch in column.live:
                        epoch.known_to.add(name)


# --- the real thing


@dataclass
class Real:
    """Somebody's home and vault, and every key that it could have kept so far."""

    home: Home
    vault: Vault
    hoard: dict[Address, bytes] = field(default_factory=dict)

    def keep_keys(self) -> None:
        session = self.vault.session
        me = session.state.members.get(session.identity.member_id)
        if me is None:
            return
        for epochs in session.state.epochs.values():
            for address in (each.definition.address for each in epochs):
                with suppress(NotAuthorised):
                    self.hoard[address] = session.key(address).key.expose()


class AccessMachine(RuleBasedStateMachine):
    """Random deeds of an owner and an admin, and everybody's reads after each."""

    lab: Lab

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.directory = tempfile.TemporaryDirectory(prefix="access-")
        self.model = Model()
        self.real: dict[str, Real] = {}
        self.made = 0

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @property
    def owner(self) -> Vault:
        return self.real[OWNER].vault

    @initialize()
    def found(self) -> None:
        async def opened() -> tuple[Lab, Vault]:
            return await self.stack.enter_async_context(a_vault(Path(self.directory.name)))

        self.lab, vault = self.do(opened())
        self.real[OWNER] = Real(self.lab.home("seller"), vault)
        self.model.people[OWNER] = Person(Role.OWNER, set(CLASSES), confirmed=True)
        self._upload("Olga")

    def teardown(self) -> None:
        if self.real:
            for name in self.model.people:
                if not self.model.people[name].live:
                    self.no_wrap_is_for(name)
        self.do(self.stack.aclose())
        self.runner.close()
        self.directory.cleanup()

    # --- deeds

    def _actors(self) -> list[str]:
        """Return who may do an admin's deeds with every key."""
        return [
            name
            for name, person in self.model.people.items()
            if person.live and person.confirmed and person.role in (Role.OWNER, Role.ADMIN)
        ]

    def _upload(self, who: str) -> None:
        self.made += 1
        name = f"table {self.made}"
        values = {each: [f"{each} {self.made}.{row}" for row in range(ROWS)] for each in FIELDS}
        vault = self.real[who].vault
        self.do(vault.upload(pa.table(values), collection=name, classes=FIELDS))
        self.model.tables[name] = {
            each: Column(FIELDS[each], list(values[each])) for each in FIELDS
        }

    @precondition(lambda self: len(self.model.tables) < MOST_TABLES and not self.model.frozen)
    @rule(data=st.data())
    def upload(self, data: st.DataObject) -> None:
        self._upload(data.draw(st.sampled_from(self._actors())))

    @precondition(
        lambda self: (
            sum(each.live for each in self.model.people.values()) < MOST_PEOPLE
            and not self.model.frozen
        )
    )
    @rule(
        role=st.sampled_from([Role.BIDDER, Role.BIDDER, Role.ADMIN]),
        classes=st.sets(st.sampled_from(CLASSES)),
    )
    def hire(self, role: Role, classes: set[FieldClass]) -> None:
        name = f"p{len(self.model.people)}"
        given = set(CLASSES) if role is Role.ADMIN else classes

        async def joined() -> Vault:
            invited = await self.owner.invite(role, name=name, classes=sorted(given))
            vault, result = await self.lab.home(name).join(invited.link)
            await self.stack.enter_async_context(vault)
            await self.owner.confirm(name, words=result.words)
            return vault

        self.real[name] = Real(self.lab.home(name), self.do(joined()))
        self.model.people[name] = Person(role, given, confirmed=True)

    def _some(self, data: st.DataObject, *, bidders: bool = False) -> str | None:
        names = [
            name
            for name, person in self.model.people.items()
            if person.live and name != OWNER and (person.role is Role.BIDDER or not bidders)
        ]
        return data.draw(st.sampled_from(names)) if names else None

    @precondition(lambda self: not self.model.frozen)
    @rule(data=st.data(), field_class=st.sampled_from(CLASSES), withdraw=st.booleans())
    def grant(self, data: st.DataObject, field_class: FieldClass, withdraw: bool) -> None:
        name = self._some(data, bidders=True)
        if name is None or not self.model.people[name].confirmed:
            return
        person = self.model.people[name]
        if (field_class in person.classes) != withdraw:
            return  # what is not there is not withdrawn, and what is there is not granted again
        change = self.owner.withdraw_grant if withdraw else self.owner.grant
        self.do(change(name, classes=[field_class]))
        person.classes ^= {field_class}

    @rule(data=st.data(), reencrypt=st.booleans())
    def revoke(self, data: st.DataObject, reencrypt: bool) -> None:
        name = self._some(data)
        if name is None:
            return
        person = self.model.people[name]
        self.do(self.owner.revoke(name, Reason.BREACH, reencrypt=reencrypt))
        if not self.model.frozen:
            for column in self.model.columns():
                # What it had of a key that is still in use, by a grant that was withdrawn too.
                if any(name in epoch.known_to for epoch in column.live):
                    column.reencrypt() if reencrypt else column.rotate()
        person.live, person.classes = False, set()

    @precondition(lambda self: self.model.tables and not self.model.frozen)
    @rule(data=st.data(), reencrypt=st.booleans())
    def rotate(self, data: st.DataObject, reencrypt: bool) -> None:
        who = self.real[data.draw(st.sampled_from(self._actors()))].vault
        table = data.draw(st.sampled_from(sorted(self.model.tables)))
        names = data.draw(st.sets(st.sampled_from(sorted(FIELDS)), min_size=1))
        self.do(who.rotate(collection=table, fields=sorted(names), reencrypt=reencrypt))
        for name in names:
            column = self.model.tables[table][name]
            column.reencrypt() if reencrypt else column.rotate()

    @precondition(lambda self: self.model.tables and not self.model.frozen)
    @rule(data=st.data(), row=st.integers(0, ROWS - 1))
    def erase(self, data: st.DataObject, row: int) -> None:
        who = self.real[data.draw(st.sampled_from(self._actors()))].vault
        table = data.draw(st.sampled_from(sorted(self.model.tables)))
        self.do(who.erase(table, [row + 1]))
        for column in self.model.tables[table].values():
            column.values[row] = None

    @precondition(lambda self: len(self.model.tables) > 1 and not self.model.frozen)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        table = data.draw(st.sampled_from(sorted(self.model.tables)))
        self.do(self.owner.retire_collection(table))
        del self.model.tables[table]

    @precondition(lambda self: not self.model.frozen)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        name = self._some(data)
        if name is None or not self.model.people[name].confirmed:
            return
        real = self.real[name]
        self.do(real.home.rotate_identity(real.vault))
        self.model.people[name].confirmed = False

    @precondition(lambda self: not self.model.frozen)
    @rule()
    def renew_the_owner(self) -> None:
        real = self.real[OWNER]
        self.do(real.home.rotate_identity(real.vault))
        for column in self.model.columns():
            column.rotate()

    @precondition(lambda self: not self.model.frozen)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        name = self._some(data)
        if name is not None and not self.model.people[name].confirmed:
            self.do(self.owner.confirm(name, yes=True))
            self.model.people[name].confirmed = True

    @rule()
    def freeze_or_lift(self) -> None:
        self.do(self.owner.unfreeze() if self.model.frozen else self.owner.freeze())
        self.model.frozen = not self.model.frozen

    # --- what holds after each

    @invariant()
    def both_agree(self) -> None:
        if not self.real:
            return
        self.model.learn()
        self.do(self._all_read())

    async def _all_read(self) -> None:
        await self.owner.session.sync()
        for name, real in self.real.items():
            if self.model.people[name].live:
                await real.vault.session.sync()
                real.keep_keys()
            for table, columns in self.model.tables.items():
                await self._reads(name, real.vault, table, columns)
                await self._opens(name, real, table, columns)

    async def _reads(self, name: str, vault: Vault, table: str, columns: dict[str, Column]) -> None:
        allowed = [each for each, col in columns.items() if self.model.may_read(name, col)]
        if allowed:
            got = await vault.read(table)
            assert got.to_pydict() == {each: columns[each].left() for each in allowed}
        else:
            with pytest.raises((InputError, Refused)):
                await vault.read(table)
        for each in columns.keys() - set(allowed):
            with pytest.raises((InputError, Refused)):
                await vault.read(table, fields=[each])
            # Nor does the server give it to a client that asks all the same.
            where = await self._where(table)
            number = await self._number(where, each)
            wanted = tuple(
                (WantedBatch(batch.id, (number,)), ref)
                for batch, ref in where.blocks(number)
                if batch.records
            )
            if not wanted:
                continue
            request = FetchBlocks(where.id, tuple(one for one, _ in wanted))
            sizes = tuple(ref.length for _, ref in wanted)
            with pytest.raises(Refused):
                async for _ in vault.session.transport.fetch(
                    vault.session.vault_id, request, sizes
                ):
                    pass

    async def _where(self, table: str) -> Collection:
        return await self.owner._find_collection(table)

    async def _number(self, where: Collection, name: str) -> int:
        named = await read_names(self.owner.session, where.id)
        return next(number for number, each in named.fields.items() if each.name == name)

    async def _opens(self, name: str, real: Real, table: str, columns: dict[str, Column]) -> None:
        """Give somebody every block that the server stores, to open with every key it kept."""
        where = await self._where(table)
        for each, column in columns.items():
            number = await self._number(where, each)
            got: list[str] = []
            for batch, ref in where.blocks(number):
                if not batch.records:
                    continue
                key = real.hoard.get(Address(where.id, number, ref.epoch))
                if key is None:
                    continue
                place = BlockKey(batch.id, number, ref.sha256)
                block = await self.lab.service._storage.read_block(
                    self.owner.session.vault_id, place
                )
                assert block is not None
                cells = open_committed(key, where, batch, ref, block, True)
                got += [v for v in cells_to_array(cells, "string").to_pylist() if v is not None]
            knows = name in column.under.known_to
            assert got == (column.left() if knows else []), (name, table, each)

    def no_wrap_is_for(self, name: str) -> None:
        """Check that no wrap which the log has of a key made since opens for who was removed."""
        session, gone = self.owner.session, self.real[name]
        identity = gone.vault.identity
        mine = {identity.member_id, *session.state.lineage(identity.member_id)}
        for (address, party), wrap in session.believed.wraps.items():
            if address in gone.hoard or party in mine:
                continue
            definition = session.state.published(address)
            try:
                share = session.key(address).share
                key = unwrap(identity, wrap)
            except (NotAuthorised, WeakKey):
                continue
            with pytest.raises((CommitmentMismatch, WeakKey)):
                confirmed_field_key(
                    session.vault_id,
                    address,
                    key,
                    share,
                    published_share_hash=definition.share_hash,
                    published_confirmation=definition.confirmation,
                )


TestAccess = AccessMachine.TestCase
TestAccess.settings = settings(
    max_examples=int(os.environ.get("SEALROOM_ACCESS_EXAMPLES", "10")),
    stateful_step_count=int(os.environ.get("SEALROOM_ACCESS_STEPS", "15")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
pytestmark = [pytest.mark.threat(each) for each in ("V8", "S2", "S11", "K14")]
