"""Components of the user's own: from a template and a folder to a recipe and a zip, the same bytes every time."""

from __future__ import annotations

import dataclasses
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from emflow.problems import Problem
from emflow.recipes.components import WorkflowComponent, workflow_components
from emflow.recipes.render_output import rendered_files
from emflow.workflow import Workflow, load
from emflow.workflow.model import OwnComponent

EXAMPLE = Path(__file__).parents[2] / "workflows" / "own-component.yaml"
HEARTBEAT = "com.example.Heartbeat"
RECIPE = """\
RecipeFormatVersion: "2020-01-25"
ComponentName: {{ component.name }}
ComponentVersion: "{{ version }}"
ComponentDependencies: {{ dependencies | json }}
Manifests:
  - Platform: {os: linux, runtime: "*"}
    Lifecycle: {run: 'sh "{{ artifact.folder }}/bin/run.sh"'}
    Artifacts: [{Uri: {{ artifact.uri | quoted }}, Unarchive: ZIP}]
"""


@pytest.fixture
def own(demo: Workflow, tmp_path: Path) -> Callable[..., WorkflowComponent]:
    """The user's own component of a demo with one, in a folder of its own."""
    (tmp_path / "files" / "bin").mkdir(parents=True)
    (tmp_path / "files" / "bin" / "run.sh").write_text("echo hello\n")

    def make(text: str = RECIPE, **values: Any) -> WorkflowComponent:
        (tmp_path / "recipe.j2").write_text(text)
        given = {"name": "com.example.X", "recipe": "recipe.j2", "artifacts": "files", **values}
        model = Path(demo.folder, demo.cloud.model.artifact)
        labels = Path(demo.folder, str(demo.edge.model_io.labels))
        workflow = dataclasses.replace(
            demo,
            folder=str(tmp_path),
            root="/",
            cloud=dataclasses.replace(demo.cloud, model=dataclasses.replace(demo.cloud.model, artifact=str(model))),
            edge=dataclasses.replace(demo.edge, model_io=dataclasses.replace(demo.edge.model_io, labels=str(labels))),
            components=(OwnComponent(**given),),
        )
        return workflow_components(workflow)[1]

    return make


def test_the_template_gets_name_version_zip_and_dependencies(own: Callable[..., WorkflowComponent]) -> None:
    ours = own(dependencies={"aws.greengrass.TokenExchangeService": ">=2.0.0"})
    recipe = yaml.safe_load(ours.recipe("1.4.2"))
    assert (recipe["ComponentName"], recipe["ComponentVersion"]) == ("com.example.X", "1.4.2")
    assert recipe["ComponentDependencies"]["aws.greengrass.TokenExchangeService"]["VersionRequirement"] == ">=2.0.0"
    (manifest,) = recipe["Manifests"]
    assert manifest["Lifecycle"]["run"] == 'sh "{artifacts:decompressedPath}/artifacts/bin/run.sh"'
    assert manifest["Artifacts"][0]["Uri"] == ours.uri
    assert ours.bundle is not None
    assert ours.uri.endswith(f"-gg-components/artifacts/com.example.X/{ours.bundle.sha256}/artifacts.zip")


