"""Errors that only a client meets: the far side refused, or cannot be reached (SPEC section 12)."""

from __future__ import annotations

from typing import ClassVar

from protocol.errors import SealroomError


class Refused(SealroomError):
    """The server, the policy or one's role does not allow it; `code` says which rule."""

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.refusal = code


class Unreachable(SealroomError):
    """The server did not answer, or stopped in the middle.

    Where it was `waited` for, for as long as was asked, trying again at once is no use.
    """

    code: ClassVar[str] = "unreachable"
    waited: bool = False


class InputError(SealroomError):
    """Something that the user gave does not fit: a name, a file, a link, a choice of fields."""

    code: ClassVar[str] = "input"


class Interrupted(SealroomError):
    """The user stopped it; what was done so far is kept where that is safe."""

    code: ClassVar[str] = "interrupted"
