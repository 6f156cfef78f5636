"""One run of the command line: which home and vault, and how it works in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import click

from client.cli import advice
from client.cli.exits import from_server
from client.cli.output import note, print_json, rows_of_words, visible
from client.errors import InputError, Interrupted, Refused
from client.places import default_home
from protocol.errors import NoKeyring, PinMismatch, WrongPassphrase

if TYPE_CHECKING:
    from client.folder import Folder
    from client.home import Home
    from client.patience import Waiting
    from client.results.vaults import NewKeys
    from client.vault import Vault

T = TypeVar("T")

WAIT_MINUTES: Final = 10
MOST_LEAVES: Final = 1_048_576
WHAT_LANDED: Final = "'sealroom log' shows what landed; the rest can be done again."


class MakeHome(Protocol):
    """Makes the home in a folder; the seam at which tests put another."""

    def __call__(self, directory: Path, passphrase: Callable[[], str]) -> Home:
        """Make the home; `passphrase` is asked for when the keyring is first needed."""


def home_of(
    directory: Path,
    passphrase: Callable[[], str],
    *,
    wait_minutes: int = WAIT_MINUTES,
    most_leaves: int = MOST_LEAVES,
) -> Home:
    """Return the home in a folder; servers that stop answering are waited for, and it is said."""
    from client.home import Home
    from client.keeper import https_waiting

    connect = https_waiting(60.0 * wait_minutes, _tell)
    return Home(directory, passphrase, connect=connect, most_leaves=most_leaves)


def _tell(waiting: Waiting) -> None:
    from client.patience import in_words

    if waiting.over:
        note(f"the server answers again, after {in_words(waiting.seconds)}")
    else:
        most = in_words(waiting.seconds)
        note(f"{visible(waiting.why)}: trying again for up to {most}; Ctrl-C stops")


@dataclass(frozen=True)
class Invocation:
    """What the options before the command said; every command gets it."""

    named_home: Path | None
    vault: str | None
    json: bool
    passphrase_file: Path | None
    make_home: MakeHome
    waiting: list[NewKeys] = field(default_factory=list)
    """Which fields waited for new keys when the command ended, and what this member can do."""

    @cached_property
    def directory(self) -> Path:
        """Where the home is.

        Raises:
            InputError: there is a file in its place.
        """
        home = self.named_home or default_home()
        if home.is_file():
            raise InputError(
                f"{home} is a file, and a home is a folder",
                hint="Name the folder that holds the keyring, with --home or SEALROOM_HOME.",
            )
        return home

    @cached_property
    def folder(self) -> Folder:
        """The home, for what needs no server and should not wait for what does."""
        from client.folder import Folder

        return Folder(self.directory, lambda: self.passphrase)

    @cached_property
    def home(self) -> Home:
        """The home; nothing is read and nobody asked before it is used."""
        return self.make_home(self.directory, lambda: self.passphrase)

    @cached_property
    def passphrase(self) -> str:
        """The passphrase, asked for once; twice where it will protect a new keyring.

        Raises:
            InputError: nobody is there to ask, or the file cannot be read.
            WrongPassphrase: two different ones were typed for a new keyring.
        """
        if self.passphrase_file is not None:
            return _first_line(self.passphrase_file)
        given = os.environ.get("SEALROOM_PASSPHRASE")
        return given or _asked(new=not self.folder.keyring_path.exists())

    def unlock(self) -> None:
        """Ask for the passphrase now, and open the keyring if there is one.

        Whatever waits for a person has to be done before a coroutine is run: inside, the first
        Ctrl-C would only be noted.
        """
        _ = self.home.keyring if self.home.keyring_path.exists() else self.passphrase

    def demand_keyring(self) -> None:
        """Say what to do in a home that has no keyring yet, before anybody is asked for one's.

        Raises:
            NoKeyring: there is none.
        """
        path = self.folder.keyring_path
        if not path.exists():
            raise NoKeyring(
                f"there is no keyring at {path}",
                hint="'sealroom vault create' or 'sealroom join' makes one; --home names another.",
            )

    def work(self, doing: Callable[[], Coroutine[Any, Any, T]], *, stopped: str = WHAT_LANDED) -> T:
        """Run something that talks to a server; `stopped` says how to go on after Ctrl-C.

        Raises:
            Interrupted: the user stopped it.
            UnusableAnswer: the server sent what is malformed.
        """
        import asyncio

        self.unlock()
        try:
            with from_server():
                return asyncio.run(doing())
        except KeyboardInterrupt:
            raise Interrupted("stopped", hint=stopped) from None

    def in_vault(self, doing: Callable[[Vault], Awaitable[T]], *, stopped: str = WHAT_LANDED) -> T:
        """Run something in the vault that --vault names, or in the only one there is."""
        self.demand_keyring()

        async def opened() -> T:
            async with self.home.vault(self.vault) as vault:
                done = await doing(vault)
                self.waiting[:] = [await vault.new_keys()]
                return done

        return self.work(opened, stopped=stopped)

    def offer_new_keys(self) -> None:
        """Offer to replace keys that somebody who was removed may have, or say how to."""
        new = next(iter(self.waiting), None)
        if new is None or new.way is None or self.json:
            return
        what = visible(advice.what_waits(new))
        # A takeover seals everything anew: nobody is led into that by a question on the way.
        if new.way == advice.TAKEOVER or not somebody_there():
            note(f"{what}: {visible(advice.which_way(new))}.")
            return
        try:
            sure = click.confirm(f"{what}. Replace now?", default=True, err=True)
        except click.Abort:
            sure = False  # what the command was for is done
        if sure:
            done = self.in_vault(lambda vault: vault.rotate(tainted=True))
            where = "by somebody else" if done.index is None else f"leaf {done.index:,} of the log"
            note(f"replaced ({where})")
            self.tell_what_is_left()

    def tell_what_is_left(self) -> None:
        """Say who could open what is stored, after new keys were made for what is to come."""
        left = next((advice.what_is_left(each) for each in self.waiting), None)
        if left is not None:
            self.aside(visible(f"{left[:1].upper()}{left[1:]}."))

    def show(self, result: object, for_people: Callable[[], None]) -> None:
        """Print a result: as one JSON document with --json, else as the function prints it."""
        if self.json:
            print_json(result)
        else:
            for_people()

    def tell_of_namesakes(self, title: str) -> None:
        """Say that several vaults of this home have a title, once one more has it."""
        count = sum(each.title == title for each in self.home.vaults())
        if title and count > 1:
            self.aside(
                f"{count:,} vaults of this home are called {visible(title)!r} now: name them by "
                "their ids, as 'sealroom vault list' shows them."
            )

    def aside(self, text: str) -> None:
        """Print a line on stderr for people, who see no use in it beside JSON."""
        if not self.json:
            note(text)


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as stream:
            line = stream.readline().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        line = ""
    except OSError as error:
        hint = f"Is {path} right?"
        if path.is_dir():
            hint = f"{path} is a folder: name a file in it."
        raise InputError(
            f"the passphrase file cannot be read: {error.strerror}", hint=hint
        ) from None
    if not line:
        raise InputError("the passphrase file has no passphrase in its first line")
    return line


def _asked(*, new: bool) -> str:
    if not _has_terminal():
        raise InputError(
            "a passphrase is needed, and there is no terminal to ask at",
            hint="Give --passphrase-file FILE, or set SEALROOM_PASSPHRASE.",
        )
    typed = _hidden("New passphrase for this home: " if new else "Passphrase: ")
    if new and _hidden("The same again: ") != typed:
        raise WrongPassphrase("the two passphrases differ", hint="Run the command again.")
    return typed


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _hidden(prompt: str) -> str:
    from getpass import getpass

    try:
        return getpass(prompt)
    except (EOFError, KeyboardInterrupt):
        raise Interrupted("stopped", hint="Nothing was done.") from None


# --- comparing words


def somebody_there() -> bool:
    """Say whether there is a person to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str, yes: bool) -> None:
    """Ask before something that cannot be undone; in a script --yes says so.

    Raises:
        InputError: nobody is there to ask.
        Interrupted: the answer is no.
    """
    if yes:
        return
    if not somebody_there():
        raise InputError("this cannot be undone", hint="Say that you mean it, with --yes.")
    try:
        sure = click.confirm(question, err=True)
    except click.Abort:
        sure = False
    if not sure:
        raise Interrupted("stopped", hint="Nothing was done.")


