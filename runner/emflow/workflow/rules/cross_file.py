"""Rules between workflow files that are checked together: two that want the same thing give a warning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from emflow.problems import Finding
from emflow.workflow.load import Checked
from emflow.workflow.source.positions import KeyPath


def findings(checked: Sequence[Checked]) -> Iterator[Finding]:
    """What contradicts each other in several files, reported at the later one."""
    names: dict[str, str] = {}
    deployed: dict[tuple[str, str, str], str] = {}
    for one in checked:
        path, workflow = one.document.path, one.workflow
        name = workflow.metadata.name
        first = names.setdefault(name, path)
        if first != path:
            message = f"{first} is called {name!r} too, so `destroy` of one takes down what the other made"
            yield _warning(one, "EM049", ("metadata", "name"), message, "give each file a name of its own")
        target = workflow.cloud.deployment.target.arn_suffix
        for place, component in _components(one):
            first = deployed.setdefault((workflow.aws.region, target, component), path)
            if first != path:
                message = f"{first} deploys {component!r} to {target} too: the one applied last replaces the other's"
                mend = "give it a name of its own, or deploy to another target"
                yield _warning(one, "EM048", place, message, mend)


def _components(one: Checked) -> Iterator[tuple[KeyPath, str]]:
    yield ("edge", "component", "name"), one.workflow.edge.component.name
    yield ("cloud", "package", "component", "name"), one.workflow.cloud.package.component.name
    for index, component in enumerate(one.workflow.components):
        yield ("components", index, "name"), component.name


def _warning(one: Checked, code: str, place: KeyPath, message: str, mend: str) -> Finding:
    return replace(one.document.finding(code, place, message, mend), severity="warning")
