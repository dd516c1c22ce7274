"""Renders and checks recipes, from the built-in template and from the user's own.

Templates are Jinja2: sandboxed, strict about unknown names, and deterministic.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import PackageLoader

from emflow.json_text import to_json
from emflow.problems import Problem
from emflow.recipes.bundle import BUNDLE
from emflow.recipes.configuration import application_configuration
from emflow.recipes.deployment import application_dependencies, secrets
from emflow.recipes.lint.check import check
from emflow.recipes.lint.context import RecipeContext, Target
from emflow.recipes.reader.finding import RecipeFinding
from emflow.timing import timed
from emflow.workflow.files_beside import path_beside
from emflow.workflow.model import OwnComponent, Workflow
from emflow.workflow.source.safe_open import read_text
from emflow.workflow.topic_grants import granted
from emflow.workflow.variables.limits import Budget
from emflow.workflow.variables.sandbox import Language, Sandbox, explain

TEMPLATE = "application.recipe.yaml.j2"
RUNTIME_TEMPLATE = "runtime.recipe.yaml.j2"
MAX_TEMPLATE_BYTES = 128 * 1024
"""Far more than a recipe may have. Compiling a template of this size takes seconds."""

MAX_SHOWN_FAULTS = 20
"""Faults of one recipe that an error lists."""

_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON has as they are."""

RECIPE_KEY = re.compile("RecipeFormatVersion|ComponentName|Manifests|{%-? *(extends|include)", re.IGNORECASE)
"""What every template of a recipe has: a key of one, or another template."""

ARCHITECTURES = dict.fromkeys(
    ("imx8mplus", "imx8qm", "jetson_nano", "jetson_tx1", "jetson_tx2", "jetson_xavier"), "aarch64"
)
"""The architecture of those of Neo's target devices that have only one."""


_log = logging.getLogger("emflow.templates")


def render_template(text: str, values: Mapping[str, Any], where: str, budget: Budget | None = None) -> str:
    """Render a template.

    Args:
        where: the template's name, for messages.
        budget: for the time and the output of several templates together; one of its own when None.

    Raises:
        Problem: the template is wrong, or exceeds a limit; it names the template's line.
    """
    filters: Mapping[str, Callable[..., Any]] = {"quoted": quoted, "plain": plain, "json": as_json, "tojson": as_json}
    language = Language(statements=True, output=_output, filters=filters, loader=PackageLoader("emflow.recipes"))
    try:
        with timed(_log, "template %s rendered", where):
            return Sandbox(budget or Budget(), language).rendered(text, values)
    except Exception as error:
        reason = explain(error, f"known names: {', '.join(sorted(values))}")
        line = reason.line or _line(error)
        raise Problem(reason.message, where=f"{where}:{line}" if line else where, mend=reason.mend) from None


def _output(value: Any) -> str:
    """A value as a part of a recipe's text: as Python writes it, but for what is not there."""
    return str(value)


def quoted(text: str) -> str:
    """A YAML double-quoted string on one line."""
    dumped: str = yaml.safe_dump(str(text), default_style='"', allow_unicode=True, width=10**9)
    return dumped.rstrip("\n")


