"""`emflow render`: what it writes, what it prints, and how it exits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

APPLICATION = "com.example.Scenes"


def files(folder: Path) -> dict[str, bytes]:
    """Name → content of all that is in a folder, but for render's own list."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found.pop(".emflow-render").decode().splitlines() == sorted(found)
    return found


def test_it_writes_everything_and_says_what(emflow, demo: Path, tmp_path: Path) -> None:
    ran = emflow("render", demo, "-o", "out")
    written = files(tmp_path / "out")
    assert ran.code == 0
    assert ran.out.splitlines() == [f"out/{name}" for name in sorted(written)]
    assert {name.rpartition("/")[2] for name in written} == {
        f"{APPLICATION}-1.0.0.yaml",
        f"{APPLICATION}.json",
        "aws.greengrass.SageMakerEdgeManager.json",
        "deployment.json",
        "emflow-edge.zip",
    }


def test_a_second_time_gives_the_same_bytes(emflow, demo: Path, tmp_path: Path) -> None:
    emflow("render", demo, "-o", "first")
    emflow("render", demo, "-o", "second")
    assert files(tmp_path / "first") == files(tmp_path / "second") != {}


def test_without_a_folder_it_writes_to_build(emflow, demo: Path, tmp_path: Path) -> None:
    assert emflow("render", demo).code == 0
    assert (tmp_path / "build" / "demo" / "deployment.json").is_file()


def test_on_standard_output_the_texts_can_be_read_on(emflow, demo: Path, tmp_path: Path) -> None:
    ran = emflow("render", demo, "--stdout", "--component", APPLICATION)
    assert ran.code == 0
    head, _, recipe = ran.out.partition(f"# recipes/{APPLICATION}-1.0.0.yaml\n")
    assert head.startswith("# configuration/")
    assert yaml.safe_load(recipe)["ComponentName"] == APPLICATION
    assert list(tmp_path.iterdir()) == []


def test_variables_reach_the_documents(emflow, demo: Path) -> None:
    ran = emflow("render", demo, "--stdout", "--var", "prefix=acme", "--var", "camera=rtsp://cam/7")
    assert "s3://acme-gg-components/artifacts/" in ran.out
    assert '"url": "rtsp://cam/7"' in ran.out


