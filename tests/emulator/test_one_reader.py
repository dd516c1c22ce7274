"""Every recipe through the check, the embedded Greengrass and the virtual core device: one verdict."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from emflow.recipes.components import workflow_components
from emflow.recipes.lint.check import check
from emflow.recipes.lint.context import RecipeContext, Target
from emflow.recipes.reader.recipe import read
from emflow.workflow.load import load
from emflow_emulator.aws import EmbeddedAws, public_components
from emflow_emulator.aws.errors import ApiError
from emflow_emulator.aws.greengrass import recipe as cloud_recipe
from emflow_emulator.aws.internal_clients import S3Object
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.recipe import parse
from recipes.corpus import CORPUS, FOLDER

WORKFLOWS = Path(__file__).parents[2] / "workflows"
BOARD = {"os": "linux", "architecture": "aarch64", "runtime": "aws_nucleus_classic"}
WITHOUT_CONTEXT = "is in no configuration"
"""What only the workflow around a recipe can tell."""


@pytest.fixture(scope="module")
def aws() -> Iterator[EmbeddedAws]:
    with EmbeddedAws(port=0) as aws:
        yield aws


@pytest.fixture(scope="module")
def client(aws: EmbeddedAws) -> Callable[[str], Any]:
    session: Any = boto3.Session(aws.credentials.id, aws.credentials.secret, region_name="us-east-1")
    return lambda service: session.client(service, endpoint_url=aws.endpoint_url)


def checker_takes(text: str) -> bool:
    found = check(text, RecipeContext(nucleus=Target.CLASSIC))
    return not [each for each in found if each.severity == "error" and WITHOUT_CONTEXT not in each.message]


def cloud_and_core_take(text: str, client: Callable[[str], Any]) -> bool:
    """Whether the embedded Greengrass makes the version, and the device reads what it stored."""
    reading = read(text)
    s3 = client("s3")
    for uri in (
        [artifact.uri for each in reading.recipe.manifests for artifact in each.artifacts] if reading.recipe else ()
    ):
        if uri.startswith("s3://"):
            there = S3Object.at(uri)
            if there.bucket not in [each["Name"] for each in s3.list_buckets()["Buckets"]]:
                s3.create_bucket(Bucket=there.bucket)
            s3.put_object(Bucket=there.bucket, Key=there.key, Body=b"bytes")
    try:
        made = client("greengrassv2").create_component_version(inlineRecipe=text.encode())
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    else:
        stored = client("greengrassv2").get_component(arn=made["arn"])["recipe"]
        # The platform is the only thing that the cloud leaves to the device.
        assert refusal(stored) == "" or "has no manifest for this device" in refusal(stored)
        return not refusal(stored)
    assert status == 400
    assert refusal(text)  # what the cloud refuses, the device would refuse too
    return False


def refusal(text: str | bytes) -> str:
    """Why the device cannot read a recipe; empty where it can."""
    try:
        parse(text, BOARD)
    except DeploymentFailure as failure:
        return str(failure)
    return ""


@pytest.mark.parametrize("name", CORPUS)
def test_a_public_recipe_has_one_verdict(name: str, client: Callable[[str], Any]) -> None:
    text = (FOLDER / name).read_text()
    assert checker_takes(text) == cloud_and_core_take(text, client) == (not CORPUS[name].classic)


@pytest.mark.parametrize("workflow", sorted(WORKFLOWS.glob("*.yaml")), ids=lambda path: path.stem)
def test_our_own_recipes_have_one_verdict(workflow: Path, client: Callable[[str], Any]) -> None:
    loaded = load(workflow)
    model_io = dataclasses.replace(loaded.edge.model_io, labels=None)  # not every example's file is there
    loaded = dataclasses.replace(loaded, edge=dataclasses.replace(loaded.edge, model_io=model_io))
    for number, ours in enumerate(workflow_components(loaded)):
        text = ours.rendered(f"1.{len(workflow.stem)}.{number}").text
        assert checker_takes(text)
        assert cloud_and_core_take(text, client)


def test_the_recipes_of_awss_components_have_one_verdict() -> None:
    """The device gets them from the cloud as it gets all others."""
    for _, document in public_components.recipes():
        stored = cloud_recipe.public(document).text("JSON")
        aws_own = document["ComponentType"] == "aws.greengrass.nucleus"  # only AWS makes components of this type
        assert checker_takes(stored.decode()) is not aws_own
        assert parse(stored, BOARD).name == document["ComponentName"]


GOOD = yaml.safe_load((FOLDER / "both-nuclei.yaml").read_text())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["*", "/(/", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(max_size=6) | st.integers() | st.booleans(), inner, max_size=2)
        | st.sampled_from([{"configuration:/topic": None}])
    ),
    max_leaves=4,
)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(each for key, item in inner for each in places(item, (*place, key)))]


@settings(max_examples=200, deadline=None)
@given(place=st.sampled_from(places(GOOD)[1:]), value=VALUES)
def test_whatever_stands_anywhere_the_three_agree(place: tuple[Any, ...], value: Any) -> None:
    recipe = copy.deepcopy(GOOD)
    holder = recipe
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    text = yaml.safe_dump(recipe)
    errors = read(text).errors
    if errors:
        with pytest.raises(ApiError):
            cloud_recipe.parse(text.encode())
    else:
        assert cloud_recipe.parse(text.encode()).text("JSON")
    assert bool(errors) == bool(refusal(text) and "has no manifest" not in refusal(text))
    said = {str(finding) for finding in check(text, RecipeContext(nucleus=Target.CLASSIC))}
    assert {str(error) for error in errors} <= said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !!python/object:os.system x", "has the tag"),
        ("a: !!set {b, c}", "has the tag 'set'"),
        ("a: !!binary aGVsbG8=", "has the tag 'binary'"),
        ("? [a, b]\n: c", "has a key that is a map or a list"),
        ("a: {{b: c}: d}", "braces within braces need quotes"),
        ("a: .inf", "is no number of JSON"),
        ("a: &a [*a]", "contains itself"),
        (
            "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))]),
            "values",
        ),
        ('{"a": "\\ud800"}', "half of a character"),
        ("Run: {artifacts:path}/run.sh", "begins with a recipe variable needs quotes"),
        ("- " * 200 + "a", "nested too deeply"),
    ],
)
def test_what_has_no_equal_in_json_is_refused_by_all_three_in_words(text: str, words: str) -> None:
    assert any(words in str(finding) for finding in check(text))
    with pytest.raises(ApiError):
        cloud_recipe.parse(text.encode())
    with pytest.raises(DeploymentFailure):
        parse(text, BOARD)


def test_a_template_that_was_not_filled_in_is_one_error_where_it_is() -> None:
    text = yaml.safe_dump(GOOD).replace("ComponentName: com.example.BothNuclei", "ComponentName: {{component}}")
    (error,) = read(text).errors
    assert str(error) == "ComponentName (line 8): has a key that is a map or a list; braces within braces need quotes"


def test_dates_and_times_stay_texts_and_json_may_have_tabs() -> None:
    recipe = copy.deepcopy(GOOD)
    defaults = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    text = yaml.safe_dump(recipe).replace("topic: em/both", "topic: em/both\n    since: 2026-01-31\n    sign: =")
    found = read(text).recipe
    assert found is not None
    assert found.defaults == {**defaults, "since": "2026-01-31", "sign": "="}
    with_tabs = read("\N{ZERO WIDTH NO-BREAK SPACE}" + json.dumps(recipe, indent="\t")).recipe
    assert with_tabs == read(yaml.safe_dump(recipe)).recipe
