"""The house rules that a machine can check (STYLE, ARCHITECTURE)."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from itertools import permutations
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

from protocol.labels import Label

REPO: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("protocol", "vault", "client")


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (REPO / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# --- which names of other people's code a module uses


@dataclass
class Names:
    """Every dotted name that a module takes from elsewhere, and where it took it first.

    `import a.b` and `from a import b` give `a.b`; a use of what they bound gives the whole
    chain of attributes after it. A module passed around as a value shows as its bare name,
    which no allow-list holds, so nothing can be reached through it unseen.
    """

    aliases: dict[str, str] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    imported: dict[str, int] = field(default_factory=dict)


def names_of(source: str) -> Names:
    tree = ast.parse(source)
    names = Names()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                names.aliases[bound] = alias.name if alias.asname else bound
                names.imported.setdefault(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            for alias in node.names:
                names.aliases[alias.asname or alias.name] = f"{origin}.{alias.name}"
                names.imported.setdefault(f"{origin}.{alias.name}", node.lineno)
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and id(node) not in inner:
            root, chain = _chain(node)
            if root in names.aliases:
                dotted = ".".join([names.aliases[root], *chain])
                names.used.setdefault(dotted, node.lineno)
            elif root in ("__import__", "eval", "exec", "compile"):
                names.used.setdefault(root, node.lineno)
    return names


def _chain(node: ast.expr) -> tuple[str | None, list[str]]:
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id if isinstance(node, ast.Name) else None), attributes[::-1]


# --- the server has no code that could decrypt

READS_CODE: Final = {
    "__import__", "builtins", "code", "compile", "ctypes", "eval", "exec", "importlib", "marshal",
    "pickle", "pkgutil", "runpy", "shelve",
}  # fmt: skip
CRYPTOGRAPHIC: Final = {"crypt", "hashlib", "hmac", "random", "secrets", "ssl"}
OPEN_STDLIB: Final = set(sys.stdlib_module_names) - READS_CODE - CRYPTOGRAPHIC

ED25519: Final = "nacl.bindings.crypto_core_ed25519_"
PROTOCOL_MAY: Final = {
    "hashlib.sha256",
    "hashlib.sha512",
    "hmac.compare_digest",
    "http_message_signatures.HTTPMessageVerifier",
    "http_message_signatures.HTTPSignatureAlgorithm",
    "http_message_signatures.HTTPSignatureKeyResolver",
    "http_message_signatures.exceptions.HTTPMessageSignaturesException",
    "msgpack.packb",
    "msgpack.unpackb",
    "nacl.bindings.crypto_scalarmult_ed25519_base_noclamp",
    "nacl.bindings.crypto_scalarmult_ed25519_noclamp",
    "nacl.exceptions.BadSignatureError",
    "nacl.exceptions.CryptoError",
    "nacl.signing.VerifyKey",
    ED25519 + "add",
    ED25519 + "is_valid_point",
    ED25519 + "scalar_negate",
    ED25519 + "scalar_reduce",
    ED25519 + "sub",
}
VAULT_MAY: Final = {
    "aiohttp",
    "aiosqlite",
    "click",
    "hashlib.sha256",
    "hmac.compare_digest",
    "secrets.token_bytes",
    "secrets.token_hex",
    "ssl.PROTOCOL_TLS_SERVER",
    "ssl.SSLContext",
    "ssl.SSLError",
    "ssl.TLSVersion",
}
# The server's own keys, for TLS and for checkpoints, live in one file.
SERVER_KEYS_IN: Final = "vault.tls"
SERVER_KEYS: Final = {
    "cryptography.hazmat.primitives.asymmetric.ec.SECP256R1",
    "cryptography.hazmat.primitives.asymmetric.ec.generate_private_key",
    "cryptography.hazmat.primitives.hashes.SHA256",
    "cryptography.hazmat.primitives.serialization",
    "cryptography.x509",
    "nacl.signing.SigningKey",
    "secrets.token_urlsafe",
}
NEVER: Final = re.compile(
    r"aead|aes|chacha|cipher|\bbox|secretbox|sealed|hpke|kem|x25519|curve25519|kx_|kdf|hkdf|pwhash"
    r"|argon|scrypt|fernet|encrypt|decrypt|keywrap|private|signingkey",
    re.IGNORECASE,
)


def refused_names(source: str, module: str, trees: Mapping[str, Names]) -> dict[str, int]:
    """Return each name outside the allow-list, with its line."""
    allowed = set(PROTOCOL_MAY)
    if module.startswith("vault"):
        allowed |= VAULT_MAY
    if module == SERVER_KEYS_IN:
        allowed |= SERVER_KEYS
    names = names_of(source)
    refused = {}
    for imported, line in names.imported.items():
        origin = through_our_own(imported, trees)
        if not (within(origin, allowed) or leads_to(origin, allowed)):
            refused[origin] = line
    for used, line in names.used.items():
        origin = through_our_own(used, trees)
        if not within(origin, allowed):
            refused[origin] = line
    return refused


def through_our_own(name: str, trees: Mapping[str, Names]) -> str:
    """Follow a name that one of our modules only passes on to where that module took it."""
    while name.partition(".")[0] in PACKAGES:
        owner = max(
            (module for module in trees if f"{name}.".startswith(f"{module}.")), key=len, default=""
        )
        first, dot, rest = name.removeprefix(f"{owner}.").partition(".")
        if not owner or first not in trees[owner].aliases:
            return name
        name = trees[owner].aliases[first] + dot + rest
    return name


def within(name: str, allowed: set[str]) -> bool:
    root = name.partition(".")[0]
    if name == "sys.modules" or name.startswith("sys.modules."):
        return False
    if root in OPEN_STDLIB or root in ("protocol", "vault"):
        return not name.endswith(".*")
    return any(f"{name}.".startswith(f"{entry}.") for entry in allowed)


def leads_to(name: str, allowed: set[str]) -> bool:
    return any(entry.startswith(f"{name}.") for entry in allowed)


@cache
def our_names() -> dict[str, Names]:
    paths = sources("protocol", "vault")
    return {module_name(path): names_of(path.read_text(encoding="utf-8")) for path in paths}


@pytest.mark.parametrize("path", sources("protocol", "vault"), ids=module_name)
def test_the_server_names_nothing_that_could_decrypt(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert refused_names(source, module_name(path), our_names()) == {}


def test_the_allow_list_itself_names_no_cipher_and_no_private_key() -> None:
    secret = {name for name in PROTOCOL_MAY | VAULT_MAY | SERVER_KEYS if NEVER.search(name)}
    assert secret == {
        "cryptography.hazmat.primitives.asymmetric.ec.generate_private_key",
        "nacl.signing.SigningKey",
    }
    assert secret <= SERVER_KEYS


def test_no_allowed_name_is_there_for_nothing() -> None:
    seen = set()
    for names in our_names().values():
        seen |= {through_our_own(name, our_names()) for name in (*names.imported, *names.used)}
    waiting = {"aiohttp", "click"}  # for the application, which uses both
    entries = (PROTOCOL_MAY | VAULT_MAY | SERVER_KEYS) - waiting
    assert {entry for entry in entries if not any(within(name, {entry}) for name in seen)} == set()


EVASIONS: Final = [
    ("from cryptography.hazmat.primitives.ciphers.aead import AESGCM", "AESGCM"),
    ("import cryptography.hazmat.primitives.ciphers.aead", "aead"),
    ("import nacl.secret", "nacl.secret"),
    ("import nacl.bindings\nnacl.bindings.crypto_aead_aes256gcm_encrypt()", "aes256gcm_encrypt"),
    ("import nacl.bindings as b\nb.crypto_box_seal_open()", "crypto_box_seal_open"),
    ("from nacl import bindings\nbindings.crypto_kx_keypair", "crypto_kx_keypair"),
    ("from nacl import bindings\nx = bindings\nx.crypto_box()", "nacl.bindings"),
    ("from nacl import bindings\ngetattr(bindings, 'crypto_' + 'box')", "nacl.bindings"),
    ("from nacl.bindings import *", r"nacl\.bindings\.\*"),
    ("from protocol.group import *", r"protocol\.group\.\*"),
    ("from protocol.group import bindings\nbindings.crypto_box()", r"nacl\.bindings\.crypto_box"),
    ("import protocol.group as g\ng.bindings.crypto_box()", r"nacl\.bindings\.crypto_box"),
    ("from nacl.signing import SigningKey", "SigningKey"),
    ("def f():\n    import nacl.public", "nacl.public"),
    ("import importlib\nimportlib.import_module('nacl.' + 'secret')", "importlib"),
    ("__import__('nacl.secret')", "__import__"),
    ("eval('1')", "eval"),
    ("import sys\nsys.modules['nacl.secret']", "sys.modules"),
    ("from .cells import seal", "cells"),
    ("import client.keyring", "client.keyring"),
    ("import hashlib\nhashlib.scrypt(b'')", "hashlib.scrypt"),
    ("import hmac\nhmac.new(b'', b'', 'sha256')", "hmac.new"),
    ("import ctypes", "ctypes"),
]


@pytest.mark.parametrize(("source", "name"), EVASIONS)
@pytest.mark.parametrize("module", ["protocol.new", "vault.new"])
def test_the_check_finds_what_it_must(source: str, name: str, module: str) -> None:
    found = refused_names(source, module, our_names())
    assert any(re.search(name, refused) for refused in found), found


HONEST: Final = [
    "import hashlib\nhashlib.sha256(b'').digest()",
    "from hashlib import sha256\nsha256(b'')",
    "from nacl import bindings\nbindings.crypto_core_ed25519_add(b'', b'')",
    "import nacl.signing\nnacl.signing.VerifyKey(b'').verify(b'')",
    "from protocol.labels import Label, digest\ndigest(Label.ACT)",
    "import json, os.path\njson.dumps(os.path.sep)",
]


@pytest.mark.parametrize("source", HONEST)
def test_the_check_lets_the_rest_through(source: str) -> None:
    assert refused_names(source, "protocol.new", our_names()) == {}


def test_the_servers_keys_are_for_one_file_only() -> None:
    source = "from nacl.signing import SigningKey\nSigningKey(b'')"
    assert refused_names(source, SERVER_KEYS_IN, our_names()) == {}
    assert refused_names(source, "vault.service", our_names())
    assert refused_names(source, "protocol.tls", our_names())


# --- the protocol does no I/O

PURE: Final = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses",
    "enum", "functools", "hashlib", "hmac", "itertools", "math", "operator", "re", "string",
    "struct", "types", "typing",
}  # fmt: skip
PURE_OTHERS: Final = {"http_message_signatures", "msgpack", "nacl", "protocol"}
TOUCHING: Final = {"breakpoint", "input", "open", "print"}


def impure_names(source: str) -> set[str]:
    names = names_of(source)
    roots = {name.partition(".")[0] for name in names.imported}
    called = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    return (roots - PURE - PURE_OTHERS) | (called & TOUCHING)


@pytest.mark.parametrize("path", sources("protocol"), ids=module_name)
def test_the_protocol_touches_nothing_outside_itself(path: Path) -> None:
    assert impure_names(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "import asyncio",
        "from pathlib import Path",
        "from time import time",
        "import random",
        "import secrets",
        "import os",
        "from datetime import datetime",
        "import logging",
        "def f():\n    return open('x')",
        "print(1)",
    ],
)
def test_the_check_of_the_protocol_finds_what_it_must(source: str) -> None:
    assert impure_names(source)


# --- labels


def test_no_label_is_another_or_its_beginning() -> None:
    values = [label.value for label in Label.__members__.values()]
    assert len(values) == len(set(values)) == len(Label)
    for one, other in permutations(values, 2):
        assert not one.startswith(other), (one, other)


def test_labels_are_written_nowhere_else() -> None:
    literal = re.compile(r"""b["']sealroom/""")
    paths = [path for path in sources(*PACKAGES) if module_name(path) != "protocol.labels"]
    found = [p.name for p in paths if literal.search(p.read_text(encoding="utf-8"))]
    assert found == []


