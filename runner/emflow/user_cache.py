"""emflow's folder in the user's cache, for what can be had again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A folder of this name in emflow's cache; it is made when it is not there.

    Raises:
        OSError: there is no home folder, the folder cannot be made, or others may write into it.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        home = Path(os.path.expanduser("~"))  # noqa: PTH111 Path.home raises RuntimeError where there is none
        if not home.is_absolute():
            raise FileNotFoundError("there is no home folder")
        base = home / ".cache"
    cache = base / "emflow" / name
    for folder in (*reversed(base.parents), base, cache.parent, cache):  # with this mode whatever the umask is
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
    status = cache.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(f"others may write into {cache}")
    return cache
