"""Compile agent.proto into agent.binpb, the descriptor that emflow_proto builds its messages from at run time.

Run it after every change of the .proto: `python tools/make_descriptor.py`. A test compares the two.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "proto" / "emflow_proto"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=PACKAGE / "agent.binpb", help="default: %(default)s")
    target = parser.parse_args().output
    # No comments and no positions in it: they would make every reworded comment a change of the binary.
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PACKAGE}", f"--descriptor_set_out={target}"]
    return subprocess.run([*command, "agent.proto"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
