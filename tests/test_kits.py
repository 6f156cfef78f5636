"""The recovery kit on paper (SPEC section 4.5)."""

from __future__ import annotations

import base64
import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.crypto.secrets import Seed
from client.errors import InputError
from client.kits import KIT_PREFIX, Kit, KitCode, parse_kit, seed_of_words, write_page
from protocol.wire import to_bytes

seeds = st.binary(min_size=32, max_size=32).map(Seed)
kits = st.builds(
    Kit,
    st.binary(min_size=32, max_size=32),
    st.sampled_from(["https://vault.example", "https://[::1]:8443", "https://数据.example:1"]),
    st.none() | st.binary(min_size=32, max_size=32),
    seeds,
)
KIT = Kit(bytes(range(32)), "https://vault.example:8443", bytes(32), Seed(bytes(range(32, 64))))


@given(kits)
def test_a_code_is_read_back_however_it_was_broken_into_lines(kit: Kit) -> None:
    code = kit.code()
    assert parse_kit(code) == kit
    typed = "\r\n  ".join(code[len(KIT_PREFIX) :][i : i + 20] for i in range(0, len(code), 20))
    assert parse_kit(f"Kit\n{KIT_PREFIX}{typed}\n") == kit


@given(seeds)
def test_words_stand_for_the_seed(seed: Seed) -> None:
    kit = Kit(bytes(32), "https://x", None, seed)
    words = kit.words()
    assert len(words.split()) == 24
    assert seed_of_words(words.upper().replace(" ", "\n  ")) == seed


def test_words_are_those_of_the_published_list() -> None:
    """BIP-39's own vectors, of 32 bytes."""
    zero = Kit(bytes(32), "https://x", None, Seed(bytes(32)))
    assert zero.words() == "abandon " * 23 + "art"
    ones = Kit(bytes(32), "https://x", None, Seed(b"\xff" * 32))
    assert ones.words() == "zoo " * 23 + "vote"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda words: [*words[:5], "sealrom", *words[6:]], "word 6 is not on the list"),
        (lambda words: [words[1], words[0], *words[2:]], "do not fit together"),
        (lambda words: words[:-1], "there are 23"),
        (lambda words: [*words, "art"], "there are 25"),
        # Twelve words that do fit together: the seed of something else.
        (lambda words: [*["abandon"] * 11, "about"], "there are 12"),
        (lambda words: [], "there are 0"),
    ],
    ids=["mistyped", "swapped", "one too few", "one too many", "another's", "none"],
)
def test_a_mistaken_word_is_named_and_no_seed_comes_of_it(change: object, said: str) -> None:
    assert callable(change)
    words = change(KIT.words().split())
    with pytest.raises(InputError, match=said) as caught:
        seed_of_words(" ".join(words))
    assert not any(word in str(caught.value).split() for word in KIT.words().split())


def test_a_code_that_is_not_whole_is_none_and_is_not_repeated() -> None:
    code = KIT.code()
    for broken in (code[:-4], code[: len(KIT_PREFIX) + 9], KIT_PREFIX + "_" * 90):
        with pytest.raises(InputError, match="not whole") as caught:
            parse_kit(broken)
        assert broken[len(KIT_PREFIX) :] not in str(caught.value)
    with pytest.raises(InputError, match="no recovery kit"):
        parse_kit("a letter")
    with pytest.raises(InputError, match="no recovery kit"):
        parse_kit(KIT_PREFIX)


def test_a_code_of_another_version_is_not_taken_for_ours() -> None:
    later = KitCode(2, KIT.vault_id, KIT.server, KIT.tls_pin, KIT.seed.expose())
    text = KIT_PREFIX + base64.urlsafe_b64encode(to_bytes(later)).decode().rstrip("=")
    with pytest.raises(InputError, match="is of version 2, and this client reads 1"):
        parse_kit(text)


def test_a_page_takes_nobody_s_place_and_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kit.html"
    path.write_text("the one before")
    with pytest.raises(InputError, match=r"there is a file .*kit.html already"):
        write_page(path, KIT, title="Lark", name="Olga", member_id="ab" * 32)
    assert path.read_text() == "the one before"

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_page(tmp_path / "new.html", KIT, title="Lark", name="Olga", member_id="ab" * 32)
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_has_both_and_shows_what_people_were_called_as_text(tmp_path: Path) -> None:
    path = tmp_path / "kit.html"
    write_page(path, KIT, title="<b>Lark</b>", name="O & Co", member_id="ab" * 32)
    page = path.read_text()
    assert "&lt;b&gt;Lark&lt;/b&gt;" in page
    assert "O &amp; Co" in page
    assert parse_kit(page) == KIT
    words = re.findall(r"<li>(\w+)</li>", page)
    assert seed_of_words(" ".join(words)) == KIT.seed
    assert "<svg" in page
    assert "<script" not in page
    # What is printed is enough by itself: the page's own meta is not on paper.
    printed = re.sub(r"<[^>]+>", "\n", page)
    assert parse_kit(printed) == KIT


def test_a_kit_shows_no_seed_by_accident() -> None:
    assert KIT.seed.expose().hex() not in repr(KIT)
    assert "seed" not in repr(KIT)
