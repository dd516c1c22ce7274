"""Keys that no nucleus knows, or that the lite nucleus does not know in this case."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from emflow.recipes.reader.finding import RecipeFinding
from emflow.workflow.source.positions import KeyPath
from emflow.workflow.suggestions import nearest


def key_findings(
    found: Mapping[str, Any], known: Collection[str], place: KeyPath, *, lite: bool
) -> Iterator[RecipeFinding]:
    """Keys of a map that have no effect.

    Args:
        lite: the lite nucleus reads this map, too.
    """
    right = {key.lower(): key for key in known}
    for key in found:
        if key in known:
            continue
        if key.lower() not in right:
            near = nearest(key, known)
            mend = f"did you mean {near}?" if near else f"known here: {', '.join(known)}"
            yield RecipeFinding((*place, key), "is an unknown key, and has no effect", mend, severity="warning")
        elif lite:
            mend = f"write {right[key.lower()]}, which both nuclei read"
            yield RecipeFinding((*place, key), "is in another case than the lite nucleus reads", mend, nucleus="lite")