def plain(text: str) -> str:
    """A YAML string, without quotes if it is unambiguous without."""
    bare = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*(://[A-Za-z0-9_.:/-]*[A-Za-z0-9/])?", text)
    return text if bare and yaml.safe_load(text) == text else quoted(text)


def as_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON, which is YAML too: what YAML reads as a line break, or not at all, is escaped.

    On one line without `indent`.
    """
    text = to_json(value, default=dict, indent=None if indent is None else min(indent, 16), ascii_only=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _line(error: BaseException) -> int:
    """The template's line that failed, which only the traceback contains; 0 if it does not."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return lines[-1] or 0 if lines else 0


class RecipeProblem(Problem):
    """A recipe that no device could run. `findings`: all faults; the message has the first `MAX_SHOWN_FAULTS`."""

    def __init__(self, faults: Sequence[RecipeFinding], component: str, where: str) -> None:
        listed = [f"  {fault}" for fault in faults[:MAX_SHOWN_FAULTS]]
        if len(faults) > MAX_SHOWN_FAULTS:
            listed.append(f"  and {len(faults) - MAX_SHOWN_FAULTS} more")
        what = "\n".join([f"the recipe of {component} would not work:", *listed])
        super().__init__(
            what,
            where=where,
            mend="Line numbers are those of the rendered recipe (emflow render), not of the template.",
        )
        self.findings = tuple(faults)


@dataclass(frozen=True)
class Artifact:
    """`artifact` in a template: a component's zip, and the folder that a device unpacks it to."""

    uri: str
    name: str

    @property
    def folder(self) -> str:
        """Where the device unpacks it, as a recipe writes it."""
        return f"{{artifacts:decompressedPath}}/{self.name.rpartition('.')[0]}"


@dataclass(frozen=True)
class RenderedRecipe:
    """A rendered recipe that has not been checked.

    Args:
        where: the template's name, for messages.
        known: what the recipe is checked against.
        built_in: from emflow's own template.
    """

    text: str
    component: str
    where: str
    known: RecipeContext
    built_in: bool = False

    def findings(self, nucleus: Target | None = None) -> tuple[RecipeFinding, ...]:
        """Every mistake that concerns the nucleus."""
        return check(self.text, replace(self.known, nucleus=nucleus))

    def checked(self) -> str:
        """The recipe's text. Raises RecipeProblem, with all errors, when no device could run it."""
        errors = [finding for finding in self.findings() if finding.severity == "error"]
        if errors:
            raise RecipeProblem(errors, self.component, self.where)
        return self.text


def application_recipe(workflow: Workflow, version: str, bundle_uri: str, contents: Collection[str] = ()) -> str:
    """The application component's recipe as YAML text, checked. Arguments and errors: `render_application`."""
    return render_application(workflow, version, bundle_uri, contents).checked()


def component_recipe(
    workflow: Workflow,
    component: OwnComponent,
    key: str,
    version: str,
    artifact: Artifact | None = None,
    contents: Collection[str] = (),
) -> str:
    """The recipe of one of the workflow's `components`, checked. Arguments and errors: `render_component`."""
    return render_component(workflow, component, key, version, artifact, contents).checked()


def render_application(
    workflow: Workflow,
    version: str,
    bundle_uri: str,
    contents: Collection[str] = (),
    budget: Budget | None = None,
) -> RenderedRecipe:
    """The application component's recipe.

    Args:
        version: the component version, three numbers; `auto` has to be resolved already.
        bundle_uri: `s3://bucket/key` of the application bundle.
        contents: the names of the files in it, if known.
        budget: as for `render_template`.

    Raises:
        Problem: the template is wrong.
    """
    component = workflow.edge.component
    dependencies = _hard_dependencies(application_dependencies(workflow))
    topics = granted(workflow)
    text, where = _built_in(), TEMPLATE
    if component.recipe is not None:
        text, where = _template(workflow, component.recipe, "edge.component.recipe")
    values = {
        **_values(workflow, component, version, Artifact(bundle_uri, BUNDLE)),
        "dependencies": dependencies,
        "model_component": workflow.cloud.package.component,
        "topics": topics,
        "topic": topics[0],
        "secrets": secrets(workflow),
    }
    recipe = render_template(text, values, where, budget)
    known = RecipeContext(
        name=component.name,
        version=version,
        dependencies=application_dependencies(workflow),
        configuration=application_configuration(workflow, version),
        archives={bundle_uri: contents},
        publishes=topics,
        reads=secrets(workflow),
        architecture=ARCHITECTURES.get(workflow.cloud.compile.target_device, ""),
    )
    return RenderedRecipe(recipe, component.name, where, known, built_in=component.recipe is None)


def render_component(
    workflow: Workflow,
    component: OwnComponent,
    key: str,
    version: str,
    artifact: Artifact | None = None,
    contents: Collection[str] = (),
    budget: Budget | None = None,
) -> RenderedRecipe:
    """The recipe of one of the workflow's `components`.

    Args:
        key: its key path in the workflow, for messages.
        artifact: its zip, if it has one.
        contents: the names of the files in it.
        budget: as for `render_template`.

    Raises:
        Problem: the template is missing or wrong.
    """
    text, where = _template(workflow, component.recipe, f"{key}.recipe")
    values = {
        **_values(workflow, component, version, artifact),
        "dependencies": _hard_dependencies(component.dependencies),
        "configuration": component.configuration,
    }
    recipe = render_template(text, values, where, budget)
    known = RecipeContext(
        name=component.name,
        version=version,
        dependencies=component.dependencies,
        configuration=component.configuration,
        archives={artifact.uri: contents} if artifact else {},
        architecture=ARCHITECTURES.get(workflow.cloud.compile.target_device, ""),
    )
    return RenderedRecipe(recipe, component.name, where, known)


def _hard_dependencies(dependencies: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """A recipe's `ComponentDependencies`. HARD: a component starts after its dependencies, and restarts with them."""
    return {
        name: {"VersionRequirement": requirement, "DependencyType": "HARD"}
        for name, requirement in dependencies.items()
    }


def _values(workflow: Workflow, component: Any, version: str, artifact: Artifact | None) -> dict[str, Any]:
    """The names that every template has."""
    return {
        "component": component,
        "version": version,
        "artifact": artifact,
        "vars": workflow.vars,
        "workflow": workflow,
    }


def runtime_template() -> tuple[str, str]:
    """The template of the Runtime component, and its name."""
    return _built_in(RUNTIME_TEMPLATE), RUNTIME_TEMPLATE


@cache
def _built_in(template: str = TEMPLATE) -> str:
    return files("emflow.recipes").joinpath("templates", template).read_text(encoding="utf-8")


def _template(workflow: Workflow, name: str, key: str) -> tuple[str, str]:
    """The text of a template beside the workflow, and its path."""
    path = Path(workflow.folder, name)
    try:
        text = read_text(path_beside(workflow, name), MAX_TEMPLATE_BYTES)
    except Problem as problem:
        raise Problem(f"{key}: {problem.what}", where=problem.where, mend=problem.mend) from None
    except FileNotFoundError:
        mend = "add the file, or change the path"
        raise Problem(f"{key}: there is no such file", where=str(path), mend=mend) from None
    except UnicodeDecodeError:
        raise Problem(f"{key}: is not UTF-8 text", where=str(path)) from None
    except OSError as error:
        raise Problem(f"{key}: cannot be read: {error.strerror}", where=str(path)) from None
    if not RECIPE_KEY.search(text):  # it may hold secrets: errors of the template or the recipe would quote it
        mend = "a template has at least RecipeFormatVersion or Manifests in it"
        raise Problem(f"{key}: is no template of a recipe", where=str(path), mend=mend)
    return text, str(path)
