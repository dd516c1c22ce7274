"""How long `emflow validate` takes, beside check-jsonschema with the same schema on the same file.

Target: at most 1.0 x the CPU time (user and system) of check-jsonschema, as processes from start to end, and no boto3
in it. check-jsonschema only holds the file against the schema; emflow also works out variables, checks the rules,
renders the recipes and checks them, and opens the model. The two take turns, so that whatever else the machine does
hits both. Both have their modules as .pyc files, whatever PYTHONDONTWRITEBYTECODE says: a user's have them too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "schema" / "emflow_schema" / "workflow.schema.json"
TARGET = 1.0
HEAVY = {"boto3", "botocore", "grpc", "nodesemver", "numpy", "pydantic", "rich", "semver", "cv2", "moto"}


def cpu_seconds(command: list[str], pycache: Path) -> float:
    """User and system time of one run of a command."""
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(pycache)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    with process.stdout as stream:
        printed = stream.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} exits with {process.returncode}:\n{printed}")
    return usage.ru_utime + usage.ru_stime


def measure(commands: dict[str, list[str]], runs: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        pycache = Path(folder)
        for command in commands.values():
            cpu_seconds(command, pycache)  # the first run fills the disk cache and writes the .pyc files
        for _ in range(runs):
            for name, command in commands.items():
                taken[name].append(cpu_seconds(command, pycache))
    return taken


def imported(file: Path) -> set[str]:
    """The top-level modules that `emflow validate` imports."""
    command = [sys.executable, "-X", "importtime", "-m", "emflow", "validate", str(file)]
    timings = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in timings.splitlines()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="workflows (default: the workshop's and the demo's)")
    parser.add_argument("-n", type=int, default=21, help="runs of each (default: %(default)s)")
    options = parser.parse_args()
    files = options.files or [ROOT / "workflows" / name for name in ("imx8mplus-mobilenetv2.yaml", "demo.yaml")]
    programs = Path(sys.executable).parent
    worst = 0.0
    write = sys.stdout.write
    write("| file | check-jsonschema, CPU | emflow validate, CPU | ratio |\n| --- | ---: | ---: | ---: |\n")
    for file in files:
        peer = [str(programs / "check-jsonschema"), "--schemafile", str(SCHEMA), str(file)]
        taken = measure({"peer": peer, "ours": [str(programs / "emflow"), "validate", str(file)]}, options.n)
        # The median of each pair's ratio: the two runs of a pair met the same machine.
        ratio = statistics.median(ours / theirs for ours, theirs in zip(taken["ours"], taken["peer"], strict=True))
        worst = max(worst, ratio)
        theirs, ours = (statistics.median(taken[name]) * 1000 for name in ("peer", "ours"))
        write(f"| {file.name} | {theirs:.0f} ms | {ours:.0f} ms | {ratio:.2f} |\n")
    heavy = sorted(HEAVY & set().union(*map(imported, files)))
    write(f"\nmedian of {options.n} alternating runs; target: at most {TARGET} x, and no boto3\n")
    write(f"imported of {', '.join(sorted(HEAVY))}: {', '.join(heavy) or 'nothing'}\n")
    return 0 if worst <= TARGET and not heavy else 1


if __name__ == "__main__":
    sys.exit(main())
