"""Whether a SQLite file is sound: its pages, its logs without gaps, each content in one place."""

from __future__ import annotations

from typing import Any, Final

import aiosqlite

from vault.storage.base import StorageDamaged

_PLACES: Final = (
    "SELECT content FROM blocks UNION ALL SELECT content FROM doomed"
    " UNION ALL SELECT content FROM sides WHERE content IS NOT NULL"
)


async def check_database(reader: aiosqlite.Connection) -> None:
    """Check what a reader sees at one moment: it has begun a transaction.

    Raises:
        StorageDamaged: it is not sound.
    """

    async def found(statement: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await reader.execute_fetchall(statement)]

    if await found("PRAGMA integrity_check(1)") != [("ok",)]:
        raise StorageDamaged("the database is damaged")
    if await found("PRAGMA foreign_key_check"):
        raise StorageDamaged("something stands below what is not there")
    if await found(
        "SELECT 1 FROM vaults WHERE size <> (SELECT COUNT(*) FROM leaves"
        " WHERE leaves.vault = vaults.vault AND leaf_index >= 0 AND leaf_index < size)"
    ):
        raise StorageDamaged("a log has gaps")
    # Each content stands in one place, or is doomed; and each place has its content.
    if await found(f"SELECT content FROM ({_PLACES}) EXCEPT SELECT id FROM contents LIMIT 1"):
        raise StorageDamaged("a block or a part is not there")
    ((places,),) = await found(f"SELECT COUNT(*) FROM ({_PLACES})")
    ((contents,),) = await found("SELECT COUNT(*) FROM contents")
    if places != contents:
        raise StorageDamaged("blocks or parts stand in no place, or in several")
