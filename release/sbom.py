"""The bill of materials: `python -m release.sbom` (`make sbom`).

CycloneDX JSON, made of the lock alone by `cyclonedx-py`: so it names whatever may be installed on
any platform, tools of development too, each with the hashes that installation accepts. The same
lock gives the same bytes; that, and that nothing of the lock is left out, is checked before the
file gets its name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from packaging.utils import canonicalize_name

from release.lock import LOCK, Pin, pins_of

SBOM: Final = Path("dist/sealroom.cdx.json")
GENERATOR: Final = (
    *(sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", str(LOCK)),
    *("--pyproject", "pyproject.toml", "--output-reproducible"),
    *("--output-format", "JSON", "--spec-version", "1.6", "--output-file", "-"),
)


class NotTheLock(ValueError):
    """A bill of materials that leaves out, adds or changes something."""


def main() -> None:
    """Write the bill of materials, and print its hash.

    Raises:
        NotTheLock: it does not list what the lock pins, or comes out differently twice.
    """
    made, again = _generated(), _generated()
    if made != again:
        raise NotTheLock("the bill of materials comes out differently each time")
    pins = pins_of(LOCK.read_text(encoding="utf-8"))
    expect_all(json.loads(made), pins)
    SBOM.parent.mkdir(exist_ok=True)
    part = SBOM.with_suffix(".part")
    part.write_bytes(made)
    part.replace(SBOM)
    print(f"{SBOM}: {len(pins)} packages, as the lock pins them")


def expect_all(bill: Mapping[str, Any], pins: Iterable[Pin]) -> None:
    """Check that a bill lists exactly these pins, each with all its hashes.

    Raises:
        NotTheLock: it does not.
    """
    listed = {_listed(component) for component in bill.get("components", ())}
    pinned = {(pin.name, pin.version, frozenset(pin.hashes)) for pin in pins}
    if listed != pinned:
        wrong = sorted({f"{name} {version}" for name, version, _ in listed ^ pinned})
        raise NotTheLock(f"the bill and the lock differ in {', '.join(wrong)}")


def _listed(component: Mapping[str, Any]) -> tuple[str, str, frozenset[str]]:
    hashes = frozenset(
        found["content"]
        for reference in component.get("externalReferences", ())
        for found in reference.get("hashes", ())
        if found["alg"] == "SHA-256"
    )
    return canonicalize_name(component["name"]), component["version"], hashes


def _generated() -> bytes:
    # Where packages are fetched from here is nobody's business, and would change the bytes.
    environment = {name: value for name, value in os.environ.items() if not _names_index(name)}
    return subprocess.run(GENERATOR, check=True, capture_output=True, env=environment).stdout


def _names_index(name: str) -> bool:
    return name.startswith(("PIP_", "UV_"))


if __name__ == "__main__":
    main()
