"""What host and device must agree on, once: the device's configuration, stream URLs, topics, units, result messages.

The public contracts are JSON Schemas, too: each is a file `<name>.schema.json` in this package.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def text(name: str) -> str:
    """The schema file as it is, for printing and for editors.

    Args:
        name: `workflow`; `edge-config`, the configuration of the edge component; what devices send: `result`,
            `device-status`, `device-metrics`, `capture`; or what commands say with --json: `plan`, `event`, `status`.

    Raises:
        FileNotFoundError: there is no such schema.
    """
    return resources.files(__name__).joinpath(f"{name}.schema.json").read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """The schema as data, for a validator.

    Args:
        name: `workflow`; `edge-config`, the configuration of the edge component; what devices send: `result`,
            `device-status`, `device-metrics`, `capture`; or what commands say with --json: `plan`, `event`, `status`.

    Raises:
        FileNotFoundError: there is no such schema.
    """
    schema: dict[str, Any] = json.loads(text(name))
    return schema
