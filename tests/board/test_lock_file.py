"""The lock file: the same packages give the same text and digest, and what differs is told by name."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from board.conftest import IMX8MPLUS, board
from emflow.board.lock import (
    Lock,
    LockedPackage,
    Wheel,
    differences,
    keep_addresses,
    lock_path,
    made_for,
    parse,
    read_lock,
    without_credentials,
)
from emflow.problems import Problem
from emflow.workflow.load import load


def package(name: str, version: str, digit: str, **place: str) -> LockedPackage:
    file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    where = place or {"url": f"https://files.example.com/{file}"}
    return LockedPackage(name, version, Wheel(file, digit * 64, 1000, **where))


NUMPY, OPENCV = package("numpy", "1.26.4", "a"), package("opencv-python-headless", "4.11.0.86", "b")
PIP = package("pip", "26.3", "c")
LOCK = replace(made_for(IMX8MPLUS, ("numpy>=1.24",)), locked=(NUMPY, OPENCV), installer=PIP)


def test_a_lock_is_read_back_as_it_was_written() -> None:
    assert parse(LOCK.text(), "pylock.toml") == LOCK
    of_image = replace(made_for(board(provides={"numpy": "1.26.4"}, packages="image"), ("numpy>=1.24",)))
    assert parse(of_image.text(), "pylock.toml") == of_image
    local = replace(LOCK, locked=(package("numpy", "1.26.4", "a", path="../wheels/numpy.whl"),), installer=None)
    assert parse(local.text(), "pylock.toml") == local


def test_a_lock_has_what_pep_751_wants() -> None:
    found = tomllib.loads(LOCK.text())
    assert (found["lock-version"], found["created-by"], found["requires-python"]) == ("1.0", "emflow", "==3.11.*")
    assert found["environments"] == [
        "sys_platform == 'linux' and platform_machine == 'aarch64' and python_version == '3.11'"
    ]
    assert [(each["name"], each["version"]) for each in found["packages"]] == [
        ("numpy", "1.26.4"),
        ("opencv-python-headless", "4.11.0.86"),
    ]
    (wheel,) = found["packages"][0]["wheels"]
    assert wheel == {"name": NUMPY.wheel.name, "url": NUMPY.wheel.url, "size": 1000, "hashes": {"sha256": "a" * 64}}


def test_the_order_of_packages_makes_no_difference() -> None:
    turned = replace(LOCK, locked=(OPENCV, NUMPY))
    assert (turned.text(), turned.digest) == (LOCK.text(), LOCK.digest)


@pytest.mark.parametrize(
    "change",
    [
        {"python": "3.10"},
        {"glibc": "2.36"},
        {"architecture": "amd64"},
        {"packages": "both"},
        {"provides": {"numpy": "1.26.4"}},
        {"locked": (NUMPY,)},
        {"locked": (NUMPY, package("opencv-python-headless", "4.11.0.86", "d"))},
    ],
)
def test_the_digest_is_that_of_what_a_board_gets(change: dict[str, Any]) -> None:
    assert replace(LOCK, **change).digest != LOCK.digest


def test_where_a_file_is_and_what_installs_it_are_not_in_the_digest() -> None:
    mirror = package("numpy", "1.26.4", "a", url="https://mirror.example.com/numpy.whl")
    assert replace(LOCK, locked=(mirror, OPENCV), installer=package("pip", "26.4", "e")).digest == LOCK.digest


def test_each_difference_is_told_with_the_package() -> None:
    newer, moved = package("numpy", "1.26.5", "f"), package("opencv-python-headless", "4.11.0.86", "9")
    now = replace(LOCK, locked=(newer, moved, package("av", "15.0", "1")), installer=package("pip", "26.4", "e"))
    assert list(differences(LOCK, now)) == [
        "av: 15.0 is missing",
        "numpy: locked is 1.26.4, needed 1.26.5",
        (
            "opencv-python-headless: opencv_python_headless-4.11.0.86-py3-none-any.whl has another SHA-256 than the "
            "lock says"
        ),
        "pip (for the installation): locked is 26.3, needed 26.4",
    ]
    assert list(differences(now, replace(now, locked=(newer, moved)))) == ["av: 15.0 is not needed"]


def test_a_lock_for_another_board_is_told_by_its_figures() -> None:
    other = board(python="3.10", provides={"numpy": "1.26.4"})
    assert list(differences(LOCK, replace(made_for(other, ("numpy>=1.24", "av>=12")), locked=LOCK.locked))) == [
        "edge.board.python: locked for 3.11, the board has 3.10",
        "edge.board.packages: locked for bundled, the board has both",
        "edge.board.provides.numpy: locked for nothing, the board has 1.26.4",
        "the device needs av>=12, which the lock was not made for",
        "pip (for the installation): 26.3 is not needed",
    ]


def test_another_mirror_is_no_difference_and_the_address_stays() -> None:
    moved = package("numpy", "1.26.4", "a", url="https://mirror.example.com/numpy.whl")
    now = replace(LOCK, locked=(moved, OPENCV))
    assert list(differences(LOCK, now)) == []
    assert keep_addresses(now, LOCK) == LOCK


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        ({"url": "https://a.example.com/n.whl"}, {"url": "https://b.example.com/n.whl"}, True),
        ({"url": "https://a.example.com/n.whl"}, {"path": "wheels/n.whl"}, False),
        ({"path": "wheels/n.whl"}, {"path": "../other/n.whl"}, True),
        ({"path": "../other/n.whl"}, {"path": "wheels/n.whl"}, True),
        ({"path": "gone/n.whl"}, {"path": "wheels/n.whl"}, False),
        ({"path": "wheels/n.whl"}, {"url": "https://a.example.com/n.whl"}, True),
        ({"path": "gone/n.whl"}, {"url": "https://a.example.com/n.whl"}, False),
        ({"path": "../other/n.whl"}, {"url": "https://a.example.com/n.whl"}, False),
    ],
)
def test_an_address_stays_as_long_as_it_leads_to_the_file_for_everyone(
    tmp_path: Path, before: dict[str, str], now: dict[str, str], kept: bool
) -> None:
    for folder in ("lock/wheels", "other"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "n.whl").write_bytes(b"")
    old, new = (replace(LOCK, locked=(package("numpy", "1.26.4", "a", **place),)) for place in (before, now))
    assert keep_addresses(new, old, tmp_path / "lock") == (old if kept else new)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://user:secret@host:8443/a/b.whl#sha256=1", "https://host:8443/a/b.whl"),
        ("https://token@host/b.whl?X-Amz-Signature=1", "https://host/b.whl"),
        ("http://host/b.whl", "http://host/b.whl"),
    ],
)
def test_an_address_has_nothing_secret_in_it(url: str, kept: str) -> None:
    assert without_credentials(url) == kept


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[[packages]]", "[[packages", "is no lock file of emflow: "),
        ('lock-version = "1.0"', 'lock-version = "2.0"', "its lock-version is '2.0', and 1.0 is known"),
        ("[tool.emflow", "[tool.other", "misses 'architecture'"),
        ('architecture = "aarch64"', 'architecture = "vax"', "the architecture 'vax' is not known"),
        ("a" * 64, "a" * 63, "is not valid"),
        ("numpy-1.26.4-py3", "../numpy-1.26.4-py3", "is not valid"),
        ('name = "numpy"', 'name = "numpy --index-url=x"', "is not valid"),
        ('version = "1.26.4"', 'version = "1.26.4 ; x"', "is not valid"),
        ("https://files", "ftp://files", "has neither an address nor a path, or both"),
        ("size = 1000", "size = -1", "is no number of bytes"),
        ("wheels = [", "wheels = 5 #[", "is no lock file of emflow: "),
    ],
)
def test_a_file_that_is_no_lock_is_refused_in_one_sentence(old: str, new: str, told: str) -> None:
    text = LOCK.text()
    assert old in text
    with pytest.raises(Problem) as refused:
        parse(text.replace(old, new, 1), "pylock.imx8mplus.toml")
    assert told in refused.value.what
    assert refused.value.where == "pylock.imx8mplus.toml"
    assert "emflow lock" in refused.value.mend


def test_the_file_is_named_after_the_board(workflow: Any, tmp_path: Path) -> None:
    loaded = load(workflow())
    assert lock_path(loaded, IMX8MPLUS) == tmp_path / "pylock.imx8mplus.toml"
    assert lock_path(loaded, board(name="line-3")) == tmp_path / "pylock.line-3.toml"
    assert lock_path(loaded, replace(IMX8MPLUS, name="")) == tmp_path / "pylock.toml"


def test_a_lock_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="there is no lock file of the board's packages") as refused:
        read_lock(tmp_path / "pylock.toml")
    assert "emflow lock" in refused.value.mend


def test_a_lock_of_the_whole_needs_an_installer_only_where_something_is_installed() -> None:
    assert LOCK.wheels == (NUMPY.wheel, OPENCV.wheel, PIP.wheel)
    assert Lock("aarch64", "3.11", "2.37", "image", ()).wheels == ()
