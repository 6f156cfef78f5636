"""Reading a lock: which versions are pinned, and the hashes that each may have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK: Final = Path("requirements.lock")

_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_CONTINUED: Final = re.compile(r"\s*\\\n\s*")


class BrokenLock(ValueError):
    """A lock that pins nothing, or something without one exact version and a hash."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of a lock; `name` is in its canonical spelling, `hashes` are SHA-256 in hex."""

    name: str
    version: str
    hashes: tuple[str, ...]


def pins_of(text: str) -> tuple[Pin, ...]:
    """Return the pins of a lock, for all platforms, in the order in which they stand.

    Raises:
        BrokenLock: it pins nothing, or a line is no exact version with its hashes.
    """
    lines = _CONTINUED.sub(" ", text).splitlines()
    pins = tuple(_pin(line) for line in lines if line.strip() and not line.startswith("#"))
    if not pins:
        raise BrokenLock("the lock pins nothing")
    return pins


def _pin(line: str) -> Pin:
    wanted, *_ = line.partition(" --hash=")
    hashes = tuple(_HASH.findall(line))
    requirement = Requirement(wanted)
    specifiers = [(each.operator, each.version) for each in requirement.specifier]
    if len(specifiers) != 1 or specifiers[0][0] != "==" or not hashes:
        raise BrokenLock(f"{wanted.strip()} is not pinned to one version with its hashes")
    return Pin(canonicalize_name(requirement.name), specifiers[0][1], hashes)
