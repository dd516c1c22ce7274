"""The artifacts of a manifest: spelt right, and there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from emflow.recipes.lint.faults import Fault, keys, spelt
from emflow.workflow.source.positions import Place

ARTIFACT = ("URI", "Unarchive", "Permission")
RIGHTS = ("Read", "Execute")


def artifacts(
    found: Any,
    place: Place,
    bundles: Mapping[str, Collection[str]],
    archives: dict[str, Collection[str]],
    files: set[str],
) -> Iterator[Fault]:
    """What is wrong with them.

    Args:
        bundles: the URI of each zip that goes up with the component, and the names in it.
        archives: filled with the folder that each zip becomes on the device; what is in it, or nothing if not known.
        files: filled with the artifacts' file names.
    """
    if found is not None and (not isinstance(found, list) or not all(isinstance(each, dict) for each in found)):
        yield Fault(place, "has to be a list of maps with URI")
        return
    used = set()
    for index, each in enumerate(found or ()):
        at = (*place, index)
        yield from keys(each, (*ARTIFACT, "Digest", "Algorithm"), at)
        artifact = spelt(each, (*ARTIFACT, "Digest", "Algorithm"))
        for key in ("Digest", "Algorithm"):
            if key in artifact:
                yield Fault((*at, key), "is the cloud's to write", "leave it out")
        uri = artifact.get("URI")
        if not isinstance(uri, str) or not re.match(r"(s3://[^/]+/.|docker:.|greengrass:.)", uri):
            yield Fault((*at, "URI"), f"{uri!r} is no artifact", "for example: s3://bucket/key")
            continue
        used.add(uri)
        name = uri.rpartition("/")[2]
        if name in files and not uri.startswith("docker:"):
            yield Fault((*at, "URI"), f"two artifacts are called {name}, and one would overwrite the other")
        files.add(name)
        yield from _handling(artifact, at)
        if str(artifact.get("Unarchive", "NONE")) == "ZIP":
            archives[name.rpartition(".")[0] or name] = bundles.get(uri, ())
        elif uri in bundles:
            yield Fault((*at, "Unarchive"), f"is missing: {name} is a zip", "write Unarchive: ZIP")
    for uri in bundles:
        if uri not in used:
            mend = "write URI: {{ artifact.uri | quoted }} into the template"
            yield Fault(place, f"does not name {uri}, which goes up with the component", mend)


def _handling(artifact: Mapping[str, Any], place: Place) -> Iterator[Fault]:
    if artifact.get("Unarchive", "NONE") not in ("NONE", "ZIP"):
        yield Fault((*place, "Unarchive"), f"{artifact['Unarchive']!r} is neither NONE nor ZIP")
    permission = artifact.get("Permission", {})
    if not isinstance(permission, dict):
        yield Fault((*place, "Permission"), "has to be a map", "for example: {Read: OWNER}")
        return
    yield from keys(permission, RIGHTS, (*place, "Permission"))
    for right, who in spelt(permission, RIGHTS).items():
        if right in RIGHTS and who not in ("NONE", "OWNER", "ALL"):
            yield Fault((*place, "Permission", right), f"{who!r} is none of NONE, OWNER, ALL")
