"""A terminal session, drawn: `make picture` writes docs/session.svg.

A real server, real commands on a pseudo-terminal, and what stands on the screen in the end. The
upload is drawn while it runs, so that its progress is in the picture too.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Final, TypeAlias
from xml.sax.saxutils import escape

import pyte
from pyte.screens import Char

from examples.customers import customers
from examples.demo import SEALROOM, Person, server

WIDTH: Final = 116
HEIGHT: Final = 200
ROWS: Final = 300_000
PICTURE: Final = Path(__file__).parents[1] / "docs" / "session.svg"
WAIT_SECONDS: Final = 120
_HEX: Final = re.compile("[0-9a-f]{6}")

Line: TypeAlias = list[Char]


INK: Final = "#24292f"
COLOURS: Final = {
    "cyan": "#1b7c83", "green": "#116329", "brown": "#9a6700", "yellow": "#9a6700",
    "red": "#cf222e", "magenta": "#8250df", "blue": "#0969da",
}  # fmt: skip
CELL: Final = (8.4, 19.0)
"""Width and height of a character's place, in pixels; wide ones take two."""
EDGE: Final = 16
BAR: Final = 34
FONTS: Final = (
    "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC', "
    "monospace"
)


@dataclass
class Terminal:
    """A screen that commands write on, as a person would see it."""

    home: Path
    screen: pyte.Screen
    stream: pyte.ByteStream

    @classmethod
    def of(cls, home: Path) -> Terminal:
        """Return an empty one."""
        screen = pyte.Screen(WIDTH, HEIGHT)
        return cls(home, screen, pyte.ByteStream(screen))

    def type(self, *command: str, answers: Sequence[tuple[str, str]] = ()) -> Iterator[None]:
        """Run a command on it, answer what it asks, and yield each time something was written.

        Raises:
            RuntimeError: it failed, or took too long; with what stands on the screen.
        """
        shown = " ".join(f"'{each}'" if " " in each else each for each in command)
        self.stream.feed(f"\x1b[36m$\x1b[0m \x1b[1msealroom {shown}\x1b[0m\r\n".encode())
        waiting = list(answers)
        process, terminal = self._begun(command)
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while (written := _read(terminal, deadline)) != b"":
                self.stream.feed(written)
                if waiting and waiting[0][0] in "\n".join(self.screen.display):
                    os.write(terminal, waiting.pop(0)[1].encode())
                yield
        finally:
            os.close(terminal)
            _, status = os.waitpid(process, 0)
        if status:
            raise RuntimeError(f"it failed:\n{self.text()}")
        self.stream.feed(b"\r\n")

    def _begun(self, command: Sequence[str]) -> tuple[int, int]:
        process, terminal = pty.fork()
        if process == 0:
            environment = {
                **os.environ,
                "SEALROOM_HOME": str(self.home),
                "SEALROOM_PASSPHRASE": "a passphrase of seller's own",
                "TERM": "xterm-256color",
                "COLUMNS": str(WIDTH),
            }
            os.execve(SEALROOM, ["sealroom", *command], environment)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, WIDTH, 0, 0))
        return process, terminal

    def text(self) -> str:
        """Return what stands on it, without colours."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def lines(self) -> list[Line]:
        """Return what stands on it, down to the last line that has anything."""
        last = max(at for at, line in enumerate(self.screen.display) if line.strip())
        return [
            [self.screen.buffer[row][column] for column in range(WIDTH)] for row in range(last + 1)
        ]


def _read(terminal: int, deadline: float) -> bytes:
    """Return what is written next; nothing once the command has ended."""
    if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
        raise RuntimeError("it took too long")
    try:
        return os.read(terminal, 65_536)
    except OSError as error:
        if error.errno == errno.EIO:  # nobody has the other end open any more
            return b""
        raise


def session(folder: Path) -> list[Line]:
    """Play the session; return the screen at its end, with the progress that was there between."""
    table = folder / "客户导出_2024.csv"
    _write_export(table)
    seller = Person("seller", folder / "home")
    with server(folder / "server") as ready:
        seller.run(
            "vault", "create", ready["url"], "--title", "Project Lark", "--name", "Seller",
            "--pin", ready["pin"], "--token", ready["token"],
        )  # fmt: skip
        os.chdir(folder)
        terminal = Terminal.of(seller.home)
        upload = (
            "upload", table.name, "--collection", "customers",
            "--class", "身份证号=core", "--class", "城市=general",
        )  # fmt: skip
        under_way: list[list[Line]] = []
        for _ in terminal.type(*upload, answers=[("and send them?", "y\n")]):
            if "sealing and sending" in terminal.text():
                under_way.append(terminal.lines())
        for _ in terminal.type("read", "customers", "--where", "城市=上海市", "--limit", "4"):
            pass
        end = terminal.lines()
    between = under_way[len(under_way) * 2 // 3]
    same = sum(1 for one, other in zip(between, end, strict=False) if one == other)
    return between[:same] + between[same:] + end[same:]


def _write_export(path: Path) -> None:
    """Write what a shop's software exports: a title above the header, a total below, GB18030."""
    with path.open("w", encoding="gb18030", newline="") as out:
        write = csv.writer(out).writerow
        write(("客户资料导出", *[""] * 5))
        write(("导出时间：2024-11-30", *[""] * 5))
        write(("客户号", "姓名", "身份证号", "手机", "城市", "消费金额"))
        total = Decimal(0)
        for each in customers(ROWS):
            total += each.total_spent
            named = (each.customer_no, each.name, each.national_id, each.phone, each.city)
            write((*named, each.total_spent))
        write(("合计", *[""] * 4, total))


