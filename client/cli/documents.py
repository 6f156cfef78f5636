"""`sealroom attach` and `sealroom documents`: files that go with the tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from client.cli import options
from client.cli.exits import FAILED, UNTRUE
from client.cli.invocation import Invocation, confirmed
from client.cli.meant import Choice
from client.cli.output import (
    Cell,
    counted,
    duration,
    note,
    print_facts,
    print_table,
    say,
    size,
    visible,
)
from client.cli.progress import progress_bar
from client.cli.vault import closed_text
from client.results.documents import AttachResult, DocumentInfo, GetAllResult, NotGot, RemoveResult

if TYPE_CHECKING:
    from client.vault import Vault

GOES_ON = "The same command goes on where it stopped."
WAITS = "What was verified waits in a hidden .part file; the same command goes on there."


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--class",
    "field_class",
    type=Choice(options.CLASSES),
    default="sensitive",
    show_default=True,
    help="The class of all of them; grants are by class.",
)
@click.option(
    "--name", metavar="NAME", help="What to call it, if not as the file is called; for one file."
)
@click.pass_obj
def attach(
    invocation: Invocation, files: tuple[Path, ...], field_class: str, name: str | None
) -> None:
    """Seal files of any size, and commit them as documents beside the tables.

    Whoever was granted the class can open them; names, sizes and types are sealed too. The
    server sees how large they are, to a mebibyte or a power of two. What is there already is
    passed over, and after any interruption the same command goes on where it stopped.

    Example:
      sealroom attach contracts/*.pdf --class core
      sealroom attach lease.pdf --name "Lease, Berlin.pdf"
    """
    if name is not None and len(files) > 1:
        raise click.UsageError("--name goes with one file")
    called = [file.name for file in files]
    if len(set(called)) < len(called):
        raise click.UsageError("two files of one name; attach one of them with --name")
    from client.documents.local import LocalFile
    from client.vault import field_class as parsed

    for file in files:
        with LocalFile(file):
            pass  # whatever cannot be read stops before the first one is sent
    with progress_bar() as on_progress:

        async def attaching(vault: Vault) -> list[AttachResult]:
            return [
                await vault.attach(
                    file, field_class=parsed(field_class), name=name, on_progress=on_progress
                )
                for file in files
            ]

        done = invocation.in_vault(attaching, stopped=GOES_ON)
    invocation.show({"documents": done}, lambda: _print_attached(done))


@click.group()
def documents() -> None:
    """List the vault's documents, get them, or remove one.

    Example:
      sealroom documents list
      sealroom documents get lease.pdf
    """


@documents.command(name="list")
@click.pass_obj
def list_documents(invocation: Invocation) -> None:
    """List the documents whose names you may know.

    Example:
      sealroom documents list
    """

    async def listed(vault: Vault) -> tuple[tuple[DocumentInfo, ...], int]:
        found = await vault.documents()
        # Whose names are closed may be documents too: then nobody is told that there are none.
        return found, 0 if found else sum(each.closed for each in await vault.collections())

    found, closed = invocation.in_vault(listed)
    invocation.show({"documents": found}, lambda: _print_list(found, closed))


@documents.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every document that you may open.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to write, for one document; its own name in this folder if not given.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder for documents under their own names, made if need be; this one if not given.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.pass_context
def get(
    context: click.Context,
    names: tuple[str, ...],
    everything: bool,
    out: Path | None,
    into: Path | None,
    overwrite: bool,
) -> None:
    """Write documents to files, by name, id, or the beginning of an id.

    A file appears when all of it was verified, or not at all: every chunk is the one that was
    committed in its place, and the whole is the file that was attached. Of several documents
    those are written that can be; the others are listed, and the command ends with an error.
    Where two have one name, neither is written.

    Example:
      sealroom documents get lease.pdf
      sealroom documents get lease.pdf --out berlin/lease.pdf --overwrite
      sealroom documents get --all --into contracts
    """
    if everything == bool(names):
        raise click.UsageError("name documents, or give --all")
    if out is not None and (into is not None or len(names) != 1):
        raise click.UsageError("--out goes with one document, and not with --into")
    invocation: Invocation = context.obj
    with progress_bar() as on_progress:

        async def getting(vault: Vault) -> GetAllResult:
            folder = into or Path()
            if len(names) != 1:
                return await vault.get_documents(
                    names or None, folder=folder, overwrite=overwrite, on_progress=on_progress
                )
            got = await vault.get_document(
                names[0], path=out, folder=folder, overwrite=overwrite, on_progress=on_progress
            )
            return GetAllResult((got,), ())

        done = invocation.in_vault(getting, stopped=WAITS)
    invocation.show(done, lambda: _print_got(done))
    if done.failed:
        context.exit(UNTRUE if any(each.untrue for each in done.failed) else FAILED)


@documents.command()
@click.argument("name")
@options.reason_option
@options.yes_option
@click.pass_obj
def remove(invocation: Invocation, name: str, reason: str, yes: bool) -> None:
    """Remove a document for ever: its content goes from every epoch, and its name after it.

    It needs no key of the content. The server overwrites what it deletes in its own files;
    backups, and whoever has fetched the document, keep what they have.

    Example:
      sealroom documents remove lease.pdf --reason request
    """
    from protocol.acts import Reason

    confirmed(f"Remove {visible(name)} for ever?", yes)
    with progress_bar() as on_progress:
        done = invocation.in_vault(
            lambda vault: vault.remove_document(
                name, reason=Reason(reason), on_progress=on_progress
            ),
            stopped="'sealroom documents list' shows what is left; the same command does the rest.",
        )
    invocation.show(done, lambda: _print_removed(done))


# --- printing


def _print_attached(done: list[AttachResult]) -> None:
    for each in done:
        found = each.document
        how = "was there already" if each.already else f"attached as {found.field_class}"
        resumed = f"{counted(each.resumed_batches, 'batch', 'batches')} were there already"
        say(f"{_name(found)}: {how}")
        print_facts(
            [
                ("size", size(found.size or 0)),
                ("sealed", size(found.stored_bytes)),
                ("sha256", found.sha256),
                ("resumed", resumed if each.resumed_batches else None),
                ("took", duration(each.seconds)),
            ]
        )


def _print_list(found: tuple[DocumentInfo, ...], closed: int) -> None:
    if closed:
        say(f"no documents whose names you may know; {closed_text(closed)}")
        return
    if not found:
        say("no documents yet")
        return
    headers = ("document", "class", "size", "by", "you", "id")
    print_table(headers, [_row(each) for each in found])


def _row(found: DocumentInfo) -> tuple[Cell, ...]:
    you = "may get it" if found.readable else "-"
    return (
        found.name or "-",
        found.field_class,
        "-" if found.size is None else size(found.size),
        found.author_name or found.author[:16],
        you if found.state == "whole" else found.state,
        found.document_id[:16],
    )


def _print_got(done: GetAllResult) -> None:
    for each in done.documents:
        say(f"{visible(each.name)}: verified and written to {visible(each.path)}")
        print_facts(
            [
                ("size", size(each.size)),
                ("sha256", each.sha256),
                ("resumed", f"after {size(each.resumed_bytes)}" if each.resumed_bytes else None),
                ("took", duration(each.seconds)),
            ]
        )
    if done.failed:
        _tell_what_failed(done)
    elif not done.documents:
        say("no documents that you may get")


def _tell_what_failed(done: GetAllResult) -> None:
    wanted = counted(len(done.documents) + len(done.failed), "document")
    note(f"error: of {wanted}, {len(done.failed):,} not written")
    for each in done.failed:
        by = visible(each.author_name or each.author[:16])
        note(f"  {_name(each)} ({each.document_id[:16]}, by {by}): {visible(each.message)}")
        if each.hint:
            note(f"  hint: {visible(each.hint)}")


def _print_removed(done: RemoveResult) -> None:
    leaves = ", ".join(f"{index:,}" for index in done.acts)
    say(f"removed: {visible(done.name or done.document_id[:16])}")
    print_facts(
        [
            ("log", f"{'leaf' if len(done.acts) == 1 else 'leaves'} {leaves}" if leaves else None),
            ("took", duration(done.seconds)),
        ]
    )


def _name(found: DocumentInfo | NotGot) -> str:
    return visible(found.name or found.document_id[:16])