# --- documentation


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Yield the public functions, classes and methods that have no docstring.

    A method that a base class of the same module has too is documented there, if anywhere.
    """
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in _public(tree.body):
        if not ast.get_docstring(node):
            yield node.name
        if isinstance(node, ast.ClassDef):
            inherited = _inherited(node, classes)
            for inner in _public(node.body):
                if not ast.get_docstring(inner) and inner.name not in inherited:
                    yield f"{node.name}.{inner.name}"


def _inherited(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> set[str]:
    names = set()
    for base in node.bases:
        owner = classes.get(ast.unparse(base).partition("[")[0])
        if owner is not None:
            names |= {inner.name for inner in _public(owner.body)} | _inherited(owner, classes)
    return names


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _public(body: list[ast.stmt]) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_") and not _repeats(node):
            yield node


def _repeats(node: Definition) -> bool:
    """Overloads, setters and overrides are documented where the thing itself is."""
    marks = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(marks & {"overload", "override", "setter"})


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=module_name)
def test_everything_public_has_a_docstring(path: Path) -> None:
    if any(part.startswith("_") and part != "__init__.py" for part in path.parts):
        pytest.skip("a private module")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(undocumented(tree)) == []
    assert ast.get_docstring(tree) or not tree.body, "the module says nothing of itself"


def test_the_check_of_docstrings_finds_what_it_must() -> None:
    source = (
        'def a(): ...\ndef _b(): ...\nclass C:\n    """C."""\n    def d(self): ...\n'
        "    def __eq__(self, o): ...\n    def _e(self): ...\nasync def f(): ...\n"
        'class K(C):\n    """K."""\n    def d(self): ...\n    def k(self): ...\n'
        '@overload\ndef g(): ...\ndef h():\n    """H."""\n    def inner(): ...\n'
    )
    assert list(undocumented(ast.parse(source))) == ["a", "C.d", "f", "K.k"]


# --- what is tracked


def tracked() -> list[Path]:
    """List the files that a commit would hold."""
    if shutil.which("git") is None or not (REPO / ".git").exists():
        pytest.skip("not a git work tree")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPO, check=True, capture_output=True).stdout
    paths = [REPO / name.decode() for name in listed.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


# Written in halves, so that this file does not find itself.
MACHINE: Final = re.compile(
    rb"(?<![\w.~/-])/(?:work|root|tmp|opt|mnt|home|Users)" + rb"/[\w.-]+|file:" + rb"//"
)


def test_no_tracked_file_names_a_machine_of_ours() -> None:
    found = [
        (path.relative_to(REPO).as_posix(), match.group())
        for path in tracked()
        for match in MACHINE.finditer(path.read_bytes())
    ]
    assert found == []


@pytest.mark.parametrize("path", ["work" + "/x", "tmp" + "/x", "home" + "/ann", "Users" + "/ann"])
def test_the_check_of_paths_finds_what_it_must(path: str) -> None:
    assert MACHINE.search(b'cd "/' + path.encode())
    assert not MACHINE.search(b"https://example.com/" + path.encode())
    assert not MACHINE.search(b"tests/" + path.encode())


# --- packaging


@cache
def project() -> dict[str, object]:
    parsed = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    section = parsed["project"]
    assert isinstance(section, dict)
    return section


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in sources(*PACKAGES)}
    assert [folder.name for folder in folders if not (folder / "__init__.py").is_file()] == []
    assert all((REPO / package / "py.typed").is_file() for package in PACKAGES)


PIN: Final = re.compile(r"([a-z0-9-]+)==([0-9][\w.]*)(?: ; [^\\]+)? \\")
HASH: Final = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def pins(lock: str = "requirements.lock") -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in (REPO / lock).read_text(encoding="utf-8").splitlines():
        if pin := PIN.fullmatch(line):
            found.setdefault(pin[1], set()).add(pin[2])
        else:
            # nothing else may stand there: no index, no option, no file, no url
            assert HASH.fullmatch(line) or line.startswith("# "), line
    return found


def test_the_lock_satisfies_every_requirement() -> None:
    section = project()
    extras = section["optional-dependencies"]
    assert isinstance(extras, dict)
    direct = section["dependencies"]
    assert isinstance(direct, list)
    expect_pinned([text for group in (direct, *extras.values()) for text in group], pins())


def test_the_lock_of_what_makes_releases_satisfies_it() -> None:
    parsed = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    expect_pinned(parsed["dependency-groups"]["release"], pins("release/requirements.lock"))


def expect_pinned(wanted: list[str], locked: Mapping[str, set[str]]) -> None:
    for requirement in map(Requirement, wanted):
        versions = locked[requirement.name.lower()]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_the_server_is_an_extra_that_the_client_does_without() -> None:
    direct = project()["dependencies"]
    assert isinstance(direct, list)
    extras = project()["optional-dependencies"]
    assert isinstance(extras, dict)
    tables = [*extras["excel"], *extras["sql"]]
    base = {Requirement(text).name.lower().replace("-", "_") for text in direct + tables}
    roots = set()
    for path in sources("protocol", "client"):
        names = names_of(path.read_text(encoding="utf-8"))
        roots |= {name.partition(".")[0].lower() for name in names.imported}
    ours = {"protocol", "client"} | {name.lower() for name in sys.stdlib_module_names}
    assert roots - ours - base - {"nacl", "cffi"} == set()  # both come with PyNaCl


def test_the_command_is_installed_by_entry_points() -> None:
    section = project()
    assert section["scripts"] == {"sealroom": "client.cli.main:main"}
    assert section["entry-points"] == {
        "sealroom.commands": {"serve": "vault.cli:serve", "store": "vault.store_cli:store"}
    }
    for found in entry_points(group="sealroom.commands"):
        assert callable(found.load()), found.name
