"""Checks of the artifacts of a manifest."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from emflow.recipes.lint.finding import RecipeFinding
from emflow.recipes.lint.keys import documented_keys, key_findings
from emflow.workflow.source.positions import KeyPath

ARTIFACT = ("URI", "Unarchive", "Permission")

RIGHTS = ("Read", "Execute")


def artifacts(
    found: Any,
    place: KeyPath,
    bundles: Mapping[str, Collection[str]],
    archives: dict[str, Collection[str]],
    files: set[str],
) -> Iterator[RecipeFinding]:
    """What is wrong with them.

    Args:
        bundles: the URI of each zip that goes up with the component, and the names in it.
        archives: filled with the folder that each zip becomes on the device; what is in it, or nothing if not known.
        files: filled with the artifacts' file names.
    """
    if found is not None and (not isinstance(found, list) or not all(isinstance(each, dict) for each in found)):
        yield RecipeFinding(place, "has to be a list of maps with URI")
        return
    used = set()
    for index, each in enumerate(found or ()):
        at = (*place, index)
        yield from key_findings(each, (*ARTIFACT, "Digest", "Algorithm"), at)
        artifact = documented_keys(each, (*ARTIFACT, "Digest", "Algorithm"))
        for key in ("Digest", "Algorithm"):
            if key in artifact:
                yield RecipeFinding((*at, key), "is the cloud's to write", "leave it out")
        uri = artifact.get("URI")
        if not isinstance(uri, str) or not re.match(r"(s3://[^/]+/.|docker:.|greengrass:.)", uri):
            yield RecipeFinding((*at, "URI"), f"{uri!r} is no artifact", "for example: s3://bucket/key")
            continue
        used.add(uri)
        name = uri.rpartition("/")[2]
        if name in files and not uri.startswith("docker:"):
            yield RecipeFinding((*at, "URI"), f"two artifacts are called {name}, and one would overwrite the other")
        files.add(name)
        yield from _handling(artifact, at)
        if str(artifact.get("Unarchive", "NONE")) == "ZIP":
            archives[name.rpartition(".")[0] or name] = bundles.get(uri, ())
        elif uri in bundles:
            yield RecipeFinding((*at, "Unarchive"), f"is missing: {name} is a zip", "write Unarchive: ZIP")
    for uri in bundles:
        if uri not in used:
            mend = "write URI: {{ artifact.uri | quoted }} into the template"
            yield RecipeFinding(place, f"does not name {uri}, which goes up with the component", mend)


def _handling(artifact: Mapping[str, Any], place: KeyPath) -> Iterator[RecipeFinding]:
    if artifact.get("Unarchive", "NONE") not in ("NONE", "ZIP"):
        yield RecipeFinding((*place, "Unarchive"), f"{artifact['Unarchive']!r} is neither NONE nor ZIP")
    permission = artifact.get("Permission", {})
    if not isinstance(permission, dict):
        yield RecipeFinding((*place, "Permission"), "has to be a map", "for example: {Read: OWNER}")
        return
    yield from key_findings(permission, RIGHTS, (*place, "Permission"))
    for right, who in documented_keys(permission, RIGHTS).items():
        if right in RIGHTS and who not in ("NONE", "OWNER", "ALL"):
            yield RecipeFinding((*place, "Permission", right), f"{who!r} is none of NONE, OWNER, ALL")
