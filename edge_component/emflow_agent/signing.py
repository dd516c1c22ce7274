"""Signs a model folder: `python -m emflow_agent.signing keygen | sign | verify`.

Run it where packages are built and the private key is kept. Devices have the public key only and check with
`integrity`.
"""

from __future__ import annotations

import argparse
import base64
import getpass
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emflow_agent.errors import BadOption, Refused
from emflow_agent.models.folder import open_model_folder
from emflow_agent.models.integrity import (
    MANIFEST,
    MAX_FILES,
    SCHEMA_VERSION,
    SIGNATURE,
    install_signing,
    read_trusted_keys,
    verify_package,
)
from emflow_schema.json_text import json_text
from emflow_schema.model_files import is_left_by_macos


class CannotSign(Exception):
    """The key or the folder is not usable; the message is the one line that is shown."""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emflow_agent.signing",
        description="Signed model packages: a manifest with the digest of each file, and an Ed25519 signature of it.",
        epilog="Exit codes: 0 done, 1 failed, 2 the command line is wrong.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    keygen = commands.add_parser("keygen", help="create a private key, and the public key beside it")
    keygen.add_argument(
        "key", type=Path, metavar="KEY.pem", help="private key file; the public key is written to KEY.pub.pem"
    )
    sign = commands.add_parser("sign", help=f"write {MANIFEST} and {SIGNATURE} into a folder")
    sign.add_argument("folder", type=Path, metavar="FOLDER")
    sign.add_argument("--key", type=Path, required=True, metavar="KEY.pem", help="Ed25519 private key")
    sign.add_argument("--name", required=True, help="the model's name")
    sign.add_argument("--version", required=True, help="the model's version")
    sign.add_argument("--target", default="", help="device that the model is built for, such as imx8mplus")
    verify = commands.add_parser("verify", help="check a folder as an agent with these trusted keys does")
    verify.add_argument("folder", type=Path, metavar="FOLDER")
    verify.add_argument("--trust", type=Path, action="append", required=True, metavar="PUBLIC.pem")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        if options.command == "keygen":
            result = keygen(options.key)
        elif options.command == "sign":
            result = sign(options.folder, options.key, options.name, options.version, options.target)
        else:
            result = verify(options.folder, options.trust)
    except (CannotSign, BadOption, Refused) as problem:
        return _fail(str(problem))
    except ImportError as error:
        return _fail(f"{error}; {install_signing()}")
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}")
    sys.stdout.write(f"{result}\n")
    return 0


def keygen(key: Path) -> str:
    """Write a new private key, readable by its owner only, and its public key. Existing files are never overwritten.

    Raises:
        CannotSign: one of the files exists.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private_key = Ed25519PrivateKey.generate()
    public = key.with_suffix(f".pub{key.suffix}")
    if key.exists() or public.exists():
        raise CannotSign(
            f"{key} or {public} exists; keys are never overwritten, because packages may be signed with them"
        )
    private_text = private_key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public_text = private_key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    for file, text, mode in ((key, private_text, 0o600), (public, public_text, 0o644)):
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(text)
    return f"{key}: keep it secret; {public}: copy it to the devices (setting TrustKeys)"


def sign(folder: Path, key: Path, name: str, version: str, target: str = "") -> str:
    """Write the manifest of a folder and its signature; existing ones are replaced.

    Raises:
        CannotSign: the key is not usable, or the folder is empty or holds links or special files.
    """
    private = _private_key(key)
    files = {}
    for file in _files(folder):
        content = file.read_bytes()
        files[file.relative_to(folder).as_posix()] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
    if not 0 < len(files) <= MAX_FILES:
        raise CannotSign(f"{folder} holds {len(files)} files; a package must have 1 to {MAX_FILES}")
    manifest: dict[str, Any] = {"schemaVersion": SCHEMA_VERSION, "model": {"name": name, "version": version}}
    if target:
        manifest["target"] = target
    manifest["files"] = files
    content = json_text(manifest, indent=2, ascii_only=True).encode() + b"\n"
    _write(folder / MANIFEST, content)
    _write(folder / SIGNATURE, base64.b64encode(private.sign(content)) + b"\n")
    return f"{folder}: {len(files)} files signed as {name} {version}"


def verify(url: Path, keys: Sequence[Path]) -> str:
    """Read every file of a package as an agent does.

    Raises:
        Refused: it differs from what was signed.
    """
    trust = read_trusted_keys("--trust", keys, required=True)
    with open_model_folder(str(url)) as folder:
        package = verify_package(folder, trust)
        names = package.names(folder)
        for name in names:
            package.read(folder, name, package.size(folder, name))
    return f"{url}: {len(names)} files, {package}"


def _private_key(file: Path) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = file.read_bytes()
    try:
        try:
            key = load_pem_private_key(pem, None)
        except TypeError:
            key = load_pem_private_key(pem, getpass.getpass(f"Passphrase of {file}: ").encode())
    except ValueError:
        raise CannotSign(f"{file} is not a private key in PEM format, or the passphrase is wrong") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CannotSign(f"{file} is not an Ed25519 key; create one with keygen")
    return key


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise CannotSign(f"{folder} is not a folder")
    for file in sorted(folder.rglob("*")):
        mode = file.lstat().st_mode
        if stat.S_ISDIR(mode) or file in (folder / MANIFEST, folder / SIGNATURE):
            continue
        if is_left_by_macos(file.relative_to(folder).as_posix()):
            continue
        if not stat.S_ISREG(mode):
            raise CannotSign(f"{file} is a link or a special file; an agent would refuse the package")
        yield file


def _write(file: Path, content: bytes) -> None:
    """Atomically: a reader sees either the old file or the new one."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink()
        raise


def _fail(problem: str) -> int:
    sys.stderr.write(f"{problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
