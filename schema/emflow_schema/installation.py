"""How to install what is missing, for messages.

Our distributions are on no index, and a bare name would bring somebody else's package; so the command names where this
installation came from, as its installer recorded it (PEP 610), or a path in a checkout of the repository.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from emflow_schema.version import __version__

FOLDERS = {"emflow-device": "edge_component", "emflow-runner": ".", "emflow-emulator": "runner/emflow_emulator"}
"""Our distributions, and where each is in the repository. Each needs those before it."""


def how_to_install(distribution: str, extra: str = "") -> str:
    """A command for a shell, with what it needs besides a shell.

    Args:
        distribution: one of `FOLDERS`.
        extra: of this distribution; empty for none.
    """
    extras = f"[{extra}]" if extra else ""
    names = list(FOLDERS)
    needed = [] if extra else names[: names.index(distribution)]  # whoever lacks only an extra has these
    wanted = {**dict.fromkeys(needed, ""), distribution: extras}
    for name in FOLDERS:
        sources = _sources(_recorded_origin(name), wanted)
        if sources:
            return "pip install " + " ".join(map(shlex.quote, sources))
    sources = [f"./{FOLDERS[name]}{extras}" if FOLDERS[name] != "." else "." for name, extras in wanted.items()]
    return f"pip install {' '.join(map(shlex.quote, sources))} (in a checkout of emflow's repository)"


def _recorded_origin(distribution: str) -> dict[str, Any]:
    """What the installer wrote about the source of an installed distribution; empty when there is nothing."""
    from importlib import metadata

    try:
        text = metadata.distribution(distribution).read_text("direct_url.json")
        origin = json.loads(text or "{}")
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def _sources(origin: dict[str, Any], wanted: dict[str, str]) -> list[str]:
    """The arguments for pip; empty when the origin is not known, or is there no more."""
    url = str(origin.get("url", ""))
    if "vcs_info" in origin:
        revision = f"{origin['vcs_info'].get('vcs', 'git')}+{url}@{origin['vcs_info'].get('commit_id', 'HEAD')}"
        return [
            f"{name}{extras} @ {revision}" + ("" if FOLDERS[name] == "." else f"#subdirectory={FOLDERS[name]}")
            for name, extras in wanted.items()
        ]
    if not url.startswith("file:"):
        return []
    path = Path(unquote(urlsplit(url).path))
    if path.suffix == ".whl":
        wheels = [(path.parent / f"{name.replace('-', '_')}-{__version__}-py3-none-any.whl") for name in wanted]
        return [f"{wheel}{extras}" for wheel, extras in zip(wheels, wanted.values())] if _all_exist(wheels) else []
    for root in (path, *list(path.parents)[:2]):  # a slice of parents is Python 3.10
        folders = [Path(os.path.normpath(root / FOLDERS[name])) for name in wanted]
        if _all_exist([folder / "pyproject.toml" for folder in folders]) and (root / "edge_component").is_dir():
            return [f"{folder}{extras}" for folder, extras in zip(folders, wanted.values())]
    return []


def _all_exist(paths: list[Path]) -> bool:
    return all(path.exists() for path in paths)
