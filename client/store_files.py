"""The files of a store: taken away, and put whole in the place of another one's.

SQLite keeps a log beside its file, and would read it into whatever file bears the name. So what is
there goes with all that lies beside it, and is known to be gone, before another comes.
"""

from __future__ import annotations

from pathlib import Path

from client.database import BESIDE
from client.keyring_file import sync_folder, write_lock


def remove_store(path: Path) -> None:
    """Remove a store, if it is there, and what lies beside it."""
    for end in ("", *BESIDE):
        path.with_name(path.name + end).unlink(missing_ok=True)


def name_whole(made: Path, path: Path) -> None:
    """Give a store that was written and closed the name by which it is known to be whole."""
    made.rename(path)
    sync_folder(path.parent)


def put_in_place(whole: Path, path: Path, keyring: Path) -> None:
    """Put a whole store in the place of the one at `path`, if it was not done before.

    To be called before the one at `path` is opened: whoever was to do it may have been killed.
    """
    if not whole.exists():
        return
    with write_lock(keyring):
        if whole.exists():  # no other process of this home has done it meanwhile
            remove_store(path)
            sync_folder(path.parent)
            name_whole(whole, path)
