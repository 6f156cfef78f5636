"""Invite links: one spelling, read and written; what they hold is not repeated."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from client.crypto.secrets import InviteSecret
from client.errors import InputError
from client.links import Link, parse_link

VAULT = bytes(range(32))
SECRET = bytes(range(100, 132))
PIN = bytes(range(200, 232))
TEXT = f"sealroom://vault.example:8443/{VAULT.hex()}#" + ".".join(
    urlsafe_b64encode(each).rstrip(b"=").decode() for each in (SECRET, PIN)
)

BYTES = st.binary(min_size=32, max_size=32)
HOSTS = st.sampled_from(
    ["localhost", "a", "127.0.0.1:8443", "[::1]:1", "[2001:db8::7]", "vault-1.example.org:65535"]
)


def test_a_link_is_written_as_it_is_read() -> None:
    link = Link("vault.example:8443", VAULT, InviteSecret(SECRET), PIN)
    assert link.text() == TEXT
    assert parse_link(TEXT) == link
    assert link.url == "https://vault.example:8443"


@given(HOSTS, BYTES, BYTES, st.none() | BYTES)
def test_every_link_comes_back(host: str, vault: bytes, secret: bytes, pin: bytes | None) -> None:
    link = Link(host, vault, InviteSecret(secret), pin)
    assert parse_link(f"\n  {link.text()} ") == link


@pytest.mark.parametrize(
    "altered",
    [
        "",
        TEXT[:-1],
        TEXT[:-43],
        TEXT[:-45],
        TEXT + "A",
        TEXT + ".",
        "".join(TEXT.rsplit(".", 1)),
        TEXT.replace("sealroom", "https"),
        TEXT.replace("sealroom", "SEALROOM"),
        TEXT.replace("#", "/"),
        TEXT.replace("#", "?"),
        TEXT.replace(VAULT.hex(), VAULT.hex().upper()),
        TEXT.replace(VAULT.hex(), VAULT.hex()[:-2]),
        TEXT.replace(VAULT.hex(), VAULT.hex() + "00"),
        TEXT.replace(f"/{VAULT.hex()}", f"/v1/{VAULT.hex()}"),
        TEXT.replace("vault.example", "Vault.example"),
        TEXT.replace("vault.example", "user@vault.example"),
        TEXT.replace("vault.example:8443", ""),
        TEXT.replace("vault.example:8443", "a:b:c"),
        TEXT.replace("vault.example:8443", "vault.example:443"),  # left out, as requests do
        TEXT.replace("vault.example:8443", "vault.example:08443"),
        TEXT.replace("vault.example:8443", "vault.example:123456"),
        TEXT.replace("vault.example:8443", "vault.example:"),
        TEXT.replace("vault.example", "-vault.example"),
        TEXT.replace("vault.example", "vault.example/.."),
        TEXT.replace("vault.example", "vau\nlt.example"),
        TEXT.replace("vault.example", "b\u0430nk.example"),
        TEXT.replace("vault.example:8443", "[[::1]"),
        TEXT.replace("ZGVm", "ZGV+"),
        TEXT.replace("ZGVm", "ZGV="),
        TEXT.replace("ZGVm", "ZG Vm"),
        TEXT + "\n" + TEXT,
    ],
)
def test_what_is_no_whole_link_is_refused_without_being_repeated(altered: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_link(altered)
    said = f"{caught.value} {caught.value.hint}"
    assert not {part for part in (altered[-40:], altered[80:]) if part and part in said}


def test_stray_bits_in_the_last_letter_are_refused() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    accepted = []
    for letter in letters:
        try:
            accepted.append(parse_link(TEXT[:-1] + letter).text()[-1])
        except InputError:
            continue
    assert accepted == list(letters[::4])


@given(st.text(max_size=200))
@example("sealroom://")
def test_any_text_gives_a_link_or_an_input_error(text: str) -> None:
    try:
        link = parse_link(text)
    except InputError:
        return
    assert link.text() == text.strip()


@pytest.mark.threat("L5")
def test_a_link_does_not_print_its_secret() -> None:
    shown = repr(parse_link(TEXT))
    assert SECRET.hex() not in shown
    assert TEXT.partition("#")[2][:43] not in shown
    assert "InviteSecret" not in shown
