"""How one server is set up: every value that its operator may choose, checked once."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from protocol.errors import SealroomError
from protocol.limits import KIB, MIB


class InvalidConfig(SealroomError):
    """A setting, or a file that a setting names, cannot be used."""

    code = "invalid_config"


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of a server; valid once constructed.

    `requests_per_second` and `request_burst` hold for each member; an act counts as `act_cost`
    requests and a fetch as `fetch_cost` (or as one burst, if that is less), because each is
    stored for ever and replayed by everybody. For the same reason whoever commits has
    `acts_per_day`, and everybody else a tenth of that; a fetch counts as a twentieth of an act
    there (see `vault.allowance`).
    `creates_per_second` and `create_burst` hold for all together who create vaults. Of
    `max_connections` one remote address (of IPv6, one /64 network) has at most
    `max_connections_per_address`; behind a proxy all come from one. A body must arrive within
    `body_deadline_seconds`, and after `body_grace_seconds` at `body_bytes_per_second` or
    faster on average; of bodies above a mebibyte each path takes `concurrent_uploads` at once
    (see `vault.places`). `staged_bytes_per_member` caps what a member has uploaded and not
    committed; what would leave less than `reserve_bytes` of the disk is not staged, so that a
    freeze, a removal or an erasure can still be written. `hosts` are the names and addresses in a
    certificate that the server makes.
    `authorities` are the names, with ports other than 443, by which clients reach this server;
    requests signed for others are refused. Where none is given any will do (see `vault.auth`).
    With `new_tls_key` a lost TLS key is replaced, which else is not done where vaults are.
    When it is stopped, requests under way have `drain_seconds` to finish.

    Raises:
        InvalidConfig: A value is out of its range, or of another type.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8443
    open: bool = False
    cert_file: Path | None = None
    key_file: Path | None = None
    new_tls_key: bool = False
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1")
    authorities: tuple[str, ...] = ()
    requests_per_second: int = 50
    request_burst: int = 200
    act_cost: int = 5
    fetch_cost: int = 2
    acts_per_day: int = 10_000
    creates_per_second: int = 10
    create_burst: int = 20
    body_deadline_seconds: int = 300
    body_grace_seconds: int = 10
    body_bytes_per_second: int = 16 * KIB
    max_connections: int = 1_024
    max_connections_per_address: int = 256
    concurrent_uploads: int = 8
    staged_bytes_per_member: int = 16 * 1_024 * MIB
    loaded_vaults: int = 64
    reserve_bytes: int = 256 * MIB
    drain_seconds: int = 20

    def __post_init__(self) -> None:
        for setting in fields(self):
            if setting.name in RANGES:
                _check_range(setting.name, getattr(self, setting.name))
        if not self.host or not self.hosts or not all(self.hosts):
            raise InvalidConfig("a host is empty")
        if (self.cert_file is None) != (self.key_file is None):
            raise InvalidConfig("a certificate needs its key", hint="give both files, or neither")


RANGES: Final[dict[str, tuple[int, int]]] = {
    "port": (0, 65_535),
    "requests_per_second": (1, 1_000_000),
    "request_burst": (1, 1_000_000),
    "act_cost": (1, 1_000_000),
    "fetch_cost": (1, 1_000_000),
    "acts_per_day": (1, 10_000_000),
    "creates_per_second": (1, 1_000_000),
    "create_burst": (1, 1_000_000),
    "body_deadline_seconds": (1, 86_400),
    "body_grace_seconds": (1, 30),
    "body_bytes_per_second": (1, 1_024 * MIB),
    "max_connections": (1, 1_000_000),
    "max_connections_per_address": (1, 1_000_000),
    "concurrent_uploads": (1, 1_024),
    "staged_bytes_per_member": (1, 2**50),
    "loaded_vaults": (1, 1_000_000),
    "reserve_bytes": (0, 2**50),
    "drain_seconds": (1, 3_600),
}
"""The least and the greatest value of each number; port 0 takes any free one."""


LIMITS: Final = tuple(name for name in RANGES if name != "port")
"""The numbers that an operator can give in a file; see `read_limits`."""


def read_limits(path: Path) -> dict[str, Any]:
    """Return settings from a TOML file, such as `acts_per_day = 20_000`.

    Raises:
        InvalidConfig: it cannot be read, or has something else in it than numbers of `LIMITS`
            within their ranges.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfig(f"{path}: {error.strerror}", hint="Name a file of limits.") from error
    except ValueError as error:  # of TOML, or of UTF-8
        raise InvalidConfig(f"{path} is no TOML: {error}", hint=_EXAMPLE) from error
    for name, value in found.items():
        if name not in LIMITS:
            near = get_close_matches(name, LIMITS, 1)
            meant = f"Did you mean {near[0]}?" if near else f"There are {', '.join(LIMITS)}."
            raise InvalidConfig(f"{path}: there is no limit {name!r}", hint=meant)
        try:
            _check_range(name, value)
        except InvalidConfig as error:
            raise InvalidConfig(f"{path}: {error}", hint=_EXAMPLE) from error
    return found


_EXAMPLE: Final = "A line is such as: acts_per_day = 20_000"


def _check_range(name: str, value: int) -> None:
    low, high = RANGES[name]
    if type(value) is not int or not low <= value <= high:
        raise InvalidConfig(f"{name} must be a whole number from {low} to {high}")
