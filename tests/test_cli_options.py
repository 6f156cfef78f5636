"""What people type on the command line, as values."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cli import options
from client.cli.invites import INVITED_ROLES
from client.errors import InputError
from client.vault import DATA_CLASSES
from protocol.acts import Reason, Role
from protocol.errors import MalformedMessage


def test_the_lists_that_are_typed_out_are_those_of_the_protocol() -> None:
    assert list(options.ROLES) == [role.value for role in Role]
    assert list(options.REASONS) == [reason.value for reason in Reason]
    assert list(options.CLASSES) == [each.name.lower() for each in DATA_CLASSES]
    assert set(options.ROLES) - set(INVITED_ROLES) == {"owner"}


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("a", ("a",)),
        ("a,b, c", ("a", "b", "c")),
        ('"Last, First",age', ("Last, First", "age")),
        ('"say ""hi"""', ('say "hi"',)),
        ("a b", ("a b",)),
    ],
)
def test_names_in_a_list(typed: str, names: tuple[str, ...]) -> None:
    assert options.names(typed) == names


@pytest.mark.parametrize("typed", ["", ",", "a,,b", "a,", '"a', 'a\nb"'])
def test_lists_that_are_refused(typed: str) -> None:
    with pytest.raises(click.BadParameter):
        options.names(typed)


def test_a_name_listed_twice_counts_once() -> None:
    assert options.joined([("b", "a"), ("a", "c")]) == ("b", "a", "c")
    assert options.joined([]) == ()


def test_classes_are_general_sensitive_and_core() -> None:
    assert options.classes("core, general") == ("core", "general")
    with pytest.raises(click.BadParameter, match="'people' is not one of"):
        options.classes("general,people")
    assert options.field_classes([("core",), ("core", "general")]) == (
        DATA_CLASSES[2],
        DATA_CLASSES[0],
    )


@pytest.mark.parametrize(
    ("typed", "days"),
    [("14d", 14), ("36h", 1.5), ("2w", 14), (" 1d ", 1), ("30m", 1 / 48), ("86400s", 1)],
)
def test_spans_are_in_days(typed: str, days: float) -> None:
    assert options.span(typed) == days


@pytest.mark.parametrize("typed", ["", "14", "d", "0d", "-1d", "1.5d", "1 d", "1y", "١d", "1dd"])
def test_spans_that_are_refused(typed: str) -> None:
    with pytest.raises(click.BadParameter, match="14d"):
        options.span(typed)


@given(st.text(min_size=1), st.sampled_from(options.CLASSES))
def test_a_class_goes_to_the_whole_name_before_it(field: str, field_class: str) -> None:
    assert options.class_of(f"{field}={field_class}") == (field, field_class)


@pytest.mark.parametrize("typed", ["a", "a=", "=core", "a=secret", "a=Core", "core"])
def test_classes_of_fields_that_are_refused(typed: str) -> None:
    with pytest.raises(click.BadParameter, match="FIELD="):
        options.class_of(typed)


@pytest.mark.parametrize("typed", ["", "  ", "n" * 201, "\udcff"])
def test_names_that_are_refused(typed: str) -> None:
    with pytest.raises(click.BadParameter):
        options.name(typed)


def test_names_lose_the_spaces_around_them() -> None:
    assert options.name("  Ann O'Neil ") == "Ann O'Neil"
    assert options.name("n" * 200) == "n" * 200


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("localhost:8443", "https://localhost:8443"),
        ("https://localhost:8443", "https://localhost:8443"),
        (" Vault.Example.COM ", "https://vault.example.com"),
        ("https://vault.example.com/", "https://vault.example.com"),
        ("[::1]:8443", "https://[::1]:8443"),
        ("10.0.0.1:1", "https://10.0.0.1:1"),
    ],
)
def test_addresses_of_servers(typed: str, url: str) -> None:
    assert options.server_url(typed) == url


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "http://localhost:8443",
        "ftp://x",
        "localhost:notaport",
        "localhost:0",
        "localhost:70000",
        "localhost/path",
        "localhost?x=1",
        "localhost#x",
        "me@localhost",
        "local host",
        "[::1",
        "sealroom://h/v",
    ],
)
def test_addresses_that_are_refused(typed: str) -> None:
    with pytest.raises(InputError) as caught:
        options.server_url(typed)
    assert caught.value.hint


def test_pins() -> None:
    assert options.tls_pin(None) is None
    assert options.tls_pin("AB" * 32) == b"\xab" * 32
    assert options.tls_pin(":".join(["0f"] * 32)) == b"\x0f" * 32
    for typed in ("", "ab", "zz" * 32, "ab" * 33):
        with pytest.raises(InputError, match="whole pin"):
            options.tls_pin(typed)


def test_words_are_checked_before_anything_is_done() -> None:
    assert options.checked_words(None) is None
    assert options.checked_words("ABAN " * 12) == " ".join(["abandon"] * 12)
    with pytest.raises(MalformedMessage):
        options.checked_words("abandon ability")
