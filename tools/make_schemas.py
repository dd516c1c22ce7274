"""Write the JSON Schemas of a workflow and of the edge component's configuration. Run it after a change of a class.

What a key means and may be stands at its field: in `emflow.workflow.model`, and in `emflow_schema.edge_config` and
`emflow_schema.agent_config` where the device reads it too. A test compares these files with the classes;
tools/make_reference.py makes docs of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emflow.workflow.json_schema import edge_config_schema, text, workflow_schema

FOLDER = Path(__file__).parents[1] / "schema" / "emflow_schema"


def schemas() -> dict[str, str]:
    """File name in `emflow_schema` to content."""
    return {
        "workflow.schema.json": text(workflow_schema()),
        "edge-config.schema.json": text(edge_config_schema()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder to write to (default: %(default)s)")
    target = parser.parse_args().output
    for name, content in schemas().items():
        (target / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
