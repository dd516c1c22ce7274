"""Makes signed model packages, and verifies them as a device does.

The same input gives the same bytes, but for the signature itself: ECDSA takes a new random number each time.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG

from emflow.problems import Problem
from emflow.recipes.bundle import reproducible_zip
from emflow.signing.contents import digests, read_contents, walk
from emflow.signing.signers import Signer
from emflow.unpacking import TooLarge, check_zip
from emflow.workflow.source.safe_open import read_regular
from emflow_schema.installation import how_to_install
from emflow_schema.model_manifest import MANIFEST, ModelManifest
from emflow_schema.model_signature import (
    SIGNATURE,
    BadSignature,
    Bundle,
    Statement,
    check_path,
    pre_authentication_encoding,
)
from emflow_schema.signed_package import ED25519_FILES, MAX_PACKAGE_BYTES, BadPackage, SignedPackage, verify_files
from emflow_schema.trusted_keys import MAX_KEYS_BYTES, TrustedKey, read_keys

IGNORED = (SIGNATURE, ".git", ".gitattributes", ".github", ".gitignore")
"""What is not signed: as the `model_signing` command has it."""

ZIP = ".zip"


@dataclass(frozen=True)
class Package:
    """A signed package. files: content by path, manifest and signature included.

    digest: SHA-256 in hexadecimal of what was signed and of the key that did: the same for the same input, where the
    bytes of the signature differ each time.
    """

    files: Mapping[str, bytes]
    manifest: ModelManifest
    digest: str

    def zipped(self) -> bytes:
        """The package as a zip."""
        return reproducible_zip(list(self.files.items()))


def sign_package(source: Path, manifest: ModelManifest, signer: Signer) -> Package:
    """Make a package of a model.

    Args:
        source: a folder, a model file, or a .tar.gz.

    Raises:
        Problem: it holds no model or what cannot be signed, or the key does not sign.
    """
    files = {**read_contents(source), MANIFEST: manifest.encoded()}
    payload = Statement(digests(files), IGNORED, manifest.name).encoded()
    signature = signer.sign(pre_authentication_encoding(payload))
    bundle = Bundle(payload, signature, signer.public.fingerprint)
    digest = sha256(payload + signer.public.fingerprint.encode()).hexdigest()
    return Package({**files, SIGNATURE: bundle.encoded()}, manifest, digest)


def check_place(source: Path, out: Path) -> None:
    """
    Raises:
        Problem: the package would become a part of the model's folder, and of the next package.
    """
    if source.is_dir() and source.resolve() in out.resolve().parents:
        raise Problem("is in the model's folder", where=str(out), mend="give an --out elsewhere, or the folder itself")


def write_package(package: Package, source: Path, out: Path) -> None:
    """Write a package as a folder. Into the model's own folder only manifest and signature are written, and those of a
    package that was signed with Ed25519 are removed from it: devices refuse a folder that has them.

    Raises:
        Problem: the folder has something in it, or cannot be written.
    """
    try:
        if out.is_dir() and source.is_dir() and out.samefile(source):
            for name in (MANIFEST, SIGNATURE):
                _write_whole(out / name, package.files[name])
            for name in ED25519_FILES:
                if (out / name).is_symlink() or not (out / name).is_dir():
                    (out / name).unlink(missing_ok=True)
            return
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise Problem("exists already", where=str(out), mend="remove it, or give another --out")
        _write_folder(package.files, out)
    except OSError as error:
        raise Problem(f"cannot be written: {error.strerror}", where=str(error.filename or out)) from None


def _write_whole(file: Path, content: bytes) -> None:
    """All or nothing, and nothing else: what is left in a model's folder would be signed with the next package."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        temporary.chmod(0o644)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_folder(files: Mapping[str, bytes], out: Path) -> None:
    """All or nothing: under another name first."""
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        made.chmod(0o755)
        for name, content in files.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(content)
        made.replace(out)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def verify_package(path: Path, keys: Sequence[TrustedKey]) -> SignedPackage:
    """Verify the signature of a package, and every file of it.

    Args:
        path: a folder, or a zip as `emflow package` writes it.

    Raises:
        Problem: it is not what one of the keys signed.
    """
    try:
        return verify_files(_FilesInZip(path) if path.suffix.lower() == ZIP else _FilesInFolder(path), keys)
    except BadPackage as problem:
        raise Problem(str(problem), where=str(path)) from None
    except OSError as error:
        raise Problem(f"cannot be read: {error.strerror or error}", where=str(error.filename or path)) from None


class _FilesInFolder:
    def __init__(self, root: Path) -> None:
        self._root = root
        if not root.is_dir():
            raise Problem("there is no such folder", where=str(root), mend="give a package: a folder, or a .zip")

    def all_names(self) -> Sequence[str]:
        return [path.relative_to(self._root).as_posix() for path in walk(self._root)]

    def read(self, name: str, max_bytes: int) -> bytes:
        path = self._root
        for part in name.split("/"):
            path /= part
            if path.is_symlink():
                raise BadPackage(f"{name!r} is a symbolic link, or in one")
        if path.exists() and not S_ISREG(path.stat().st_mode):
            raise BadPackage(f"{name!r} is not a regular file")
        return read_regular(path, max_bytes)

    def digest(self, name: str) -> str:
        return sha256(self.read(name, MAX_PACKAGE_BYTES)).hexdigest()


class _FilesInZip:
    """The files of a zip that `emflow package` wrote.

    Zips can have a name twice, hide data between files, or say one thing in front of a file and another at their end.
    Only the bytes that writing these files again gives are accepted, so nothing else can be in there.
    """

    def __init__(self, path: Path) -> None:
        data = read_regular(path, MAX_PACKAGE_BYTES + (64 << 20))
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                check_zip(archive, len(data))
                names = [info.filename for info in archive.infolist()]
                for name in names:
                    if name != SIGNATURE:
                        check_path(name)
                if any(info.file_size > len(data) for info in archive.infolist()):
                    raise BadPackage(_NOT_OURS)
                self._files = {name: archive.read(name) for name in names}
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OverflowError) as error:
            if isinstance(error, BadSignature | TooLarge):
                raise BadPackage(f"{error}") from None
            raise BadPackage(f"it is no zip of a package: {error}") from None
        if reproducible_zip(list(self._files.items())) != data:
            raise BadPackage(_NOT_OURS)

    def all_names(self) -> Sequence[str]:
        return list(self._files)

    def read(self, name: str, max_bytes: int) -> bytes:
        content = self._files[name]
        if len(content) > max_bytes:
            raise BadPackage(f"{name!r} is longer than {max_bytes} bytes")
        return content

    def digest(self, name: str) -> str:
        return sha256(self._files[name]).hexdigest()


_NOT_OURS = (
    "it is no zip as emflow package writes it; of one that another program made, unpack it and verify the folder"
)


def read_public_keys(given: Sequence[Path]) -> list[TrustedKey]:
    """The public keys in files.

    Raises:
        Problem: a file cannot be read, or holds no key.
    """
    keys = []
    for path in given:
        try:
            keys += read_keys(read_regular(path, MAX_KEYS_BYTES).decode("utf-8", "replace"))
        except ImportError as error:
            mend = f"Install it (extra signing) with: {how_to_install('emflow-runner', 'signing')}"
            raise Problem(f"signatures need the module {error.name}", mend=mend) from None
        except ValueError as error:
            raise Problem(f"--key: {error}", where=str(path)) from None
        except OSError as error:
            raise Problem(f"--key: cannot be read: {error.strerror or error}", where=str(path)) from None
    return keys