def test_a_wrong_workflow_is_reported_on_standard_error_and_nothing_is_written(emflow, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("a: 1\n")
    ran = emflow("render", "wrong.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert "wrong.yaml:1:1: EM020 unknown key `a`" in ran.err
    assert not (tmp_path / "build").exists()


def test_missing_labels_are_reported_with_their_path_and_exit_code_1(emflow, demo: Path) -> None:
    workshop = demo.with_name("imx8mplus-mobilenetv2.yaml")
    ran = emflow("render", workshop, "--var", "labels=none/labels.txt")
    assert ran.code == 1
    assert ": EM072 warning: " in ran.err
    assert ran.err.splitlines()[-2:] == [
        f"emflow: {demo.parent}/none/labels.txt: edge.model_io.labels: there is no such file",
        "  add the file, or change the path",
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--component", "com.example.X"), "there are no files for the component 'com.example.X'"),
        (("--stdout", "-o", "out"), "--stdout and --output exclude each other"),
    ],
)
def test_a_wrong_command_line_exits_with_2(emflow, demo: Path, args: tuple[str, ...], message: str) -> None:
    ran = emflow("render", demo, *args)
    assert ran.code == 2
    assert message in ran.err


def test_a_folder_that_cannot_be_written_is_reported(emflow, demo: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    ran = emflow("render", demo, "-o", "taken")
    assert ran.code == 1
    assert "emflow: taken/" in ran.err
    assert "cannot be written" in ran.err


OWN = "com.example.Heartbeat"


def test_a_component_of_ones_own_comes_with_recipe_zip_and_configuration(emflow, demo: Path, tmp_path: Path) -> None:
    example = demo.with_name("own-component.yaml")
    assert emflow("render", example, "-o", "out", "--component", OWN).code == 0
    assert {name.rpartition("/")[2] for name in files(tmp_path / "out")} == {
        f"{OWN}-1.0.0.yaml",
        f"{OWN}.json",
        "artifacts.zip",
    }
    ran = emflow("render", example, "--stdout", "--component", OWN, "--var", "prefix=acme")
    head, _, recipe = ran.out.partition(f"# recipes/{OWN}-1.0.0.yaml\n")
    assert '"every": "2s"' in head
    assert "s3://acme-gg-components/" in yaml.safe_load(recipe)["Manifests"][0]["Artifacts"][0]["Uri"]


def test_a_recipe_that_no_device_can_run_is_reported_and_nothing_is_written(emflow, demo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    shutil.copytree(demo.parent, folder)
    template = folder / "components" / "heartbeat" / "recipe.yaml.j2"
    template.write_text(
        template.read_text().replace("    every: 5s", "    on: 5s").replace("heartbeat.py", "hartbeat.py")
    )
    ran = emflow("render", "flows/own-component.yaml", "-o", "out")
    assert ran.code == 1
    assert f"emflow: {template.relative_to(tmp_path)}: the recipe of {OWN} would not work:" in ran.err
    assert "DefaultConfiguration.on (line 11): is a key that YAML reads as true, and a key has to be a text" in ran.err
    assert (
        "Lifecycle.run.Script (line 28): there is no hartbeat.py in artifacts.zip; did you mean heartbeat.py?"
        in ran.err
    )
    assert not (tmp_path / "out").exists()


CAMERA = ("--var", "camera=rtsp://user:hunter2@camera/s")


def test_files_with_a_password_in_them_are_for_their_owner_only(emflow, demo: Path, tmp_path: Path) -> None:
    assert "password" not in emflow("render", demo, "-o", "out").err
    kept = tmp_path / "out" / "deployment.json"
    assert kept.stat().st_mode & 0o077
    ran = emflow("render", demo, "-o", "out", *CAMERA)
    assert ran.code == 0
    assert "these files contain passwords" in ran.err
    assert "hunter2" not in ran.out + ran.err
    holding = [path for path in (tmp_path / "out").rglob("*.*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert sorted(path.name for path in holding) == [f"{APPLICATION}.json", "deployment.json"]
    assert [path.stat().st_mode & 0o777 for path in holding] == [0o600, 0o600]


def test_no_password_is_printed(emflow, demo: Path) -> None:
    ran = emflow("render", demo, "--stdout", *CAMERA)
    assert ran.code == 0
    assert "rtsp://user:***@camera/s" in ran.out
    assert "hunter2" not in ran.out + ran.err
    (printed,) = [line for line in ran.err.splitlines() if line.startswith("emflow: ")]
    assert printed == "emflow: passwords are shown as ***; files written with -o contain them"


def test_a_password_with_quotes_and_a_camera_beside_it_leave_the_documents_whole(
    emflow, demo: Path, tmp_path: Path
) -> None:
    shutil.copytree(demo.parent / "models", tmp_path / "models")
    text = demo.read_text()
    assert text.count("  streams:\n") == 1
    (tmp_path / "two.yaml").write_text(
        text.replace("  streams:\n", "  streams:\n    - {name: back, url: rtsp://back}\n")
    )
    ran = emflow("render", "two.yaml", "--stdout", "--var", 'camera=rtsp://user:hunt"er\\2@camera/s')
    assert ran.code == 0
    sent = json.loads(ran.out.partition("# deployment.json\n")[2].partition("\n# ")[0])
    streams = json.loads(sent["components"][APPLICATION]["configurationUpdate"]["merge"])["streams"]
    assert [each["url"] for each in streams] == ["rtsp://back", "rtsp://user:***@camera/s"]
    assert "er\\2" not in ran.out + ran.err
