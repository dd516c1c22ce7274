"""How long the whole demo takes: from the command to the first result, and to the tenth.

Beside it, as the thing to compare with, the same interpreter importing what the demo imports and doing nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORTS = "import boto3, cv2, grpc, moto.server, av, awscrt.mqtt, ai_edge_litert.interpreter"


def demo(results: int) -> tuple[float, float, float]:
    """Seconds to the first result, to the last one, and to the end of the process."""
    started = time.monotonic()
    command = [sys.executable, "-m", "emflow", "up", str(ROOT / "workflows" / "demo.yaml"), "--json"]
    times = []
    with subprocess.Popen(
        [*command, "--results", str(results)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            json.loads(line)
            times.append(time.monotonic() - started)
    if process.returncode or len(times) != results:
        sys.exit(f"the demo ended with {process.returncode} after {len(times)} results")
    return times[0], times[-1], time.monotonic() - started


def imports() -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=3, help="runs (default: %(default)s)")
    parser.add_argument("--results", type=int, default=10, help="results a run (default: %(default)s)")
    options = parser.parse_args()
    demo(1)
    runs = [(*demo(options.results), imports()) for _ in range(options.n)]
    first, last, end, bare = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"{'median of ' + str(options.n) + ' runs':<44}{'seconds':>9}{'x imports':>11}")
    for name, value in (
        ("importing the libraries, nothing else", bare),
        ("demo: command to first result", first),
        (f"demo: command to result {options.results}, one a second", last),
        ("demo: command to the end of the process", end),
    ):
        print(f"{name:<44}{value:>9.2f}{value / bare:>11.1f}")


if __name__ == "__main__":
    main()
