"""Known vulnerabilities of what the lock pins: `python -m release.audit` (`make audit`).

It asks the package index, by `pip-audit`, about every pin of every platform. A pin about which
nobody could say anything counts as a failure: no answer is not a good answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from packaging.utils import canonicalize_name

from release.lock import LOCK, Pin, pins_of

AUDITOR: Final = (
    *(sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--no-deps"),
    *("--progress-spinner", "off", "--format", "json"),
)


class NotAudited(RuntimeError):
    """Something of the lock could not be audited, or nothing."""


def main() -> None:
    """Print what is known against the pins; exit with 1 where that is anything.

    Raises:
        NotAudited: of some pin it is not known whether anything is known.
    """
    pins = pins_of(LOCK.read_text(encoding="utf-8"))
    reports = [_report(group) for group in one_version_each(pins)]
    found = weaknesses(pins, reports)
    for line in found:
        print(line)
    print(f"{len(pins)} pins audited, {len(found)} known vulnerabilities")
    sys.exit(1 if found else 0)


def one_version_each(pins: Iterable[Pin]) -> list[list[Pin]]:
    """Split pins into groups in which no name stands twice: the auditor refuses that."""
    groups: list[dict[str, Pin]] = []
    for pin in pins:
        free = next((group for group in groups if pin.name not in group), None)
        if free is None:
            groups.append(free := {})
        free[pin.name] = pin
    return [list(group.values()) for group in groups]


def weaknesses(pins: Sequence[Pin], reports: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each known vulnerability of these pins.

    Raises:
        NotAudited: a pin is in no report, or was skipped in one; or there are no pins.
    """
    audited: dict[tuple[str, str], Sequence[Mapping[str, Any]]] = {
        (canonicalize_name(each["name"]), each["version"]): each["vulns"]
        for report in reports
        for each in report["dependencies"]
        if "skip_reason" not in each
    }
    missing = [
        f"{pin.name} {pin.version}" for pin in pins if (pin.name, pin.version) not in audited
    ]
    if missing or not pins:
        raise NotAudited(f"could not be audited: {', '.join(missing) or 'anything'}")
    return [
        f"{pin.name} {pin.version}: {found['id']}, mended in {', '.join(found['fix_versions'])}"
        for pin in pins
        for found in audited[pin.name, pin.version]
    ]


def _report(pins: Sequence[Pin]) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        listed = Path(directory, "pins.txt")
        listed.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in pins))
        asked = subprocess.run(
            [*AUDITOR, "--requirement", str(listed)], capture_output=True, text=True
        )
    try:
        report: Mapping[str, Any] = json.loads(asked.stdout)
    except ValueError as error:
        raise NotAudited(f"the auditor gave no report: {asked.stderr.strip()}") from error
    return report


if __name__ == "__main__":
    try:
        main()
    except NotAudited as error:
        sys.exit(f"error: {error}\nhint: the package index has to be reachable from here")