def test_the_zip_is_the_folder_and_does_not_depend_on_times_or_what_python_left(
    own: Callable[..., WorkflowComponent], tmp_path: Path
) -> None:
    first = own().bundle
    assert first is not None
    with zipfile.ZipFile(io.BytesIO(first.data)) as archive:
        assert archive.namelist() == ["bin/run.sh"]
    os.utime(tmp_path / "files" / "bin" / "run.sh", (1, 1))
    (tmp_path / "files" / "__pycache__").mkdir()
    (tmp_path / "files" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (tmp_path / "files" / ".DS_Store").write_bytes(b"x")
    assert own().bundle == first
    (tmp_path / "files" / "bin" / "run.sh").write_text("echo other\n")
    assert own().bundle != first


def test_who_may_execute_a_file_goes_with_it(own: Callable[..., WorkflowComponent], tmp_path: Path) -> None:
    plain = own().bundle
    (tmp_path / "files" / "bin" / "run.sh").chmod(0o755)
    runnable = own().bundle
    assert plain is not None
    assert runnable is not None
    modes = [
        zipfile.ZipFile(io.BytesIO(each.data)).infolist()[0].external_attr >> 16 & 0o777 for each in (plain, runnable)
    ]
    assert modes == [0o644, 0o755]


def test_without_a_folder_there_is_no_zip(own: Callable[..., WorkflowComponent]) -> None:
    text = RECIPE.replace(""" 'sh "{{ artifact.folder }}/bin/run.sh"'""", " sleep 1").partition("    Artifacts")[0]
    ours = own(text, artifacts=None)
    assert (ours.bundle, ours.uri, ours.bundle_key) == (None, "", "")
    assert "Artifacts" not in yaml.safe_load(ours.recipe("1.0.0"))["Manifests"][0]


@pytest.mark.parametrize(
    ("there", "instead", "why"),
    [
        ("{{ version }}", "{{ versoin }}", r"recipe\.j2:3: the template fails: there is no `versoin`"),
        ("{{ version }}", "{{ 1 / 0 }}", r"recipe\.j2:3: the template fails: ZeroDivisionError"),
        ("{{ version }}", "{% if %}", r"recipe\.j2:3: the template is wrong"),
        ("{{ version }}", "{{ ''.__class__.__mro__ }}", r"recipe\.j2:3: the template fails: access to attribute"),
        ("{{ version }}", "{{ [1, 2] | random }}", r"recipe\.j2:3: the template is wrong: No filter named 'random'"),
        ("bin/run.sh", "bin/start.sh", r"Lifecycle\.run \(line 7\): there is no bin/start.sh in artifacts\.zip"),
        ("{{ component.name }}", "com.example.Y", r"ComponentName \(line 2\): is 'com.example.Y'"),
        ('runtime: "*"', "runtime: java", r"Platform\.runtime \(line 6\): cannot be 'java'"),
        ("{run:", "{shutdown: [x], run:", r"Lifecycle\.shutdown \(line 7\): has to be a script in a text"),
        ("{{ dependencies | json }}", "{}", r"ComponentDependencies \(line 4\): does not name aws.greengrass.Cli"),
    ],
)
def test_an_error_in_a_template_is_reported_with_its_line(
    own: Callable[..., WorkflowComponent], there: str, instead: str, why: str
) -> None:
    assert there in RECIPE
    ours = own(RECIPE.replace(there, instead), dependencies={"aws.greengrass.Cli": ">=2.0.0"})
    with pytest.raises(Problem, match=why):
        ours.recipe("1.0.0")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"recipe": "none.j2"}, r"none\.j2: components\[0\]\.recipe: there is no such file"),
        ({"artifacts": "none"}, r"none: components\[0\]\.artifacts: there is no such folder"),
        ({"artifacts": "empty"}, r"empty: components\[0\]\.artifacts: the folder is empty"),
    ],
)
def test_what_is_missing_is_reported_with_its_key_and_path(
    own: Callable[..., WorkflowComponent], tmp_path: Path, values: dict[str, str], why: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Problem, match=why):
        own(**values).recipe("1.0.0")


def test_a_camera_password_does_not_get_into_a_recipe(own: Callable[..., WorkflowComponent]) -> None:
    text = RECIPE.replace("    Lifecycle:", "    Name: rtsp://admin:secret@10.0.0.7/1\n    Lifecycle:")
    with pytest.raises(Problem, match="an address with a password in it") as caught:
        own(text).recipe("1.0.0")
    assert "secret" not in str(caught.value)


def test_the_example_is_rendered_whole() -> None:
    made = rendered_files(load(EXAMPLE), HEARTBEAT)
    assert {name.rpartition("/")[2] for name in made} == {
        f"{HEARTBEAT}-1.0.0.yaml",
        f"{HEARTBEAT}.json",
        "artifacts.zip",
    }
    assert made.items() <= rendered_files(load(EXAMPLE)).items()
