"""Passwords are in nothing that a command prints or writes for all to read, whatever characters they have."""

from __future__ import annotations

import json
import random
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from resources.conftest import client, embedded, endpoint, file  # noqa: F401 fixtures

pytestmark = pytest.mark.e2e

AT_ONCE = 50
"""Passwords in one workflow."""

SIGNS = ["'\"\\`", "{}[]%$#&*!@|<>?:;,=+-/~^", "\n\t", " ", "abcXYZ019", "äß\u20ac\u4e2d\u6587\U0001f511\u00a0\u2028"]
RECIPE = """\
RecipeFormatVersion: "2020-01-25"
ComponentName: {{ component.name | quoted }}
ComponentVersion: {{ version | quoted }}
ComponentDescription: {{ workflow.components[0].configuration.sentence | quoted }}
ComponentConfiguration:
  DefaultConfiguration:
    password: {{ component.configuration.password | json }}
    text: {{ component.configuration.document | json }}
Manifests:
  - Platform: {os: linux, runtime: "*"}
    Lifecycle: {run: 'sh "{{ artifact.folder }}/run.sh"'}
    Artifacts: [{URI: {{ artifact.uri | quoted }}, Unarchive: ZIP}]
"""


def passwords(seed: int) -> list[str]:
    """Random ones, each long enough to be found by chance nowhere."""
    chance = random.Random(seed)

    def one() -> str:
        signs = [chance.choice(chance.choice(SIGNS)) for _ in range(chance.randrange(8, 16))]
        return "P" + "".join(signs) + "q" + str(chance.randrange(10**6))

    return [one() for _ in range(AT_ONCE)]


def plain(text: str) -> str:
    """A text without escapes of whatever kind and depth, and without the signs that need them."""
    for _ in range(4):
        text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
        text = re.sub(r"\\+x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)
        text = re.sub(r"\\+U([0-9a-fA-F]{8})", lambda found: chr(int(found[1], 16)), text)
        text = unquote(text)
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = re.sub(r"\\+[ntNL_P]", "", text)
    return re.sub(r"[\s\\\"'?\ufffd\u2028\u00a0]", "", text)


@pytest.fixture
def secret_workflow(file: Path) -> Callable[[list[str]], Path]:  # noqa: F811
    """Write a workflow that uses passwords wherever one can stand."""

    def write(found: list[str]) -> Path:
        (file.parent / "files").mkdir()
        (file.parent / "files" / "run.sh").write_text("exit 0\n")
        (file.parent / "recipe.j2").write_text(RECIPE)
        values = {f"password_{number}": password for number, password in enumerate(found)}
        (file.parent / "secret.json").write_text(json.dumps(values))
        named = {name: f"{{{{ vars.{name} }}}}" for name in values}
        configuration = {
            "password": named,
            "plain": list(named.values()),
            "sentence": "the first is " + named["password_0"] + " and not another",
            "document": json.dumps({"inner": json.dumps({"list": list(named.values())[:5]})}),
            "environment": "A=1 B=" + named["password_1"],
            "camera": f"rtsp://user:{named['password_2']}@10.0.0.7/live",
        }
        component = {"name": "com.example.Own-{{ vars.thing }}", "recipe": "recipe.j2", "artifacts": "files"}
        own = {"components": [{**component, "configuration": configuration}]}
        declared = "".join(f"password_{number}: null, " for number in range(len(found)))
        file.write_text(yaml.safe_dump(own) + file.read_text().replace("vars: {", f"vars: {{{declared}"))
        return file

    return write


def readable_by_others(folder: Path) -> Iterator[Path]:
    written = {"secret.json"}
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in written and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            yield path


@pytest.mark.parametrize("seed", range(10))
def test_no_command_shows_a_password_in_any_format(emflow, secret_workflow, seed):
    found = passwords(seed)
    path = secret_workflow(found)
    with_values = ("--var-file", "secret.json")
    shown = {
        "validate": emflow("validate", path, *with_values),
        "json": emflow("validate", path, *with_values, "--format", "json"),
        "sarif": emflow("validate", path, *with_values, "--format", "sarif"),
        "stdout": emflow("render", path, *with_values, "--stdout"),
        "render": emflow("render", path, *with_values, "-o", "rendered"),
        "details": emflow("plan", path, *with_values),
        "plan": emflow("--debug", "plan", path, *with_values, "--json", "--out", "plan.json"),
        "apply": emflow("--debug", "apply", path, *with_values, "--yes", "--json"),
        "again": emflow("plan", path, *with_values, "--out", "again.json"),
        "status": emflow("status", path, *with_values, "--json"),
    }
    changed = json.loads((path.parent / "secret.json").read_text())
    (path.parent / "secret.json").write_text(json.dumps({name: value + "2" for name, value in changed.items()}))
    shown["changed"] = emflow("plan", path, *with_values, "--out", "changed.json")
    shown["destroy"] = emflow("destroy", path, *with_values, "--yes")
    texts = {name: ran.out + ran.err for name, ran in shown.items()}
    texts |= {
        str(each.relative_to(path.parent)): each.read_text("utf-8", "replace")
        for each in readable_by_others(path.parent)
    }
    bare = {name: plain(text) for name, text in texts.items()}
    leaks = [(name, password) for password in found for name, text in bare.items() if plain(password) in text]
    assert not [(name, ran.code, ran.err) for name, ran in shown.items() if ran.code]
    assert not leaks
