"""As whom a component runs: a user of the device, or a user and a group, and nothing that a shell would read."""

from __future__ import annotations

from pathlib import Path

import pytest

from emflow.problems import WorkflowProblem
from emflow.workflow.load import check


def given(small: Path, user: str) -> Path:
    text = small.read_text()
    assert text.count("  deployment:\n") == 1
    run_with = f"component: aws.greengrass.Nucleus, run_with: {{user: {user!r}}}, configuration: {{a: b}}"
    settings = f"    settings: [{{{run_with}}}]\n"
    small.write_text(text.replace("  deployment:\n", f"  deployment:\n{settings}"))
    return small


@pytest.mark.parametrize(
    "user", ["root", "ggc_user:ggc_group", "1000:1000", "svc-cam.a", "machine$", "me@corp.example"]
)
def test_a_user_or_a_user_and_a_group_are_taken(small: Path, user: str) -> None:
    (settings,) = check(given(small, user)).workflow.cloud.deployment.settings
    assert settings.run_with is not None
    assert settings.run_with.user == user


@pytest.mark.parametrize("user", ["root; id", "a:b:c", ":group", "user:", "-u", "$(id)", "a b", "root\\n"])
def test_what_is_no_user_is_refused_at_its_position(small: Path, user: str) -> None:
    with pytest.raises(WorkflowProblem) as caught:
        check(given(small, user))
    (finding,) = [each for each in caught.value.findings if each.severity == "error"]
    assert "run_with.user cannot be" in finding.message
    assert "user:group" in finding.mend
