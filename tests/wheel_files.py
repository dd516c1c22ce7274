"""Wheels made for tests: small, with what a test wants in them; and pip as a wheel that runs from its file."""

from __future__ import annotations

import base64
import compileall
import hashlib
import importlib.util
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, bytes] | None = None,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
    python: str = "",
) -> Path:
    """A wheel in a folder; `files` are those of the package, an empty module of its name when None."""
    plain = name.replace("-", "_")
    info = f"{plain}-{version}.dist-info"
    content = dict(files if files is not None else {f"{plain}/__init__.py": b""})
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {each}" for each in requires] + ([f"Requires-Python: {python}"] if python else [])
    content[f"{info}/METADATA"] = "".join(f"{line}\n" for line in lines).encode()
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    record = [f"{path},sha256={_record_hash(data)},{len(data)}" for path, data in content.items()]
    content[f"{info}/RECORD"] = "".join(f"{line}\n" for line in [*record, f"{info}/RECORD,,"]).encode()
    target = folder / f"{plain}-{version}-{tag}.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, data in content.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), data)
    return target


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def pip_wheel(folder: Path) -> Path:
    """The pip that is installed beside the tests, as a wheel that can be run."""
    spec = importlib.util.find_spec("pip")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(next(iter(spec.submodule_search_locations)))
    version = next(root.parent.glob("pip-*.dist-info")).name.split("-")[1].replace(".dist", "")
    target = folder / f"pip-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                archive.writestr(zipfile.ZipInfo(f"pip/{path.relative_to(root)}"), path.read_bytes())
    return target


def unpacked_pip(folder: Path) -> Path:
    """The same as a folder with compiled modules, which starts in a fraction of the time."""
    wheel = pip_wheel(folder)
    target = folder / "unpacked" / wheel.name
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    compileall.compile_dir(target, quiet=2)
    return target


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
