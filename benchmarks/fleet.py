"""A workflow with ten thousand devices, against the embedded AWS.

Targets: devices are registered in batches, and when nothing changed no call is made for a single one; a plan of the
unchanged fleet takes less than 30 s; no process needs more than 300 MB. Beside it the same with one device.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from apply import Place, clients_of
from embedded import embedded_aws, environment

from emflow.engine.plan import make_plan
from emflow.resources import desired_resources
from emflow.workflow import load


@dataclass(frozen=True)
class Ran:
    """One run of `emflow`: seconds, and its largest size in MB."""

    seconds: float
    megabytes: float
    last: str


def emflow(place: Place, *args: str) -> Ran:
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "emflow", *args], env=environment(place.endpoint), stdout=output, stderr=output
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        output.seek(0)
        text = output.read().decode()
    if os.waitstatus_to_exitcode(status):
        sys.exit(text)
    return Ran(seconds, used.ru_maxrss / 1024, text.splitlines()[-1])


def calls_of_a_plan(place: Place, path: Path) -> Counter[str]:
    place.work_against(place.endpoint)
    workflow = load(path)
    clients, calls = clients_of(workflow)
    assert not make_plan(desired_resources(workflow), clients).changes
    return Counter(f"{service}:{name}" for service, name, _ in calls.made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=10_000, help="devices (default: %(default)s)")
    number = parser.parse_args().n
    with embedded_aws() as endpoint, tempfile.TemporaryDirectory() as folder:
        place = Place(endpoint, Path(folder))
        place.work_against(endpoint)
        print(f"{'devices':>8} {'apply':>9} {'size':>9} {'plan':>9} {'size':>9}   calls of the plan, some of them")
        for devices in (1, number):
            name = f"fleet-{devices}"
            place.workflow(name)
            path = place.file(name)
            (place.folder / f"{name}.txt").write_text("\n".join(f"{name}-{each:05}" for each in range(devices - 1)))
            text = path.read_text()
            more = f"devices: [{name}-core], devices_file: {name}.txt"
            path.write_text(text.replace(f"devices: [{name}-core]", more))
            applied = emflow(place, "apply", str(path), "--yes")
            planned = emflow(place, "plan", str(path), "--detailed-exitcode")
            calls = calls_of_a_plan(place, path)
            about = {call: times for call, times in calls.items() if "Device" in call or call.endswith("ListTags")}
            print(
                f"{devices:>8} {applied.seconds:>7.1f} s {applied.megabytes:>6.0f} MB {planned.seconds:>7.1f} s "
                f"{planned.megabytes:>6.0f} MB   {sum(calls.values())}, {about}"
            )
        print("targets: plan of the unchanged fleet under 30 s, under 300 MB, no call for a single device")


if __name__ == "__main__":
    main()
