"""Messages made at run time and messages of code that protoc generated are the same bytes, in any order of imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from emflow_proto import messages as m

PACKAGE = Path(__file__).parents[2] / "proto" / "emflow_proto"

# Reads {"message": "hex"} and answers {"message": [JSON of what it read, hex of the same message made anew]}.
FOREIGN = """
import json, sys
import agent_pb2
from google.protobuf import json_format
answer = {}
for name, sent in json.load(sys.stdin).items():
    read = getattr(agent_pb2, name).FromString(bytes.fromhex(sent))
    text = json_format.MessageToJson(read, preserving_proto_field_name=True)
    answer[name] = [text, json_format.Parse(text, getattr(agent_pb2, name)()).SerializeToString().hex()]
json.dump(answer, sys.stdout)
"""


def generate(folder: Path, proto: str) -> Path:
    """protoc's own Python code for a .proto text."""
    (folder / "agent.proto").write_text(proto)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}"]
    subprocess.run(
        [*command, f"--python_out={folder}", f"--grpc_python_out={folder}", str(folder / "agent.proto")], check=True
    )
    return folder


def filled(message: Any, depth: int = 0) -> Any:
    """A message with something in every field, and the last member of each oneof."""
    for number, field in enumerate(message.DESCRIPTOR.fields, start=1):
        value = getattr(message, field.name)
        if field.message_type:
            for _ in range(2 if hasattr(value, "add") else 1):
                filled(value.add() if hasattr(value, "add") else value, depth + 1)
        elif hasattr(value, "extend"):
            value.extend([1, -2, 300])
        elif isinstance(value, (str, bytes)):
            setattr(message, field.name, type(value)(b"a-1") if isinstance(value, bytes) else f"{field.name}-é")
        else:
            setattr(message, field.name, 1 if field.enum_type else 100_000 * number + depth)
    return message


def ask(code: str, folder: Path, question: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], input=question, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("tensor_name", ["bytes", "string"])
def test_generated_code_reads_and_writes_every_message(tmp_path: Path, tensor_name: str) -> None:
    proto = (PACKAGE / "agent.proto").read_text()
    assert proto.count("bytes name = 1;") == 1
    generate(tmp_path, proto.replace("bytes name = 1;", f"{tensor_name} name = 1;"))
    ours = {name: filled(getattr(m, name)()) for name in dir(m) if isinstance(getattr(m, name), type(m.Tensor))}
    assert len(ours) == 20

    sent = json.dumps({name: message.SerializeToString().hex() for name, message in ours.items()})
    answers = json.loads(ask(FOREIGN, tmp_path, sent))

    for name, message in ours.items():
        text, anew = answers[name]
        assert type(message).FromString(bytes.fromhex(anew)) == message
        if tensor_name == "bytes":  # JSON writes bytes in base64, so with strings it looks different
            assert text == json_format.MessageToJson(message, preserving_proto_field_name=True)


@pytest.mark.parametrize("imports", ["agent_pb2, emflow_proto.messages as m", "emflow_proto.messages as m, agent_pb2"])
def test_one_process_may_have_both(tmp_path: Path, imports: str) -> None:
    generate(tmp_path, (PACKAGE / "agent.proto").read_text())
    code = f"import {imports}; print(agent_pb2.Model.FromString(m.Model(name='a').SerializeToString()).name)"
    assert ask(code, tmp_path) == "a\n"


def test_a_type_number_of_a_newer_client_survives() -> None:
    assert m.TensorMetadata.FromString(b"\x10\x2a").data_type == 42


def test_the_package_itself_needs_neither_protobuf_nor_grpc(tmp_path: Path) -> None:
    code = "import sys, emflow_proto; print([n for n in sys.modules if n.startswith(('google', 'grpc'))])"
    assert ask(code, tmp_path) == "[]\n"