def compared(attempt: Callable[[str | None], T], words: Callable[[], str]) -> T:
    """Try; where that is refused for want of a comparison, ask the person there, and try again.

    `attempt` is told the words that were compared just now, None at first, and `words` returns
    them. They are compared with those of whom the name leads to then: it may be changed meanwhile.

    Raises:
        Refused: they were not compared, and nobody is there to ask.
        PinMismatch: they are not the same.
    """
    try:
        return attempt(None)
    except Refused as refused:
        if refused.refusal != "not_compared" or not somebody_there():
            raise
    heard = words()
    ask_whether_same(heard)
    return attempt(heard)


def compared_with_each(
    attempt: Callable[[Mapping[str, str]], T], words: Callable[[], Mapping[str, str]]
) -> T:
    """Do as `compared` where several people's words count: `attempt` is told those compared now.

    `words` returns them by name, of those with whom they were never compared.

    Raises:
        Refused: some were not compared, and nobody is there to ask.
        PinMismatch: somebody's are not the same.
    """
    try:
        return attempt({})
    except Refused as refused:
        if refused.refusal != "not_compared" or not somebody_there():
            raise
    open_ones = words()
    for who, each in open_ones.items():
        ask_whether_same(each, who)
    return attempt(open_ones)


def ask_whether_same(words: str, who: str = "the other person") -> None:
    """Show the twelve words and ask whether they are those that the other person reads out.

    Raises:
        PinMismatch: they are not the same.
    """
    note(f"Compare these words with {visible(who)}, by voice or in person:")
    note("")
    for row in rows_of_words(words):
        note(f"    {row}")
    note("")
    try:
        same = click.confirm(f"Does {visible(who)} read out the same words?", err=True)
    except click.Abort:
        raise Interrupted("stopped", hint="The words were not compared.") from None
    if not same:
        raise PinMismatch(
            "the words are not the same",
            hint="Words differ for each pair: read each other's row of 'sealroom members'. "
            "If they still differ, do not go on: somebody is in between.",
        )
