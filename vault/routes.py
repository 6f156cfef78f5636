"""Every path that the server answers, as one table (SPEC section 10)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from protocol import api
from protocol.acts.terms import MAX_UINT
from protocol.errors import MalformedMessage
from protocol.limits import LIMITS
from vault.callers import not_found
from vault.handlers import acts, blocks, log, server, uploads, vaults
from vault.handlers.calls import Call, Handler
from vault.logs import PathTemplate
from vault.service import VaultService
from vault.statuses import WrongMethod

NUMBER_DIGITS: Final = 16
_NUMBER: Final = re.compile(rf"0|[1-9][0-9]{{0,{NUMBER_DIGITS - 1}}}")


class SignedBy(Enum):
    """Whose key a request needs."""

    NOBODY = "nobody"
    MEMBER = "a key that the vault knows"
    OWNER = "the owner in the genesis that it carries"


@dataclass(frozen=True, slots=True)
class Body:
    """The body that a path takes: its type, and the most bytes."""

    content_type: str
    most: int


@dataclass(frozen=True, slots=True)
class Route:
    """One row: which requests, by whom, with what, and who answers.

    `admit` refuses a request by its head alone, before its body is read.
    """

    method: str
    template: str
    handler: Handler
    signed_by: SignedBy = SignedBy.MEMBER
    query: frozenset[str] = frozenset()
    body: Body | None = None
    admit: Callable[[VaultService, Call], Awaitable[None]] | None = None
    path: PathTemplate = field(init=False)
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        """Derive what the path looks like from its template."""
        pattern = self.template
        for name, digits in api.ID_HEX.items():
            pattern = pattern.replace(f"{{{name}}}", f"(?P<{name}>[0-9a-f]{{{digits}}})")
        object.__setattr__(self, "path", PathTemplate(self.template))
        object.__setattr__(self, "pattern", re.compile(pattern))

    def numbers(self, query: str | None) -> Mapping[str, int]:
        """Read the query: exactly the route's numbers, each once, in decimal.

        Raises:
            MalformedMessage: anything else.
        """
        pairs = [] if query is None else [pair.partition("=") for pair in query.split("&")]
        values = {name: value for name, _, value in pairs}
        if len(pairs) != len(self.query) or values.keys() != self.query:
            raise MalformedMessage(f"this path takes the parameters {sorted(self.query)}")
        if not all(map(_NUMBER.fullmatch, values.values())):
            raise MalformedMessage("a parameter is a decimal number without leading zeros")
        numbers = {name: int(value) for name, value in values.items()}
        if any(number > MAX_UINT for number in numbers.values()):
            raise MalformedMessage(f"a parameter is at most {MAX_UINT}")
        return numbers


_GENESIS: Final = Body(api.CONTENT_TYPE, LIMITS.genesis_bytes)
_ACT: Final = Body(api.CONTENT_TYPE, api.ACT_BODY_BYTES)
_FETCH: Final = Body(api.CONTENT_TYPE, blocks.FETCH_BODY_BYTES)
_BATCH: Final = Body(api.BATCH_CONTENT_TYPE, LIMITS.batch_bytes)
_BATCHES: Final = Body(api.BATCHES_CONTENT_TYPE, LIMITS.bundle_bytes)

# fmt: off
ROUTES: Final = (
    Route("GET", api.HEALTH, server.health, SignedBy.NOBODY),
    Route("GET", api.SERVER, server.info, SignedBy.NOBODY),
    Route("POST", api.VAULTS, vaults.create, SignedBy.OWNER, body=_GENESIS),
    Route("GET", api.LOG, log.page, query=frozenset({"from"})),
    Route("GET", api.CONSISTENCY, log.consistency, query=frozenset({"from", "to"})),
    Route("GET", api.OBSERVATIONS, log.observations, query=frozenset({"from"})),
    Route("POST", api.ACTS, acts.submit, body=_ACT, admit=acts.admit),
    Route("GET", api.UPLOAD, uploads.staged),
    Route("PUT", api.BATCHES, uploads.stage_several, body=_BATCHES, admit=uploads.admit),
    Route("PUT", api.BATCH, uploads.stage, body=_BATCH, admit=uploads.admit),
    Route("POST", api.BLOCKS, blocks.fetch, body=_FETCH, admit=blocks.admit),
)
# fmt: on


def route_of(method: str, path: str) -> tuple[Route, Mapping[str, bytes]]:
    """Return the route of a path exactly as it was sent, and the ids in it (H9).

    Nothing is decoded or normalised first: another spelling is another path.

    Raises:
        NotFound: no path of this interface.
        WrongMethod: one, but not with this method.
    """
    allowed: list[str] = []
    for route in ROUTES:
        found = route.pattern.fullmatch(path)
        if found and route.method == method:
            return route, {name: bytes.fromhex(text) for name, text in found.groupdict().items()}
        if found:
            allowed.append(route.method)
    if allowed:
        raise WrongMethod(tuple(allowed))
    raise not_found()
