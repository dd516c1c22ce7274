"""The wheels that a lock names, from a folder, the user's cache, or the index; each is checked against its SHA-256."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import netrc
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit

from emflow.board.lock import MADE_AGAIN, Lock, Wheel
from emflow.problems import Problem
from emflow.user_cache import cache_folder

CACHE = "wheels"
TRIES = 3
MAX_BYTES = 2 * 1024**3

_AT_ONCE = 4
_CHUNK = 1 << 20
_PATIENCE = 60.0
"""Seconds without a byte from the index."""
_INDEXES = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
)
"""Variables with addresses of indexes, in which there may be credentials: the lock has none."""

Report = Callable[[Wheel], object]


def fetch(lock: Lock, beside: Path, wheels: Path | None = None, report: Report | None = None) -> dict[str, Path]:
    """Every file of a lock, by its name.

    Args:
        beside: the folder of the lock file.
        wheels: a folder that may have files of the lock.
        report: called, from several threads, for each file that is fetched from the index.

    Raises:
        Problem: a file is not to be had, or is not the one that the lock names.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        paths = list(pool.map(lambda wheel: _fetch(wheel, beside, wheels, report), lock.wheels))
    return {wheel.name: path for wheel, path in zip(lock.wheels, paths, strict=True)}


def _fetch(wheel: Wheel, beside: Path, wheels: Path | None, report: Report | None) -> Path:
    near = [wheels / wheel.name] if wheels else []
    near += [beside / wheel.path] if wheel.path else []
    for path in near:
        if path.is_file():
            digest = _sha256(path)
            if digest != wheel.sha256:
                raise _another(wheel, digest, str(path))
            return path
    try:
        kept = cache_folder(CACHE) / wheel.sha256 / wheel.name
        kept.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        where = str(error.filename or "~/.cache/emflow")
        raise Problem(f"there is no cache for wheels: {error}", where=where, mend="Set XDG_CACHE_HOME.") from None
    if kept.is_file():
        if _sha256(kept) == wheel.sha256:
            return kept
        kept.unlink()  # damaged, or changed: it is fetched again
    if not wheel.url:
        mend = "Give its folder with --wheels DIR, or run `emflow lock` again."
        raise Problem(f"{wheel.name} is not there", where=str(near[-1]) if near else "", mend=mend)
    if report:
        report(wheel)
    _download(wheel, kept)
    return kept


def _download(wheel: Wheel, target: Path) -> None:
    """Fetch a file into the cache.

    Raises:
        Problem: it cannot be fetched, or is another file.
    """
    for number in range(1, TRIES + 1):
        descriptor, name = tempfile.mkstemp(prefix=".", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                digest = _copy(wheel, file.write)
            if digest != wheel.sha256:
                raise _another(wheel, digest, wheel.url)
            temporary.replace(target)
            return
        except urllib.error.HTTPError as error:
            if number == TRIES or error.code < 500:
                raise _unreachable(wheel, f"{error.code} {error.reason}") from None
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            if number == TRIES:
                raise _unreachable(wheel, str(getattr(error, "reason", None) or error)) from None
        except OSError as error:
            raise Problem(f"cannot be written: {error.strerror}", where=str(target), mend="Make room there.") from None
        finally:
            temporary.unlink(missing_ok=True)


def _copy(wheel: Wheel, write: Callable[[bytes], object]) -> str:
    digest, size = hashlib.sha256(), 0
    request = urllib.request.Request(wheel.url, headers={"User-Agent": "emflow"})  # noqa: S310 https or http
    for name, value in _authorization(wheel.url).items():
        request.add_unredirected_header(name, value)  # for this host only
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
        while block := answer.read(_CHUNK):
            size += len(block)
            if size > (wheel.size or MAX_BYTES):
                raise Problem(f"{wheel.name} is larger than the lock says", where=wheel.url, mend=MADE_AGAIN)
            digest.update(block)
            write(block)
    return digest.hexdigest()


def _authorization(url: str) -> Mapping[str, str]:
    """The credentials for an address: of an index with the same host in the environment, or in ~/.netrc."""
    host = urlsplit(url).hostname
    for user, password in (*_of_environment(host), *_of_netrc(host)):
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {token}"}
    return {}


def _of_environment(host: str | None) -> Iterator[tuple[str, str]]:
    for variable in _INDEXES:
        for word in os.environ.get(variable, "").split():
            parts = urlsplit(word.partition("=")[2] if "=" in word.partition("://")[0] else word)
            if parts.hostname == host and parts.username:
                yield unquote(parts.username), unquote(parts.password or "")


def _of_netrc(host: str | None) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        found = netrc.netrc().authenticators(host) if host else None
        if found:
            yield found[0], found[2] or ""


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Problem(f"cannot be read: {error.strerror}", where=str(path)) from None


def _another(wheel: Wheel, digest: str, where: str) -> Problem:
    what = f"{wheel.name} is not the file that the lock names: its SHA-256 is {digest}, and {wheel.sha256} is locked"
    return Problem(what, where=where, mend=f"Somebody may have changed it. If the new one is right: {MADE_AGAIN}")


def _unreachable(wheel: Wheel, why: str) -> Problem:
    mend = "Check the network and the proxy, or give a folder that has it with --wheels DIR."
    return Problem(f"{wheel.name} cannot be fetched: {why}", where=wheel.url, mend=mend)
