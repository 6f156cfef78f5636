"""Tables of any size, from none to many batches, over TLS through a real server."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from client.home import Home
from client.tables import open_source, schema_of
from client.vault import UploadOptions, Vault
from protocol.limits import LIMITS
from tests.deals import cheap_keyrings, classes_in_turn
from tests.in_process import PASSPHRASE
from tests.servers import subprocess_server
from tests.table_values import columns
from tests.test_tables_through import NAMES, TYPES, same

SIZES = st.sampled_from([0, 1, 4_095, 4_096, 4_097, 8_192]) | st.integers(0, 9_000)


@dataclass
class Real:
    """A vault on a real server, and the loop that it lives in."""

    loop: asyncio.AbstractEventLoop
    vault: Vault
    names: Iterator[int]

    def through(self, *tables: pa.Table, batch_rows: int) -> pa.Table:
        """Upload tables to one collection, one after the other; return what is read."""
        name = f"table {next(self.names)}"

        async def moved() -> pa.Table:
            for table in tables:
                await self.vault.upload(
                    table, collection=name, options=UploadOptions(batch_rows=batch_rows),
                    classes=classes_in_turn(table.column_names) if table is tables[0] else None,
                )  # fmt: skip
            return await self.vault.read(name)

        return self.loop.run_until_complete(moved())


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    folder, stack, loop = (
        tmp_path_factory.mktemp("real"),
        AsyncExitStack(),
        asyncio.new_event_loop(),
    )

    async def opened() -> Vault:
        server = await stack.enter_async_context(subprocess_server(folder / "server"))
        home = Home(folder / "home", lambda: PASSPHRASE)
        made = await home.create_vault(
            server.url, title="Lark", pin=server.pin, token=server.announced["token"]
        )
        return await stack.enter_async_context(made)

    with cheap_keyrings():
        try:
            yield Real(loop, loop.run_until_complete(opened()), count())
        finally:
            loop.run_until_complete(stack.aclose())
            loop.close()
            shutil.rmtree(folder, ignore_errors=True)


@st.composite
def long_tables(draw: st.DrawFn, rows: int) -> pa.Table:
    """Draw a table of so many rows, whose cells are drawn once and repeated in any order."""
    kinds = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=3))
    names = draw(st.lists(NAMES.filter(bool), min_size=3, max_size=3, unique_by=str.casefold))
    order = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = []
    for kind in kinds:
        cells, _ = draw(columns(kind, 12))
        pieces = [cells.slice(at, 1) for at in range(len(cells))] or [pa.nulls(1, cells.type)]
        picked = order.integers(0, len(pieces), rows)
        runs = [pieces[at] for at in picked]
        arrays.append(pa.concat_arrays(runs) if runs else pieces[0].slice(0, 0))
    return pa.table(arrays, names=names[: len(arrays)])


def as_read(*tables: pa.Table) -> pa.Table:
    """Return tables as a vault gives them back: dictionaries are made anew."""
    sources = [open_source(table) for table in tables]
    batches = [batch for source in sources for batch in source.batches(LIMITS.batch_records)]
    return pa.Table.from_batches(batches, schema_of(sources[0].columns))


@settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)
@given(rows=SIZES, batch_rows=st.integers(1, 20) | st.integers(500, 5_000), data=st.data())
def test_a_table_of_any_size_comes_back_bit_for_bit(
    real: Real, rows: int, batch_rows: int, data: st.DataObject
) -> None:
    table = data.draw(long_tables(rows))
    batch_rows = max(batch_rows, rows // 200)  # a few hundred requests are enough
    assert same(real.through(table, batch_rows=batch_rows), as_read(table))


@settings(max_examples=6, suppress_health_check=list(HealthCheck), deadline=None)
@given(cut=st.integers(0, 600))
@example(0)
@example(600)
def test_a_table_in_two_pieces_is_the_table(real: Real, cut: int) -> None:
    table = pa.table({"n": range(600), "text": [f"row {n}" if n % 5 else None for n in range(600)]})
    pieces = (table.slice(0, cut), table.slice(cut))
    assert same(real.through(*pieces, batch_rows=100), as_read(*pieces))
