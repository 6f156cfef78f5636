"""Several documents into one folder: none in another's place, whatever they are called (SPEC 7.6).

Names are given by people, some of whom mean harm: an admin with keys can call its document as
another is called, which an honest client refuses when it attaches. Who gets both has one file for
two documents, and could not tell afterwards which of them it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from client.documents.entries import Document
from client.documents.getting import place_of
from client.drawn import alike
from client.errors import InputError


class Together:
    """The places of documents that are written by one command."""

    def __init__(self, folder: Path, documents: Iterable[Document]) -> None:
        self._folder = folder
        self._called = Counter(_one_file(each) for each in documents)
        self._written: set[tuple[int, int]] = set()

    def place_of(self, document: Document) -> Path:
        """Return where a document is written: under its own name, if that is its alone.

        Raises:
            InputError: several have its name, or what is there was written for another one of
                these documents; or its name is none that a file could have there.
            IntegrityError, Refused: as `client.documents.getting.place_of`.
        """
        place = place_of(document, self._folder)
        if self._called[_one_file(document)] > 1:
            raise InputError(
                f"several documents are called {place.name!r}, or nobody could tell them apart",
                hint="See who attached which, and get each by its id, with --out.",
            )
        # Folders differ in which names they take for one, so what lies there is looked at.
        if _identity(place) in self._written:
            raise InputError(
                f"{place.name!r} would take the place of another document, just written",
                hint="Get it by its id, with --out.",
            )
        return place

    def wrote(self, place: Path) -> None:
        """Note what was written; no other document of these takes its place."""
        found = _identity(place)
        if found is not None:
            self._written.add(found)


def _one_file(document: Document) -> str:
    """Return the name as those compare it who tell the fewest apart: file systems, and people."""
    return alike(document.label)


def _identity(place: Path) -> tuple[int, int] | None:
    try:
        found = place.lstat()
    except OSError:
        return None  # not there, or the writing itself will say why not
    return found.st_dev, found.st_ino
