"""Evaluates templates in the texts of a workflow: expressions and `{% if %}`, in the sandbox of all templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, nodes

from emflow.workflow.variables.limits import Budget, VariableError, as_text
from emflow.workflow.variables.sandbox import Language, Sandbox, explain

MAX_TEMPLATE = 4_000
"""Characters of one template. Texts with only plain references do not count as templates."""

MAX_TEMPLATES = 5_000
"""Compiling one takes a millisecond. References such as {{ vars.x }} are not compiled and do not count."""

_KNOWN = "templates know `vars` and `env`, as in {{ vars.x }}"


class Templates:
    """The templates of one workflow."""

    def __init__(self, names: Mapping[str, Any], budget: Budget) -> None:
        """`names`: the global names of every template, with their values."""
        self._names = names
        kinds = tuple({type(value) for value in names.values()})
        self._sandbox = Sandbox(budget, Language(statements=False, output=as_text, namespaces=kinds))
        self._count = 0

    def render(self, text: str) -> Any:
        """The value of a text with templates in it: a text, or of any type when it is a single expression.

        Raises:
            VariableError: it cannot be evaluated, or exceeds a limit.
        """
        if len(text) > MAX_TEMPLATE:
            raise VariableError(
                "EM012", f"a template of more than {MAX_TEMPLATE:,} characters", "put parts of it into variables"
            )
        self._count += 1
        if self._count > MAX_TEMPLATES:
            raise VariableError(
                "EM012", f"more than {MAX_TEMPLATES:,} different templates", "put what they share in `vars`"
            )
        try:
            return self._render(text)
        except Exception as error:
            raise explain(error, _KNOWN) from None

    def _render(self, text: str) -> Any:
        tree = self._sandbox.parse(text)
        if _is_single_expression(tree):
            return self._plain(self._sandbox.single_value(tree, self._names))
        return self._sandbox.charged(self._sandbox.rendered(tree, self._names))

    def _plain(self, value: Any) -> Any:
        """A template's value as plain YAML data, charged to the budget."""
        if value is None or isinstance(value, str | int | float):
            return self._sandbox.charged(value)
        if isinstance(value, list | tuple):
            return [self._plain(item) for item in self._sandbox.charged(value)]
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {key: self._plain(item) for key, item in self._sandbox.charged(value).items()}
        raise VariableError("EM012", "the template's value is not a YAML value", "end it with | list")


def _is_single_expression(tree: nodes.Template) -> bool:
    """Whether a template is `{{ a }}`, with nothing besides."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output) or len(tree.body[0].nodes) != 1:
        return False
    return not isinstance(tree.body[0].nodes[0], nodes.TemplateData)


def undefined(error: VariableError) -> StrictUndefined:
    """A value that the filter `default` replaces; any other use raises `error` again."""

    def again(_: str | None = None) -> VariableError:
        return VariableError(error.code, error.message, error.mend)

    return StrictUndefined(hint=error.message, exc=again)  # type: ignore[arg-type]
