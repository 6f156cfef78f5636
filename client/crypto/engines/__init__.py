"""Sealing and opening blocks: one small interface, three engines of equal bytes (SPEC 7).

    compiled       a loop in C over libsodium's functions, where a compiler was at installation
    sodium         libsodium called cell by cell, where PyNaCl shows it and the processor has AES
    cryptography   one object a cell, everywhere

`default_engine` is the fastest of them here, or the one that SEALROOM_ENGINE names.
"""

from client.crypto.engines.choice import (
    VARIABLE,
    Surveyed,
    default_engine,
    fastest_engine,
    survey,
)
from client.crypto.engines.columnwise import CellRefused
from client.crypto.engines.compiled import BareLoop, CompiledEngine
from client.crypto.engines.contract import (
    LENGTH_BYTES,
    NONCE,
    BlockRefused,
    Draft,
    Engine,
    Fault,
    Mask,
    Rules,
)
from client.crypto.engines.plain import CryptographyEngine
from client.crypto.engines.sodium import SodiumEngine

__all__ = [
    "LENGTH_BYTES",
    "NONCE",
    "VARIABLE",
    "BareLoop",
    "BlockRefused",
    "CellRefused",
    "CompiledEngine",
    "CryptographyEngine",
    "Draft",
    "Engine",
    "Fault",
    "Mask",
    "Rules",
    "SodiumEngine",
    "Surveyed",
    "default_engine",
    "fastest_engine",
    "survey",
]
