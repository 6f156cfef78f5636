"""A release can be made again by anybody, lists what it depends on, and was really audited."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest

from release.audit import NotAudited, one_version_each, weaknesses
from release.build import Unlike, built, committed_at, expect_same, settled
from release.lock import BrokenLock, Pin, pins_of
from release.sbom import NotTheLock, expect_all

REPO: Final = Path(__file__).resolve().parent.parent
EPOCH: Final = 1_700_000_000
HASHES: Final = ("a" * 64, "b" * 64)
ONE, NEW, OLD = (
    Pin("one-thing", "1.0", HASHES),
    Pin("two", "2.1", HASHES[:1]),
    Pin("two", "2.0", HASHES),
)
LOCK: Final = f"""# made by a tool
One_Thing==1.0 \\
    --hash=sha256:{HASHES[0]} \\
    --hash=sha256:{HASHES[1]}
two==2.1 ; python_version >= '3.12' \\
    --hash=sha256:{HASHES[0]}
two==2.0 ; python_version < '3.12' \\
    --hash=sha256:{HASHES[0]} \\
    --hash=sha256:{HASHES[1]}
"""


def test_a_lock_is_read_for_every_platform() -> None:
    assert pins_of(LOCK) == (ONE, NEW, OLD)
    for name in ("requirements.lock", "release/requirements.lock"):
        assert len(pins_of((REPO / name).read_text(encoding="utf-8"))) > 40


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        f"one>=1 --hash=sha256:{HASHES[0]}",
        f"one --hash=sha256:{HASHES[0]}",
        f"one==1,<2 --hash=sha256:{HASHES[0]}",
        "one==1",
        "one==1 --hash=md5:00",
    ],
)
def test_what_pins_nothing_exactly_is_no_lock(text: str) -> None:
    with pytest.raises(BrokenLock):
        pins_of(text)


# --- the bill of materials


def component(pin: Pin, *hashes: str) -> dict[str, Any]:
    listed = [{"alg": "SHA-256", "content": each} for each in hashes or pin.hashes]
    return {
        "name": pin.name,
        "version": pin.version,
        "externalReferences": [{"type": "distribution", "hashes": listed}, {"type": "website"}],
    }


def test_a_bill_lists_the_lock_and_nothing_else() -> None:
    pins = (ONE, NEW, OLD)
    expect_all({"components": [component(pin) for pin in pins]}, pins)
    for components in (
        [],
        [component(ONE), component(NEW)],
        [component(ONE), component(NEW), component(OLD), component(Pin("more", "1", HASHES))],
        [component(ONE), component(NEW), component(OLD, HASHES[0])],
    ):
        with pytest.raises(NotTheLock, match=r"differ in"):
            expect_all({"components": components}, pins)


# --- the audit


def audited(*pins: Pin, vulns: Any = ()) -> dict[str, Any]:
    return {
        "dependencies": [
            {"name": pin.name.replace("-", "_"), "version": pin.version, "vulns": list(vulns)}
            for pin in pins
        ]
    }


def test_an_audit_without_an_answer_is_no_good_answer() -> None:
    skipped = {"dependencies": [{"name": "two", "version": "2.0", "skip_reason": "not found"}]}
    for reports in ([], [audited(ONE)], [audited(ONE, NEW), skipped]):
        with pytest.raises(NotAudited, match=r"two 2\.0"):
            weaknesses((ONE, OLD), reports)
    with pytest.raises(NotAudited, match="anything"):
        weaknesses((), [audited()])
    assert weaknesses((ONE, NEW, OLD), [audited(ONE, NEW), audited(OLD)]) == []


def test_an_audit_tells_what_is_known() -> None:
    known = [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]}]
    found = weaknesses((ONE,), [audited(ONE, vulns=known)])
    assert found == ["one-thing 1.0: PYSEC-1, mended in 1.1, 2.0"]


def test_no_name_is_asked_about_twice_at_once() -> None:
    assert one_version_each((ONE, NEW, OLD)) == [[ONE, NEW], [OLD]]
    assert one_version_each(()) == []


# --- the files


def committed(directory: Path) -> Path:
    """Make a repository of one commit, of the tree as it is now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        check=True,
        capture_output=True,
    ).stdout
    for name in listed.decode().split("\0"):
        if name and (REPO / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPO / name, directory / name)
    author = ("-c", "user.name=a", "-c", "user.email=a", "-c", "core.autocrlf=false")
    for command in (("init", "-q"), ("add", "-A"), (*author, "commit", "-q", "-m", "all")):
        subprocess.run(["git", *command], cwd=directory, check=True)
    return directory


