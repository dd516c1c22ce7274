"""What boards get of the contract runs with a bare Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import emflow_schema


def test_the_contract_needs_nothing_but_the_standard_library() -> None:
    """In an interpreter that has nothing else."""
    source = Path(emflow_schema.__file__).parents[1]
    modules = [path.stem for path in Path(emflow_schema.__file__).parent.glob("*.py") if path.stem != "__init__"]
    program = f"import sys; sys.path.insert(0, {str(source)!r})\n" + "".join(
        f"import emflow_schema.{name}\n" for name in modules
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {"edge_config", "configuration", "tflite", "result_message"} <= set(modules)
