"""What a component version that was published contains: its recipe and the files of its zip, to compare with the next.

A plan shows what differs. Nothing depends on it: where something cannot be read, a plan shows the new content alone.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import is_missing
from emflow.engine.resource import Change
from emflow.recipes.reader.recipe import read
from emflow.resources.tag_search import is_refused

MAX_ZIP_BYTES = 16 << 20
"""Larger zips are not fetched for a plan."""

MAX_TEXT_BYTES = 64 << 10
"""Files up to this size are shown as text, if they are text."""

_Found = TypeVar("_Found")
MAX_SHOWN = 256 << 10
"""Characters of text in all files that differ."""

_DIGEST = b"sha256:"
_SECRET_FILES = (".pem", ".key", ".p12", ".pfx", ".jks", ".env")
_UNREADABLE = (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError, EOFError, OSError)
"""What zipfile raises for a zip that is damaged, encrypted, or packed in a way that it does not know."""
_ADDED_BY_AWS = ("Digest", "Algorithm")
"""Keys that Greengrass adds to each artifact."""


@dataclass(frozen=True)
class Content:
    """What is compared of a component version.

    recipe: without its version; None when it cannot be read. files: name in the zip → text, or `sha256:…` for what is
    not text or long; None when the zip cannot be read, or when there is none.
    """

    recipe: Mapping[str, Any] | None
    files: Mapping[str, str] | None


NO_CONTENT = Content(None, None)


def wanted_content(recipe: str, data: bytes | None) -> Content:
    """The content that a workflow makes. recipe: its text. data: the zip."""
    return Content(_comparable(recipe), None if data is None else _files(data))


def published_content(clients: Clients, arn: str) -> Content:
    """The content of a component version; without what is not there any more, and what may not be read."""
    greengrass = clients("greengrassv2")
    text = _readable(lambda: greengrass.get_component(arn=arn, recipeOutputFormat="YAML")["recipe"].decode())
    recipe = _comparable(text or "")
    uri = next(_uris(recipe), "")
    return Content(recipe, _readable(lambda: _fetched(clients, uri)))


def content_changes(old: Content, new: Content, *, texts: bool) -> Iterator[Change]:
    """What differs between two versions, for a plan.

    Args:
        texts: whether files that differ are shown as text; otherwise, and where that is long, by their digests.
    """
    if new.recipe != old.recipe:
        yield Change("recipe", old.recipe, new.recipe)
    before, after = old.files or {}, new.files or {}
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    was, now = ({name: files[name] for name in names if name in files} for files in (before, after))
    if not texts or not before or sum(map(len, (*was.values(), *now.values()))) > MAX_SHOWN:
        was, now = ({name: _digest(text.encode()) for name, text in files.items()} for files in (was, now))
    if names:
        yield Change("files", was, now)


def _comparable(text: str) -> dict[str, Any] | None:
    """A recipe with its keys in the case in which AWS returns them; None when it is none."""
    recipe = read(text).recipe
    if recipe is None:
        return None
    left = {key: value for key, value in recipe.document.items() if key != "ComponentVersion"}
    if isinstance(left.get("Manifests"), list):
        left["Manifests"] = [_without_digests(manifest) for manifest in left["Manifests"]]
    return left


def _without_digests(manifest: Any) -> Any:
    artifacts = manifest.get("Artifacts") if isinstance(manifest, dict) else None
    if not isinstance(artifacts, list):
        return manifest
    plain = [
        {key: value for key, value in artifact.items() if key not in _ADDED_BY_AWS}
        if isinstance(artifact, dict)
        else artifact
        for artifact in artifacts
    ]
    return {**manifest, "Artifacts": plain}


def _uris(recipe: Mapping[str, Any] | None) -> Iterator[str]:
    for manifest in (recipe or {}).get("Manifests") or ():
        for artifact in (manifest.get("Artifacts") or ()) if isinstance(manifest, dict) else ():
            uri = artifact.get("Uri") if isinstance(artifact, dict) else None
            if isinstance(uri, str) and uri.startswith("s3://") and uri.endswith(".zip"):
                yield uri


def _fetched(clients: Clients, uri: str) -> dict[str, str] | None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not key:
        return None
    found = clients("s3").get_object(Bucket=bucket, Key=key)
    with found["Body"] as body:
        return _files(body.read(MAX_ZIP_BYTES)) if found["ContentLength"] <= MAX_ZIP_BYTES else None


def _files(data: bytes) -> dict[str, str] | None:
    if len(data) > MAX_ZIP_BYTES:
        return None
    files = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_ZIP_BYTES:
                return None
            for name in archive.namelist():
                files[name] = _shown(name, archive.read(name))
    except _UNREADABLE:
        return None
    return files


def _shown(name: str, content: bytes) -> str:
    # A file of one word, or of a key, may be a secret as a whole.
    secret = name.lower().endswith(_SECRET_FILES) or b"-----BEGIN " in content or len(content.split()) < 2
    if len(content) <= MAX_TEXT_BYTES and b"\0" not in content and not secret:
        try:
            return content.decode()
        except UnicodeDecodeError:
            pass
    return _digest(content)


def _digest(content: bytes) -> str:
    """The digest of a file; what is a digest already stays as it is."""
    return content.decode() if content.startswith(_DIGEST) else f"sha256:{hashlib.sha256(content).hexdigest()}"


def _readable(read: Callable[[], _Found]) -> _Found | None:
    try:
        return read()
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and not (is_missing(error) or is_refused(error)):
            raise
        return None