def draw(lines: Sequence[Line], title: str) -> str:
    """Return lines of a terminal as an SVG picture that fetches nothing.

    Every character says where it stands, so that columns are columns in any font.
    """
    width, height = round(WIDTH * CELL[0]) + 2 * EDGE, round(len(lines) * CELL[1]) + BAR + EDGE
    drawn = "\n".join(
        text for row, line in enumerate(lines) for text in _runs(line, BAR + (row + 0.75) * CELL[1])
    )
    dots = "".join(
        f'<circle cx="{EDGE + 4 + 18 * at}" cy="17" r="5.5" fill="{colour}"/>'
        for at, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>{escape(title)}</title>
<rect width="{width}" height="{height}" rx="8" fill="#ffffff" stroke="#d0d7de"/>
{dots}
<g font-family="{FONTS}" font-size="14" fill="{INK}" xml:space="preserve">
{drawn}
</g>
</svg>
"""


def _runs(line: Line, height: float) -> Iterator[str]:
    """Yield what stands in a line: words, and wide characters each by itself."""
    for (colour, bold, _), group in groupby(enumerate(line), _alike):
        run = list(group)
        text = escape("".join(cell.data for _, cell in run))
        if not text.strip():
            continue
        drawn = COLOURS.get(colour, f"#{colour}" if _HEX.fullmatch(colour) else "")
        style = f' fill="{drawn}"' if drawn else ""
        style += ' font-weight="600"' if bold else ""
        yield f'<text x="{EDGE + run[0][0] * CELL[0]:.1f}" y="{height:.1f}"{style}>{text}</text>'


def _alike(placed: tuple[int, Char]) -> tuple[str, bool, int]:
    """Return what characters have in common that are drawn together."""
    column, cell = placed
    blank, wide = not cell.data.strip(), not cell.data.isascii()
    return cell.fg, cell.bold, -1 if blank else column if wide and cell.data != "━" else -2


def main() -> None:
    """Play the session and draw it."""
    with tempfile.TemporaryDirectory(prefix="sealroom-picture-") as folder:
        lines = session(Path(folder))
    PICTURE.write_text(draw(lines, "A table is uploaded, and read"))
    sys.stdout.write(f"{PICTURE}\n")


if __name__ == "__main__":
    main()
