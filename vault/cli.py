"""The command `sealroom serve`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from protocol.errors import SealroomError
from vault.app import RunningServer, running
from vault.config import Config, InvalidConfig, read_limits
from vault.logs import configure_logging
from vault.tls import TOKEN_FILE

OTHER_HANDLES: Final = 128
"""Open files beside connections: the database's, sockets that listen, what starts with Python."""
STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ANOTHER_DIRECTORY: Final = (
    "Have the user that runs the server own it, or choose another directory with --data."
)
DEFAULT_LISTEN: Final = "127.0.0.1:8443"
DEFAULT_DATA: Final = Path("sealroom-data")
_Command = TypeVar("_Command", bound=Callable[..., Any])
_LISTEN: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]:\s]+):(?P<port>[0-9]{1,5})")


def data_option(told: str) -> Callable[[_Command], _Command]:
    """Give a command the option that says where the server's data is, and this help to it."""
    return click.option(
        "--data",
        "data_dir",
        default=DEFAULT_DATA,
        show_default=True,
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help=told,
    )


@click.command()
@click.option(
    "--listen",
    default=DEFAULT_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 takes any free one.",
)
@data_option("Where everything is kept; made if it is not there.")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST[:PORT]",
    help="A name by which clients reach this server; requests for others are refused. "
    "Can be given more than once.",
)
@click.option(
    "--tls-cert",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A certificate to use instead of the one that the server makes itself.",
)
@click.option(
    "--tls-key",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The certificate's key.",
)
@click.option(
    "--new-tls-key",
    is_flag=True,
    help="Make another TLS key where the one that members know was lost. Each has to follow with "
    "'sealroom vault move'.",
)
@click.option(
    "--limits",
    "limits_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A TOML file of rates, sizes and times other than the usual (docs/operating.md lists "
    "them), such as: acts_per_day = 20_000",
)
@click.option(
    "--open", "open_to_all", is_flag=True, help="Let anyone create vaults, without the token."
)
@click.pass_context
def serve(
    ctx: click.Context,
    listen: str,
    data_dir: Path,
    names: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    new_tls_key: bool,
    limits_file: Path | None,
    open_to_all: bool,
) -> None:
    """Run a server until it is told to stop (Ctrl-C, SIGTERM or SIGHUP).

    It keeps what members seal and can open none of it. The first start makes its keys and a
    token for creating vaults, and shows the token. The log goes to stderr, as JSON lines.

    Example:
      sealroom serve --listen 0.0.0.0:8443 --name vault.example.com:8443 --data /srv/sealroom
    """
    os.umask(0o077)
    # A core dump would hold the server's own keys.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    configure_logging()
    as_json = wants_json(ctx)
    try:
        with directory_blamed(data_dir):
            limits = {} if limits_file is None else read_limits(limits_file)
            config = replace(
                _config(listen, data_dir, names, open_to_all),
                cert_file=tls_cert,
                key_file=tls_key,
                new_tls_key=new_tls_key,
                **limits,
            )
            expect_handles(config.max_connections)
            asyncio.run(_serve(config, as_json=as_json))
    except SealroomError as error:
        if ctx.parent is not None:
            raise  # the root tells the errors of all its commands in one way
        _tell(error, as_json=as_json)
        sys.exit(1)


def expect_handles(connections: int) -> None:
    """Have the system let this process open so many connections, and its files.

    Raises:
        InvalidConfig: it does not.
    """
    wanted = connections + OTHER_HANDLES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise InvalidConfig(
            f"{connections:,} connections need {wanted:,} open files, and this process may have "
            f"{hard:,}",
            hint="Raise it (ulimit -n, LimitNOFILE), or lower max_connections with --limits.",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def directory_blamed(data_dir: Path) -> Iterator[None]:
    """Name the file where the system refuses one, or the directory: all that is opened is there."""
    try:
        yield
    except OSError as error:
        raise InvalidConfig(
            f"{error.filename or data_dir}: {error.strerror}", hint=ANOTHER_DIRECTORY
        ) from error


def _tell(error: SealroomError, *, as_json: bool) -> None:
    """Say an error as the root command does, where there is none."""
    if as_json:
        told = {"code": error.code, "message": str(error), "hint": error.hint}
        click.echo(json.dumps({"error": told}))
    click.echo(f"error: {error}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)


def _config(
    listen: str,
    data_dir: Path,
    names: tuple[str, ...],
    open_to_all: bool,
) -> Config:
    found = _LISTEN.fullmatch(listen)
    if found is None:
        raise InvalidConfig(f"{listen} is not HOST:PORT", hint="For example 127.0.0.1:8443.")
    hosts = ("localhost", "127.0.0.1", *(name.partition(":")[0] for name in names))
    return Config(
        data_dir=data_dir,
        host=found["host"].strip("[]"),
        port=int(found["port"]),
        open=open_to_all,
        hosts=tuple(dict.fromkeys(hosts)),
        authorities=tuple(name.removesuffix(":443") for name in names),
    )


async def _serve(config: Config, *, as_json: bool) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    async with running(config) as server:
        for number in STOPPING:
            loop.add_signal_handler(number, stopping.set)
        click.echo(_announcement(config, server, as_json=as_json))
        sys.stdout.flush()
        await stopping.wait()
        # Whoever asks a second time is not kept waiting.
        for number in STOPPING:
            loop.remove_signal_handler(number)


def _announcement(config: Config, server: RunningServer, *, as_json: bool) -> str:
    token_file = config.data_dir.resolve() / TOKEN_FILE
    url = reached_at(config, server.url)
    shown = server.token.reveal() if server.token.created and not config.open else None
    if as_json:
        return json.dumps(
            {
                "url": url,
                "pin": server.pin.hex(),
                "token": shown,
                "token_file": None if config.open else str(token_file),
                "ready": True,
            }
        )
    lines = [f"url:    {url}", f"pin:    {server.pin.hex()}"]
    if config.open:
        lines.append("token:  none needed, anyone may create vaults here")
    elif shown is None:
        lines.append(f"token:  in {token_file}")
    else:
        lines += [
            f"token:  {shown}",
            f"        (kept in {token_file}; whoever has it can create vaults here)",
        ]
    return "\n".join([*lines, "ready"])


def reached_at(config: Config, listening: str) -> str:
    """Return an address that this server answers: the first of its names, if it has any."""
    if config.authorities:
        return f"https://{config.authorities[0]}"
    if config.host in ("0.0.0.0", "::"):
        return f"https://localhost:{listening.rpartition(':')[2]}"
    return listening


def wants_json(ctx: click.Context) -> bool:
    """Tell whether the root command was given --json, however it keeps that."""
    root: Any = ctx.find_root().obj
    if isinstance(root, dict):
        return bool(root.get("json"))
    return bool(getattr(root, "json", False))
