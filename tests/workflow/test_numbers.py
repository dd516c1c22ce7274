"""Numbers that JSON does not have: refused where they stand, however they came to be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow.load import check

COMPONENT = """
components:
  - name: com.example.X
    recipe: own.yaml.j2
    configuration: {limit: %s, deep: [{ratio: 0.5}]}
"""


def refused(path: Path, **more: Any) -> list[Finding]:
    with pytest.raises(WorkflowProblem) as raised:
        check(path, environ=more.pop("environ", {}), **more)
    return [each for each in raised.value.findings if each.severity == "error"]


@pytest.mark.parametrize("written", [".nan", ".NaN", ".inf", "-.inf", "+.INF", "1e999", "-1e999"])
def test_it_is_refused_at_the_value_with_what_was_written(small: Path, written: str) -> None:
    text = small.read_text() + COMPONENT % written
    small.write_text(text)
    (finding,) = refused(small)
    line = text[: text.index("limit: ")].count("\n") + 1
    column = text.splitlines()[line - 1].index(written) + 1
    assert (finding.code, finding.line, finding.column) == ("EM023", line, column)
    assert finding.message.startswith(f"components[0].configuration.limit cannot be {written}: ")
    assert finding.mend


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("{{ 1e300 * 1e300 }}", "components[0].configuration.limit"),
        ("{{ 'nan' | float }}", "components[0].configuration.limit"),
        ("{{ vars.top }}", "vars.top"),
        ("{{ vars.top * 2 }}", "vars.top"),
    ],
)
def test_what_a_template_makes_is_refused_once(small: Path, text: str, key: str) -> None:
    declared = small.read_text().replace("vars:\n", "vars:\n  top: .inf\n") if "top" in text else small.read_text()
    small.write_text(declared + COMPONENT % f'"{text}"')
    (finding,) = refused(small)
    assert finding.message.startswith(f"{key} cannot be "), finding


@pytest.mark.parametrize("source", ["--var", "--var-file", "environment"])
def test_what_overrides_a_variable_is_refused_at_the_variable(small: Path, tmp_path: Path, source: str) -> None:
    small.write_text(small.read_text().replace("vars:\n", "vars:\n  top: 0.5\n") + COMPONENT % '"{{ vars.top }}"')
    (tmp_path / "values.yaml").write_text("top: .nan\n")
    sources: dict[str, dict[str, Any]] = {
        "--var": {"vars": {"top": ".nan"}},
        "--var-file": {"var_files": [tmp_path / "values.yaml"]},
        "environment": {"environ": {"EMFLOW_VAR_top": ".nan"}},
    }
    (finding,) = refused(small, **sources[source])
    assert (finding.code, finding.message.split(":")[0]) == ("EM023", "vars.top cannot be nan")


def test_the_settings_of_aws_components_are_looked_at_too(small: Path) -> None:
    settings = "    components: {aws.greengrass.Nucleus: latest, aws.greengrass.TokenExchangeService: latest,"
    settings += " aws.greengrass.SageMakerEdgeManager: latest}\n"
    settings += "    settings: [{component: aws.greengrass.Nucleus, configuration: {mqtt: {port: .inf}}}]\n"
    small.write_text(small.read_text().replace("  deployment:\n", f"  deployment:\n{settings}"))
    (finding,) = refused(small)
    assert "cloud.deployment.settings[0].configuration.mqtt.port cannot be .inf" in finding.message


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(), st.lists(st.sampled_from(["a", "b", 0]), max_size=4))
def test_wherever_a_number_is_it_is_refused_unless_it_is_finite(small: Path, number: float, path: list[Any]) -> None:
    written = "." + repr(number) if not math.isfinite(number) and number > 0 else repr(number)
    written = {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}.get(repr(number), written)
    for step in path:
        written = f"[{written}]" if step == 0 else f"{{{step}: {written}}}"
    whole = small.read_text()
    try:
        small.write_text(whole + COMPONENT % written)
        if math.isfinite(number):
            check(small, environ={})
        else:
            assert [each.code for each in refused(small)] == ["EM023"]
    finally:
        small.write_text(whole)
