"""Checks of the artifacts of a manifest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from emflow.recipes.lint.keys import key_findings
from emflow.recipes.reader.finding import RecipeFinding
from emflow.recipes.reader.keys import ARTIFACT, PERMISSION, documented_keys, map_of
from emflow.workflow.source.positions import KeyPath


def artifacts(
    found: Any,
    place: KeyPath,
    bundles: Mapping[str, Collection[str]],
    archives: dict[str, Collection[str]],
    files: set[str],
    *,
    lite: bool,
) -> Iterator[RecipeFinding]:
    """What is wrong with them.

    Args:
        bundles: the URI of each zip that goes up with the component, and the names in it.
        archives: filled with the folder that each zip becomes on the device; what is in it, or nothing if not known.
        files: filled with the artifacts' file names.
        lite: the lite nucleus reads them, too.
    """
    used = set()
    for index, each in enumerate(found if isinstance(found, list) else ()):
        if not isinstance(each, dict):
            continue
        at = (*place, index)
        yield from key_findings(each, ARTIFACT, at, lite=lite)
        artifact = documented_keys(each, ARTIFACT)
        for key in ("Digest", "Algorithm"):
            if key in artifact:
                what = "is written by the cloud, which does not keep this one"
                yield RecipeFinding((*at, key), what, "leave it out", severity="warning")
        uri = artifact.get("Uri")
        if not isinstance(uri, str):
            continue
        used.add(uri)
        name = uri.rpartition("/")[2]
        if name in files and not uri.startswith("docker:"):
            yield RecipeFinding((*at, "Uri"), f"two artifacts are called {name}, and one would overwrite the other")
        files.add(name)
        yield from key_findings(map_of(artifact, "Permission"), PERMISSION, (*at, "Permission"), lite=lite)
        yield from _case_of_words(artifact, at, lite=lite)
        if str(artifact.get("Unarchive", "NONE")).upper() == "ZIP":
            archives[name.rpartition(".")[0] or name] = bundles.get(uri, ())
        elif uri in bundles:
            yield RecipeFinding((*at, "Unarchive"), f"is missing: {name} is a zip", "write Unarchive: ZIP")
    for uri in bundles:
        if uri not in used:
            mend = "write Uri: {{ artifact.uri | quoted }} into the template"
            yield RecipeFinding(place, f"does not name {uri}, which goes up with the component", mend)


def _case_of_words(artifact: Mapping[str, Any], place: KeyPath, *, lite: bool) -> Iterator[RecipeFinding]:
    """The classic nucleus and the cloud accept `zip` for `ZIP`; the lite nucleus does not."""
    permission = documented_keys(map_of(artifact, "Permission"), PERMISSION)
    words: list[tuple[KeyPath, Any]] = [(("Unarchive",), artifact.get("Unarchive"))]
    words += [(("Permission", key), permission.get(key)) for key in PERMISSION]
    for at, word in words:
        if lite and isinstance(word, str) and word != word.upper():
            what = f"{word!r} is in another case than the lite nucleus reads"
            yield RecipeFinding((*place, *at), what, f"write {word.upper()}", nucleus="lite")
