"""The check of recipes: what is right passes, and each mistake is told with its place, its line and what to do."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from emflow.recipes.lint.check import check
from emflow.recipes.lint.context import RecipeContext, Target
from emflow.recipes.reader.finding import RecipeFinding
from emflow.workflow.source.positions import format_path

URI = "s3://bucket/artifacts/com.example.X/abc/artifacts.zip"
GOOD = f"""\
RecipeFormatVersion: "2020-01-25"
ComponentName: com.example.X
ComponentVersion: "1.2.3"
ComponentDescription: An example
ComponentPublisher: Example Corp
ComponentDependencies:
  aws.greengrass.TokenExchangeService:
    VersionRequirement: ">=2.0.0 <3.0.0"
    DependencyType: HARD
ComponentConfiguration:
  DefaultConfiguration:
    topic: em/x
    deep: {{key: first, list: [first]}}
    count: 5
    accessControl:
      aws.greengrass.ipc.mqttproxy:
        "com.example.X:mqttproxy:1":
          operations: [aws.greengrass#PublishToIoTCore]
          resources: [em/x]
Manifests:
  - Name: Linux
    Platform:
      os: linux
      runtime: "*"
    Lifecycle:
      install:
        Script: pip install -r "{{artifacts:decompressedPath}}/artifacts/lib/requirements.txt"
        Timeout: 300
      run:
        RequiresPrivilege: false
        Setenv:
          TOPIC: "{{configuration:/topic}}"
        Script: |-
          test -e "$HOME" && echo $TOPIC {{configuration:/deep/key}}
          exec python3 "{{artifacts:decompressedPath}}/artifacts/main.py" "{{work:path}}" "{{iot:thingName}}"
    Artifacts:
      - Uri: {URI}
        Unarchive: ZIP
        Permission: {{Read: OWNER, Execute: NONE}}
"""
KNOWN = RecipeContext(
    name="com.example.X",
    version="1.2.3",
    dependencies={"aws.greengrass.TokenExchangeService": ">=2.0.0"},
    archives={URI: ("main.py", "lib/requirements.txt")},
    publishes=("em/x",),
    architecture="aarch64",
)
RUN = "Manifests[0].Lifecycle.run"
INSTALL_TIMEOUT = "Manifests[0].Lifecycle.install.Timeout"
TOKEN = "ComponentDependencies.aws.greengrass.TokenExchangeService"
LITE = "the lite nucleus lacks"
CONTROL = "ComponentConfiguration.DefaultConfiguration.accessControl"
POLICY = f"{CONTROL}.aws.greengrass.ipc.mqttproxy.com.example.X:mqttproxy:1"
MISTAKES: list[tuple[str, str, str, str]] = [
    ('"2020-01-25"', '"2021-01-25"', "RecipeFormatVersion", "has to be 2020-01-25"),
    ("RecipeFormatVersion", "recipeFormatVersion", "recipeFormatVersion", "is in another case"),
    ("ComponentPublisher", "ComponentPublished", "ComponentPublished", "is an unknown key"),
    ("com.example.X\n", "com/example\n", "ComponentName", "cannot be 'com/example'"),
    ("com.example.X\n", "com.example.Y\n", "ComponentName", "the workflow says 'com.example.X'"),
    ('"1.2.3"', "1.2", "ComponentVersion", "this is the number 1.2"),
    ('"1.2.3"', '"1.2"', "ComponentVersion", "no semantic version"),
    ('"1.2.3"', '"1.2.4"', "ComponentVersion", "has to be '1.2.3'"),
    ("ComponentDescription: An", "ComponentType: aws.greengrass.lambda\n#", "ComponentType", "the lite nucleus lacks"),
    (">=2.0.0 <3.0.0", "newest", f"{TOKEN}.VersionRequirement", "no version range"),
    ("HARD", "hart", f"{TOKEN}.DependencyType", "neither HARD nor SOFT"),
    ("  aws.greengrass.TokenExchangeService:", "  com.example.Other:", "ComponentDependencies", "does not name"),
    ("    topic: em/x", "    topic: em/x\n    topic: em/y", f"{CONTROL[:-13]}topic", "twice"),
    ("resources: [em/x]", "resources: [em/y]", CONTROL, "does not let it use em/x"),
    ("resources: [em/x]", 'resources: ["#"]', CONTROL, "publish to every topic"),
    ("resources: [em/x]", "resource: [em/x]", f"{POLICY}.resource", "unknown key"),
    ('"com.example.X:mqtt', '"mqtt', POLICY.replace("com.example.X:", ""), "call it com.example.X:mqttproxy:1"),
    ("accessControl", "AccessControl", "ComponentConfiguration.DefaultConfiguration.AccessControl", "in another case"),
    ("      os: linux\n", "      os: windows\n", "Manifests", "has none for linux aarch64"),
    ("      os: linux\n", "      os: linux\n      architecture: amd64\n", "Manifests", "has none for linux aarch64"),
    ("      os: linux\n", "      os: Linux\n", "Manifests[0].Platform.os", "cannot be 'Linux'"),
    ("      os: linux\n", "      os: /linux|darwin/\n", "Manifests[0].Platform.os", "a regular expression"),
    ("      os: linux\n", "      OS: linux\n", "Manifests[0].Platform.OS", "in another case"),
    ('      runtime: "*"\n', "", "Manifests[0].Platform", "has no `runtime`"),
    ("      run:", "      Run:", "Manifests[0].Lifecycle.Run", "in another case"),
    ("      run:", "      runs:", "Manifests[0].Lifecycle.runs", "unknown key"),
    ("      install:", "      startup:", "Manifests[0].Lifecycle.startup", "`run` never does beside it"),
    ("      install:", "      shutdown:", "Manifests[0].Lifecycle.shutdown", LITE),
    ("      install:", "      recover:", "Manifests[0].Lifecycle.recover", LITE),
    ("        Timeout: 300", '        Timeout: "300"', "Manifests[0].Lifecycle.install.Timeout", "no whole number"),
    ("        Timeout: 300", "        Skipif: onpath pip", "Manifests[0].Lifecycle.install.Skipif", LITE),
    ("        Setenv:", "        setenv:", f"{RUN}.setenv", "in another case"),
    ("RequiresPrivilege: false", "requiresPrivilege: false", f"{RUN}.requiresPrivilege", "in another case"),
    ("RequiresPrivilege: false", 'RequiresPrivilege: "perhaps"', f"{RUN}.RequiresPrivilege", "neither true nor false"),
    ("{configuration:/topic}", "{configuration:/topics}", f"{RUN}.Setenv.TOPIC", "did you mean topic"),
    ("{configuration:/topic}", "{configuration:/TO_PIC}", f"{RUN}.Setenv.TOPIC", "did you mean topic"),
    ("{configuration:/topic}", "{configuration:topic}", f"{RUN}.Setenv.TOPIC", "no JSON pointer"),
    ("{configuration:/topic}", "{configuration:/count}", f"{RUN}.Setenv.TOPIC", "turns 5 into 5.0"),
    ("{configuration:/deep/key}", "{configuration:/deep/list/1}", f"{RUN}.Script", "is in no configuration"),
    ("{configuration:/deep/key}", "{configuration:/deep/list/0}", f"{RUN}.Script", "at elements of lists"),
    ("$TOPIC", "${TOPIC}", f"{RUN}.Script", "at braces that are no variable of its own: ${TOPIC}"),
    ("$TOPIC", "{1..3}", f"{RUN}.Script", "at braces that are no variable of its own: {1..3}"),
    ('TOPIC: "{configuration:/topic}"', "TOPIC: 8080", f"{RUN}.Setenv.TOPIC", "this is the number 8080"),
    ('TOPIC: "{configuration:/topic}"', "TOPIC: yes", f"{RUN}.Setenv.TOPIC", "this is true: the lite nucleus"),
    ("ComponentDescription: An", "ComponentType: aws.greengrass.nucleus\n#", "ComponentType", "AWS's own"),
    ('TOPIC: "{configuration:/topic}"', r'TOPIC: "a\0b"', f"{RUN}.Setenv.TOPIC", "the character NUL"),
    ("        Timeout: 300", "        Skipif: exists 'quote", "Manifests[0].Lifecycle.install.Skipif", "no condition"),
    ("        Timeout: 300", "        Timeout: soon", "Manifests[0].Lifecycle.install.Timeout", "no number of seconds"),
    ("        Timeout: 300", '        Timeout: "{configuration:/topic}"', INSTALL_TIMEOUT, "can be: 'em/x'"),
    ("        Timeout: 300", '        Timeout: "{configuration:/tpic}"', INSTALL_TIMEOUT, "did you mean topic"),
    ("{work:path}", "{work:folder}", f"{RUN}.Script", "is no recipe variable"),
    ("{work:path}", "{artifact:path}", f"{RUN}.Script", "did you mean {artifacts:path}"),
    ("{work:path}", "{com.example.Y:work:path}", f"{RUN}.Script", "does not depend"),
    ("{work:path}", "{aws.greengrass.TokenExchangeService:work:path}", f"{RUN}.Script", "no variable of its own"),
    ("artifacts/main.py", "artifacts/man.py", f"{RUN}.Script", "did you mean main.py"),
    ("artifacts/main.py", "artefacts/main.py", f"{RUN}.Script", "nothing is unpacked to"),
    ('"{work:path}"', '"{artifacts:path}/model.bin"', f"{RUN}.Script", "there is no model.bin"),
    ("Unarchive: ZIP", "Unarchive: TAR", "Manifests[0].Artifacts[0].Unarchive", "neither NONE nor ZIP"),
    ("      - Uri:", "      - URI:", "Manifests[0].Artifacts[0].URI", "in another case"),
    ("/abc/", "/other/", "Manifests[0].Artifacts", "which goes up with the component"),
    (f"Uri: {URI}", "Uri: artifacts.zip", "Manifests[0].Artifacts[0].Uri", "is no artifact"),
    (f"Uri: {URI}", 'Uri: "s3://<YOUR BUCKET NAME>/a.zip"', "Manifests[0].Artifacts[0].Uri", "the placeholder"),
    (f"Uri: {URI}", "Uri: s3://BUCKET_NAME/a.zip", "Manifests[0].Artifacts[0].Uri", "BUCKET_NAME is a placeholder"),
    ("Read: OWNER", "Read: EVERYBODY", "Manifests[0].Artifacts[0].Permission.Read", "none of NONE, OWNER, ALL"),
    ("An example", "rtsp://admin:secret@10.0.0.7/1", "recipe", "a password in it"),
    ("An example", "AKIAIOSFODNN7EXAMPLE", "recipe", "an AWS access key"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("there", "instead", "place"),
    [
        (
            'Script: pip install -r "{artifacts:decompressedPath}/artifacts/lib/requirements.txt"',
            "Script: {@}",
            "install.Script",
        ),
        ("Timeout: 300", "Timeout: {@}", "install.Timeout"),
        ("Timeout: 300", "Skipif: {@}", "install.Skipif"),
        ("RequiresPrivilege: false", "RequiresPrivilege: {@}", "run.RequiresPrivilege"),
        (f"Uri: {URI}", "Uri: {@}", "Artifacts[0].Uri"),
        ("Unarchive: ZIP", "Unarchive: {@}", "Artifacts[0].Unarchive"),
        ("topic: em/x", "topic: {@}", "DefaultConfiguration.topic"),
        ("resources: [em/x]", "resources: [{@}]", "resources[0]"),
        ("An example", "{@}", "ComponentDescription"),
        ('VersionRequirement: ">=2.0.0 <3.0.0"', "VersionRequirement: {@}", "VersionRequirement"),
        ("os: linux", "os: {@}", "Platform.os"),
    ],
)
@pytest.mark.parametrize("variable", ["configuration:/topic", "com.example.X:artifacts:path"])
def test_a_variable_without_quotes_is_reported_as_that_and_nothing_else(
    there: str, instead: str, place: str, variable: str
) -> None:
    assert there in GOOD
    text = GOOD.replace(there, instead.replace("@", variable), 1)
    found = [fault for fault in check(text) if fault.about.endswith(place) and fault.nucleus == "any"]
    (fault,) = found
    assert f"is a map to YAML, not the recipe variable {{{variable}}}" in fault.message
    assert fault.severity == "error"
    assert fault.line


def told(text: str, known: RecipeContext = KNOWN) -> list[str]:
    return [str(fault) for fault in check(text, known)]


def test_a_good_recipe_passes() -> None:
    assert told(GOOD) == []
    assert told(json.dumps(yaml.safe_load(GOOD))) == []


@pytest.mark.parametrize(("there", "instead", "place", "what"), MISTAKES, ids=[m[2] + ": " + m[3] for m in MISTAKES])
def test_a_mistake_is_reported_where_it_is(there: str, instead: str, place: str, what: str) -> None:
    text = GOOD.replace(there, instead, 1)
    assert text != GOOD
    faults = check(text, KNOWN)
    (fault,) = [
        fault
        for fault in faults
        if (format_path(fault.place) if fault.place else "recipe") == place and what in str(fault)
    ]
    changed = next(i for i, (a, b) in enumerate(zip(GOOD.splitlines(), text.splitlines(), strict=False), 1) if a != b)
    # At the line that was changed, or at what holds it, which begins before.
    assert 0 < fault.line <= changed + 1


def test_no_yaml_is_reported_with_its_line() -> None:
    (fault,) = check("a: b\nc: ]\n")
    assert (fault.line, "is no YAML" in fault.message) == (2, True)


@pytest.mark.parametrize("text", ["", "- a", "text", "3"])
def test_what_is_no_map_is_no_recipe(text: str) -> None:
    (fault,) = check(text)
    assert fault.message == "is no map of keys to values"


def test_what_only_the_java_nucleus_knows_may_stand_where_only_it_looks() -> None:
    recipe = yaml.safe_load(GOOD)
    manifest = recipe["Manifests"][0]
    classic = {
        **manifest,
        "Platform": {"os": "/linux|darwin/", "runtime": "aws_nucleus_classic"},
        "Lifecycle": {**manifest["Lifecycle"], "shutdown": {"Script": "kill 1", "Skipif": "onpath x"}},
    }
    recipe["Manifests"] = [{**manifest, "Platform": {"os": "linux", "runtime": "aws_nucleus_lite"}}, classic]
    assert told(yaml.safe_dump(recipe)) == []
    classic["Platform"] = {"os": "linux"}
    (alone,) = told(yaml.safe_dump(recipe))
    assert "has no `runtime`, and the lite nucleus ignores such a manifest" in alone
    asked = dataclasses.replace(KNOWN, nucleus=Target.LITE)
    assert len(told(yaml.safe_dump(recipe), asked)) == 3  # no runtime, shutdown, Skipif


@pytest.mark.parametrize(
    ("first", "findings"),
    [
        ({"os": "linux", "runtime": "aws_nucleus_lite"}, 0),
        ({"os": "linux", "runtime": "aws_nucleus_lite", "architecture": "amd64"}, 2),
        ({"os": "linux", "runtime": "aws_nucleus_lite", "board": "a"}, 2),
        ({"runtime": "aws_nucleus_lite"}, 3),
    ],
)
def test_a_manifest_for_both_behind_one_for_every_lite_device_is_the_java_nucleuss(
    first: dict[str, str], findings: int
) -> None:
    recipe = yaml.safe_load(GOOD)
    manifest = recipe["Manifests"][0]
    steps = {**manifest["Lifecycle"], "shutdown": {"Script": "kill 1", "Skipif": "onpath x"}}
    both = {**manifest, "Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": steps}
    recipe["Manifests"] = [{**manifest, "Platform": first}, both]
    asked = dataclasses.replace(KNOWN, nucleus=Target.ANY)
    assert len(told(yaml.safe_dump(recipe), asked)) == findings


def test_a_windows_manifest_is_the_java_nucleuss_anyway() -> None:
    recipe = yaml.safe_load(GOOD)
    windows = {**recipe["Manifests"][0], "Platform": {"os": "windows"}, "Lifecycle": {"shutdown": "stop.bat"}}
    recipe["Manifests"].append(windows)
    assert told(yaml.safe_dump(recipe)) == []


def test_a_manifest_behind_one_that_fits_everything_is_never_reached() -> None:
    recipe = yaml.safe_load(GOOD)
    special = {**recipe["Manifests"][0], "Platform": {"os": "linux", "architecture": "aarch64", "runtime": "*"}}
    recipe["Manifests"].append(special)
    (fault,) = check(yaml.safe_dump(recipe), KNOWN)
    assert "is never reached: Manifests[0] matches all its devices" in str(fault)
    recipe["Manifests"].reverse()
    assert told(yaml.safe_dump(recipe)) == []


def test_a_recipe_wide_lifecycle_is_looked_into_by_selection() -> None:
    recipe = yaml.safe_load(GOOD)
    manifest = recipe["Manifests"][0]
    recipe["Lifecycle"] = {"all": manifest.pop("Lifecycle")}
    assert told(yaml.safe_dump(recipe)) == []
    recipe["Lifecycle"]["all"]["run"]["Script"] = "echo {configuration:/none}"
    (fault,) = check(yaml.safe_dump(recipe), KNOWN)
    assert format_path(fault.place) == "Lifecycle.all.run.Script"


def test_configuration_that_only_the_deployment_sets_is_configuration() -> None:
    text = GOOD.replace("{configuration:/topic}", "{configuration:/later}")
    assert told(text, RecipeContext(configuration={"later": "x"})) == []
    assert len(told(text, RecipeContext())) == 1


def test_a_wildcard_resource_covers_a_topic() -> None:
    text = GOOD.replace("resources: [em/x]", 'resources: ["em/#"]')
    assert told(text) == []


def test_faults_come_in_the_order_of_their_lines() -> None:
    text = GOOD.replace("Read: OWNER", "Read: X").replace('"2020-01-25"', '"1"').replace("HARD", "x")
    lines = [fault.line for fault in check(text)]
    assert lines == sorted(lines)
    assert len(lines) == 3


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([GOOD, "*", "/(/"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(each for key, item in inner for each in places(item, (*place, key)))]


PLACES = places(yaml.safe_load(GOOD))[1:]


@settings(max_examples=150, deadline=None)
@given(place=st.sampled_from(PLACES), value=values)
def test_whatever_stands_anywhere_is_reported_and_never_breaks_the_check(place: tuple[Any, ...], value: Any) -> None:
    recipe = yaml.safe_load(GOOD)
    holder = recipe
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    for fault in check(yaml.safe_dump(recipe), KNOWN):
        assert isinstance(fault, RecipeFinding)
        assert str(fault)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60))
def test_no_text_breaks_the_check(text: str) -> None:
    check(text)


def test_aliases_do_not_blow_it_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert check("\n".join(lines))
    assert check("&a [*a]")
    assert check("Manifests: &a [*a]")


@pytest.mark.parametrize("value", ["!!bool z", "!!int ''", "!!float x", "!!timestamp z", "!!int [1]"])
def test_a_value_that_does_not_fit_its_tag_is_one_finding(value: str) -> None:
    findings = check(f"RecipeFormatVersion: '2020-01-25'\nExtra: {value}\n")
    assert [finding for finding in findings if "tag" in finding.message or "YAML" in finding.message]
