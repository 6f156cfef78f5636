"""What the SDK answers: plain, typed, frozen values, ready for JSON (SPEC section 10.5).

One module each: `vaults`, `data`, `documents`, `people`, `keys`, `recovery`, `log`; `progress` is
what long work tells meanwhile.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any


def as_json(value: object) -> Any:
    """Turn a result into what `json.dumps` takes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, Enum):
        return as_json(value.value)
    return value.hex() if isinstance(value, bytes) else value