needs_git = pytest.mark.skipif(
    shutil.which("git") is None or not (REPO / ".git").exists(), reason="not a git work tree"
)


@needs_git
def test_a_release_is_the_same_wherever_and_whenever_it_is_made(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one, other = committed(tmp_path / "one"), committed(tmp_path / "other")
    (other / "client" / "stray.py").write_text("raise SystemExit", encoding="utf-8")
    made = built(one, EPOCH)
    again = built(other, EPOCH, TZ="Pacific/Apia", LC_ALL="C", PYTHONHASHSEED="7")
    expect_same(made, again)
    # and it is the date alone that tells builds apart
    with pytest.raises(Unlike, match="whl"):
        expect_same(made, built(one, EPOCH + 86_400))
    assert committed_at(one) > EPOCH
    check_contents(made)
    if shutil.which("cc"):
        compiles_from(made, tmp_path)


def check_contents(made: dict[str, bytes]) -> None:
    (wheel,) = (name for name in made if name.endswith("-py3-none-any.whl"))
    (source,) = (name for name in made if name.endswith(".tar.gz"))
    with zipfile.ZipFile(BytesIO(made[wheel])) as opened:
        files = [name for name in opened.namelist() if ".dist-info/" not in name]
    assert "client/crypto/loop/loop.c" in files
    assert {name.partition("/")[0] for name in files} == {"client", "protocol", "vault"}
    assert not [name for name in files if name.endswith((".so", ".pyc", ".pyd"))]
    with tarfile.open(fileobj=BytesIO(made[source])) as opened_source:
        held = {name.partition("/")[2] for name in opened_source.getnames()}
    assert set(files) <= held
    assert not [name for name in held if name.startswith("tests")]


def compiles_from(made: dict[str, bytes], directory: Path) -> None:
    """Check that whoever installs from the archive gets the compiled loop."""
    (source,) = (name for name in made if name.endswith(".tar.gz"))
    with tarfile.open(fileobj=BytesIO(made[source])) as opened:
        opened.extractall(directory / "source", filter="data")
    (tree,) = (directory / "source").iterdir()
    program = "import setuptools.build_meta as b; b.build_wheel('made')"
    subprocess.run([sys.executable, "-c", program], cwd=tree, check=True, capture_output=True)
    (wheel,) = (tree / "made").iterdir()
    with zipfile.ZipFile(wheel) as native:
        loops = [name for name in native.namelist() if name.startswith("client/crypto/loop/_loop")]
    assert len(loops) == 1


def test_what_differs_between_two_builds_is_named() -> None:
    expect_same({"a": b"1"}, {"a": b"1"})
    for one, other in (({"a": b"1"}, {"a": b"2"}), ({"a": b"1"}, {"b": b"1"}), ({}, {})):
        with pytest.raises(Unlike):
            expect_same(one, other)


def archive_of(member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.addfile(member, BytesIO(content))
    return out.getvalue()


def test_an_archive_keeps_names_and_bytes_and_nothing_of_its_maker() -> None:
    member = tarfile.TarInfo("a")
    member.size, member.mtime, member.uid, member.uname, member.mode = 1, 5, 1000, "ann", 0o600
    settled_one = settled(archive_of(member, b"x"), EPOCH)
    member.mtime, member.uid, member.uname, member.mode = 9, 0, "bo", 0o644
    assert settled(archive_of(member, b"x"), EPOCH) == settled_one
    with tarfile.open(fileobj=BytesIO(settled_one)) as opened:
        (found,) = opened.getmembers()
        assert (found.mtime, found.uid, found.uname, found.mode) == (EPOCH, 0, "", 0o644)
        inner = opened.extractfile(found)
        assert inner is not None
        assert inner.read() == b"x"
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "a"
    with pytest.raises(Unlike, match="neither a file nor a folder"):
        settled(archive_of(link), EPOCH)


def test_the_bill_is_json_of_one_known_shape() -> None:
    """What `expect_all` reads is what the tool writes: a component as it came from it."""
    text = """{"components": [{"externalReferences": [{"comment": "implicit dist url", "hashes":
        [{"alg": "SHA-256", "content": "aa"}], "type": "distribution", "url": "x"}],
        "name": "aiohttp", "type": "library", "version": "3.14.5"}]}"""
    expect_all(json.loads(text), [Pin("aiohttp", "3.14.5", ("aa",))])
