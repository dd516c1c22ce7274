"""A workflow reads no file outside of its root, and no message quotes a file that is no workflow."""

from __future__ import annotations

import dataclasses
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from emflow.problems import Problem, WorkflowProblem
from emflow.recipes.bundle import application_bundle, folder_bundle, model_archive
from emflow.recipes.lint.findings import findings as recipe_findings
from emflow.recipes.render import application_recipe, component_recipe
from emflow.workflow import Workflow
from emflow.workflow.devices import named_devices
from emflow.workflow.load import check
from emflow.workflow.source.positions import KeyPath
from emflow.workflow.source.recognition import KEYS
from emflow_schema.key import fields

SECRET = "hunter2-in-a-file"
ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "runner"


def reported(path: Path, **more: Any) -> list[str]:
    """All that `validate` says of a workflow, as text."""
    try:
        checked = check(path, environ={}, **more)
    except WorkflowProblem as problem:
        return [str(finding) for finding in problem.findings]
    return [str(finding) for finding in (*checked.warnings, *recipe_findings(checked))]


def host_files(section: type, key_path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every key that names a file of the host, with its help; 0 for the index of a list."""
    for field in fields(section):
        at = (*key_path, field.name)
        inner = field.shape.section or (field.shape.items.section if field.shape.items else None)
        if inner:
            yield from host_files(inner, at if field.shape.section else (*at, 0))
        elif field.shape.key.host_file:
            yield at, field.shape.key.help


FILES = dict(host_files(Workflow))


def naming(small: Path, key_path: KeyPath, name: str) -> Path:
    """The small workflow with a key that names a file."""
    values = yaml.safe_load(small.read_text())
    if key_path[0] == "components":
        values["components"] = [{"name": "com.example.X", "recipe": "own.yaml.j2"}]
    inner: Any = values
    for step, next_step in pairwise(key_path):
        inner = inner[step] if isinstance(step, int) else inner.setdefault(step, [] if next_step == 0 else {})
    inner[key_path[-1]] = name
    small.write_text(yaml.safe_dump(values, sort_keys=False))
    return small


@pytest.fixture
def outside(tmp_path: Path, small: Path) -> Path:
    """A file with a secret, beside the folder of the small workflow, which is moved into one of its own."""
    path = tmp_path.parent / f"{tmp_path.name}-outside.tflite"
    path.write_text(f"password: {SECRET}\n")
    return path


def test_every_key_whose_help_speaks_of_a_file_beside_the_workflow_is_marked() -> None:
    def helps(section: type, key_path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
        for field in fields(section):
            inner = field.shape.section or (field.shape.items.section if field.shape.items else None)
            if inner:
                yield from helps(inner, (*key_path, field.name, *(() if field.shape.section else (0,))))
            else:
                yield (*key_path, field.name), field.shape.key.help

    beside = {key_path for key_path, text in helps(Workflow) if "beside this file" in text}
    assert beside == set(FILES)
    assert len(beside) == 6


def test_no_other_module_makes_a_path_of_a_name_in_a_workflow() -> None:
    joined = re.compile(r"(?:Path|join)\([^\n]*workflow\.folder|workflow\.folder\) */")
    found = {path.name for path in SOURCES.rglob("*.py") if joined.search(path.read_text())}
    # rules and recipes make the path again for their messages only; the lock file is written, by a name of emflow's own
    assert found == {"files_beside.py", "files.py", "devices.py", "render.py", "lock.py"}


@pytest.mark.parametrize("key_path", FILES, ids=lambda key_path: ".".join(map(str, key_path)))
@pytest.mark.parametrize("how", ["absolute", "relative", "link", "linked folder"])
def test_a_file_outside_of_the_folder_is_refused_at_its_key(
    small: Path, outside: Path, key_path: KeyPath, how: str
) -> None:
    (small.parent / "away").symlink_to(outside.parent)
    (small.parent / "link.tflite").symlink_to(outside)
    name = {
        "absolute": str(outside),
        "relative": f"../{outside.name}",
        "link": "link.tflite",
        "linked folder": f"away/{outside.name}",
    }[how]
    said = reported(naming(small, key_path, name))
    errors = [text for text in said if "warning:" not in text]
    assert len(errors) == 1, said
    assert "EM078" in errors[0]
    assert "leads out of the folder" in errors[0] or "is outside of the folder" in errors[0]
    assert "--root DIR" in errors[0]
    assert SECRET not in "\n".join(said)


@pytest.mark.parametrize("key_path", FILES, ids=lambda key_path: ".".join(map(str, key_path)))
def test_a_larger_root_allows_what_is_in_it(small: Path, outside: Path, key_path: KeyPath) -> None:
    said = reported(naming(small, key_path, f"../{outside.name}"), root=outside.parent)
    assert not [text for text in said if "EM078" in text]


def test_what_is_uploaded_is_refused_too_when_no_rule_has_looked(small: Path, outside: Path) -> None:
    workflow = check(small, environ={}).workflow
    (named,) = ({"name": "com.example.X", "recipe": str(outside), "artifacts": str(outside.parent)},)

    def with_edge(**sections: Mapping[str, Any]) -> Workflow:
        edge = workflow.edge
        for name, values in sections.items():
            edge = dataclasses.replace(edge, **{name: dataclasses.replace(getattr(edge, name), **values)})
        return dataclasses.replace(workflow, edge=edge)

    def with_cloud(**sections: Mapping[str, Any]) -> Workflow:
        cloud = workflow.cloud
        for name, values in sections.items():
            cloud = dataclasses.replace(cloud, **{name: dataclasses.replace(getattr(cloud, name), **values)})
        return dataclasses.replace(workflow, cloud=cloud)

    own = dataclasses.make_dataclass("Own", ["name", "recipe", "dependencies", "configuration"])
    uses = {
        ("edge", "model_io", "labels"): lambda: application_bundle(with_edge(model_io={"labels": str(outside)})),
        ("edge", "component", "recipe"): lambda: application_recipe(
            with_edge(component={"recipe": str(outside)}), "1.0.0", "s3://b/k"
        ),
        ("cloud", "model", "artifact"): lambda: model_archive(with_cloud(model={"artifact": str(outside)})),
        ("cloud", "fleet", "devices_file"): lambda: named_devices(with_cloud(fleet={"devices_file": str(outside)})),
        ("components", 0, "recipe"): lambda: component_recipe(
            workflow, own("com.example.X", named["recipe"], {}, {}), "components[0]", "1.0.0"
        ),
        ("components", 0, "artifacts"): lambda: folder_bundle(workflow, named["artifacts"], "components[0].artifacts"),
    }
    assert uses.keys() == FILES.keys()
    for use in uses.values():
        with pytest.raises(Problem, match="is outside of the folder"):
            use()


@pytest.mark.parametrize("name", ["/proc/self/environ", "/etc/passwd", "../x.yaml", "link.yaml", "linked/x.yaml"])
def test_an_import_outside_of_the_folder_is_refused_unread(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    (tmp_path / "x.yaml").write_text(f"vars: {{x: {SECRET}}}\nwrong: [")
    (folder / "link.yaml").symlink_to("/proc/self/environ")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "main.yaml").write_text(f"imports: [{name}]\n")
    (said,) = reported(folder / "main.yaml")
    assert "main.yaml:1:11: EM078" in said
    assert SECRET not in said
    assert os.environ["PATH"] not in said


def test_an_import_may_be_in_a_larger_root(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "shared.yaml").write_text("aws: {region: 7}\n")
    (tmp_path / "flows" / "main.yaml").write_text("imports: [../shared.yaml]\n")
    assert any("shared.yaml:1:15: EM022" in text for text in reported(tmp_path / "flows" / "main.yaml", root=tmp_path))


def test_links_inside_of_the_folder_are_followed(small: Path) -> None:
    real = small.parent / "releases" / "labels-7.txt"
    real.parent.mkdir()
    real.write_text("one\ntwo\n")
    (small.parent / "labels.txt").symlink_to(real)
    small.write_text(f"{small.read_text()}  model_io: {{labels: labels.txt}}\n")
    assert check(small, environ={}).workflow.edge.model_io.labels == "labels.txt"


@pytest.mark.parametrize("which", ["workflow", "variables"])
def test_a_file_of_the_command_line_is_no_link_out_of_its_folder(small: Path, tmp_path: Path, which: str) -> None:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "link.yaml").symlink_to("/proc/self/environ")
    files = {"workflow": (folder / "link.yaml", []), "variables": (small, [folder / "link.yaml"])}
    path, variables = files[which]
    (said,) = reported(path, var_files=variables)
    assert "link.yaml: EM078 a symbolic link leads out of the folder" in said
    assert os.environ["PATH"] not in said


def test_a_file_of_variables_may_be_anywhere(small: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}-vars.yaml"
    elsewhere.write_text("prefix: other\n")
    checked = check(small, var_files=[elsewhere], environ={})
    assert checked.workflow.cloud.buckets.components.name == "other-components"


NOT_OURS = {
    "a file of the environment": f"TOKEN={SECRET}\nOTHER=1\n",
    "one line": SECRET,
    "a mapping of another program": f"{SECRET}: {{a: 1}}\n",
    "a secret of Kubernetes": f"apiVersion: v1\nkind: Secret\nmetadata: {{name: x}}\nstringData: {{p: {SECRET}}}\n",
    "YAML that is wrong": f"password: {SECRET}\n  x: *{SECRET}\n",
    "an alias that is not defined": f"*{SECRET}",
    "keys twice": f"{SECRET}: 1\n{SECRET}: 2\n",
    "bytes": f"{SECRET}\udcff",
}


@pytest.mark.parametrize("what", NOT_OURS)
@pytest.mark.parametrize("name", ["secret.txt", ".env", "values.yaml"])
def test_an_import_that_is_no_part_of_a_workflow_is_not_quoted(tmp_path: Path, what: str, name: str) -> None:
    (tmp_path / name).write_text(NOT_OURS[what], errors="surrogateescape")
    (tmp_path / "main.yaml").write_text(f"imports: [{name}]\n")
    (said,) = reported(tmp_path / "main.yaml")
    assert f"main.yaml:1:11: EM016 {tmp_path / name} is no part of a workflow" in said
    assert SECRET not in said


@pytest.mark.parametrize("what", NOT_OURS)
@pytest.mark.parametrize("which", ["workflow", "variables"])
def test_a_file_of_the_command_line_that_is_no_yaml_is_not_quoted(
    small: Path, tmp_path: Path, what: str, which: str
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(NOT_OURS[what], errors="surrogateescape")
    said = reported(secret) if which == "workflow" else reported(small, var_files=[secret])
    assert len(said) == 1
    assert "EM007" in said[0]
    assert SECRET not in said[0]


@pytest.mark.parametrize("key_path", FILES, ids=lambda key_path: ".".join(map(str, key_path)))
@pytest.mark.parametrize("what", [*NOT_OURS, "a template", "a statement", "an archive"])
def test_a_named_file_that_is_something_else_is_not_quoted(small: Path, key_path: KeyPath, what: str) -> None:
    texts = {**NOT_OURS, "a template": f"{{{{ {SECRET.replace('-', '_')} }}}}", "a statement": f"{{% {SECRET} %}}"}
    name = "secret.tgz" if key_path[-1] == "artifact" else "secret.txt"
    if what == "an archive":
        inner = small.parent / "inner"
        inner.write_text(SECRET)
        with tarfile.open(small.parent / name, "w:gz") as archive:
            archive.add(inner, "model.tflite")
    else:
        (small.parent / name).write_text(texts[what], errors="surrogateescape")
    said = "\n".join(reported(naming(small, key_path, name)))
    assert SECRET not in said
    assert SECRET.replace("-", "_") not in said


def test_the_keys_that_tell_a_workflow_are_those_of_a_workflow() -> None:
    assert {*KEYS, "apiVersion", "kind"} == {field.name for field in fields(Workflow)}
