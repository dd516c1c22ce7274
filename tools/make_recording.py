"""Record plan, apply, apply again, drift and destroy, for docs/recording.md: real runs against `emflow local`.

    .venv/bin/python tools/make_recording.py                 writes docs/recording.md
    .venv/bin/python tools/make_recording.py --output FILE   writes there

Everything in the recording is what the commands printed; only the temporary folder and ports, which are others each
time, are replaced by fixed ones. It takes about a minute, and needs what `make demo` needs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

ROOT = Path(__file__).parents[1]
THING = "iMX8MPEVK-Core-001"
BUCKET = "emflow-demo-gg-components"
HEAD = """# A recording

`emflow plan`, `apply`, `apply` again, drift and `destroy`, as they were printed against
[`emflow local`](on-one-machine.md): the embedded AWS and one virtual core device, without a terminal, so that every
event is a line. Made by `tools/make_recording.py`. On AWS a compilation takes two or three minutes instead of a second.
"""


class Recording:
    """Runs commands in a folder and keeps what they print."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._parts: list[str] = []

    def title(self, text: str) -> None:
        self._parts.append(f"\n## {text}\n")

    def remark(self, text: str) -> None:
        self._parts.append(f"\n{text}\n")

    def run(self, *args: str, code: int = 0) -> None:
        """Run `emflow …`, which has to end with this exit code."""
        ran = subprocess.run(
            [sys.executable, "-m", "emflow", *args],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        if ran.returncode != code:
            raise SystemExit(f"emflow {' '.join(args)} ended with {ran.returncode}, not {code}:\n{ran.stdout}")
        shown = ran.stdout + (f"# exit code {code}\n" if code else "")
        self._parts.append(f"\n```console\n$ emflow {' '.join(args)}\n{shown}```\n")

    def text(self) -> str:
        """All of it, the same wherever and whenever it is made, but for the times and identities in it."""
        text = HEAD + "".join(self._parts)
        text = text.replace(f"{self._folder}/", "").replace(str(self._folder), ".")
        text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:4566", text)
        return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@contextmanager
def local_aws(folder: Path) -> Iterator[dict[str, str]]:
    """`emflow local` with a core device; the environment of somebody who works against it."""
    log = folder / "local.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "emflow", "local", "--port", "0", "--mqtt-port", "0", "--core", THING],
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        )
    try:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            if "Ctrl-C ends it" in line:
                break
        exports = re.findall(r"(AWS_\w+)=(\S+)", "".join(printed))
        if not exports:
            raise SystemExit(f"emflow local did not start:\n{''.join(printed)}{log.read_text()}")
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "EMFLOW_"))}
        yield {**own, **dict(exports), "COLUMNS": "120"}
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def drift(environment: dict[str, str]) -> None:
    """What somebody does at the console: opens a bucket, and lets credentials live for half a day."""
    key = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
    session = boto3.Session(*key, region_name=environment["AWS_DEFAULT_REGION"])
    endpoint = environment["AWS_ENDPOINT_URL"]
    session.client("s3", endpoint_url=endpoint).delete_public_access_block(Bucket=BUCKET)
    iot = session.client("iot", endpoint_url=endpoint)
    (alias,) = iot.list_role_aliases()["roleAliases"]
    iot.update_role_alias(roleAlias=alias, credentialDurationSeconds=43200)


def record(recording: Recording, environment: dict[str, str]) -> None:
    recording.title("Plan")
    recording.remark("Nothing is there yet. The plan is also written to a file, for exactly this to be applied.")
    recording.run("plan", "demo.yaml", "--out", "plan.json", "--detailed-exitcode", code=3)
    recording.title("Apply")
    recording.remark("The plan in the file is executed as it is; `--wait` follows the deployment on the device.")
    recording.run("apply", "plan.json", "--wait")
    recording.run("status", "demo.yaml")
    recording.title("Apply again")
    recording.run("apply", "demo.yaml", "--yes")
    recording.remark("A plan whose world has moved is refused: this one was made when nothing was there.")
    recording.run("apply", "plan.json", code=1)
    recording.title("Drift")
    recording.remark(
        "Somebody removes a bucket's public access block at the console, and lets the devices' credentials live for "
        "twelve hours."
    )
    drift(environment)
    recording.run("plan", "demo.yaml", "--detailed-exitcode", code=3)
    recording.run("apply", "demo.yaml", "--yes")
    recording.title("Destroy")
    recording.run("destroy", "demo.yaml", "--yes")
    recording.remark("Data is removed only with `--delete-data`; then nothing is left.")
    recording.run("destroy", "demo.yaml", "--yes", "--delete-data")
    recording.run("destroy", "demo.yaml", "--yes")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--output", type=Path, default=ROOT / "docs" / "recording.md")
    output: Path = options.parse_args().output
    with tempfile.TemporaryDirectory(prefix="emflow-recording-") as name:
        folder = Path(name).resolve()
        work = folder / "work"
        shutil.copytree(ROOT / "workflows" / "models", work / "models")
        shutil.copy(ROOT / "workflows" / "demo.yaml", work)
        with local_aws(folder) as environment:
            recording = Recording(work, environment)
            record(recording, environment)
    output.write_text(recording.text(), encoding="utf-8")


if __name__ == "__main__":
    main()
