"""Compile each .proto of emflow_proto into the .binpb beside it, from which its messages are built at run time.

Run it after every change of a .proto: `python tools/make_descriptor.py`. A test compares them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "proto" / "emflow_proto"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=PACKAGE, help="folder (default: %(default)s)")
    folder = parser.parse_args().output
    # No comments and no positions in it: they would make every reworded comment a change of the binary.
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PACKAGE}"]
    for proto in sorted(PACKAGE.glob("*.proto")):
        target = folder / proto.with_suffix(".binpb").name
        done = subprocess.run([*command, f"--descriptor_set_out={target}", proto.name], check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
