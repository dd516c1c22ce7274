"""Evaluates templates: Jinja2 expressions in a sandbox with limits on time and memory.

Expressions and `{% if %}`; no loops, no macros, nothing random or machine-dependent. Every value that can grow is
charged to a budget before it is made, so a few characters cannot produce gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS

from emflow.workflow.variables.limits import Budget, VariableError, as_text

MAX_TEMPLATE = 4_000
"""Characters of one template. Texts with only plain references do not count as templates."""

MAX_TEMPLATES = 5_000
"""Compiling one takes a millisecond. References such as {{ vars.x }} are not compiled and do not count."""

MAX_NUMBER = 10**30

_NODES = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Name, nodes.Const, nodes.List, nodes.Tuple),
    *(nodes.Dict, nodes.Pair, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Call),
    *(nodes.Keyword, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg),
    *(nodes.Pos, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Concat),
)
_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last", "length"),
    *("list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr"),
    *("sort", "title", "trim", "unique", "upper"),
)
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        {
            *("capitalize", "count", "endswith", "find", "isalnum", "isalpha", "isdecimal", "isdigit", "islower"),
            *("isupper", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind"),
            *("rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper"),
        }
    ),
    list: frozenset({"count", "index"}),
    dict: frozenset({"get", "items", "keys", "values"}),
}


class Templates:
    """The templates of one workflow."""

    def __init__(self, names: Mapping[str, Any], budget: Budget) -> None:
        """`names`: the global names of every template, with their values."""
        self._names = names
        self._jinja = _Jinja(budget, tuple({type(value) for value in names.values()}))
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
        except VariableError:
            raise
        except TemplateSyntaxError as error:
            raise VariableError("EM012", f"the template is wrong: {error.message}") from None
        except TemplateError as error:
            message = re.sub(r"^'(\w+)' is undefined$", r"there is no `\1`", error.message or "")
            mend = "templates know `vars` and `env`, as in {{ vars.x }}"
            raise VariableError("EM012", f"the template fails: {message}", mend) from None
        except (RecursionError, SyntaxError, MemoryError):  # Python's compiler has its own limits
            raise VariableError(
                "EM012", "the template is nested too deeply", "put parts of it into variables"
            ) from None
        except Exception as error:  # any error of an expression: 1 / 0, "a" + 1, …
            raise VariableError("EM012", f"the template fails: {type(error).__name__}: {error}") from None

    def _render(self, text: str) -> Any:
        tree = self._jinja.parse(text)
        _refuse_unsupported(tree)
        single = _single_expression(tree)
        if single is None:
            return self._jinja.charged(self._run(tree))
        found: list[Any] = []

        def capture(value: Any) -> str:
            found.append(value)
            return ""

        tree.body = [nodes.Output([nodes.Filter(single, "_keep", [], [], None, None)])]
        self._jinja.filters["_keep"] = capture
        self._run(tree)
        value = found[0]
        if isinstance(value, Undefined):
            str(value)  # raises, with the reason
        return self._jinja.plain(value)

    def _run(self, tree: nodes.Template) -> str:
        tree.set_environment(self._jinja)
        code = self._jinja.compile(tree)
        return self._jinja.template_class.from_code(self._jinja, code, {}).render(self._names)


class _Jinja(ImmutableSandboxedEnvironment):
    """Jinja2 reduced to the supported language (see `_refuse_unsupported`), with a budget."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%"})

    def __init__(self, budget: Budget, namespaces: tuple[type, ...]) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=as_text, cache_size=0
        )
        self.globals = {}
        self.tests = {name: TESTS[name] for name in TESTS if name not in {"filter", "test", "callable", "escaped"}}
        self.filters = {name: self._charging(FILTERS[name]) for name in _FILTERS}
        self.filters |= {
            "join": self._join,
            "replace": self._replace,
            "round": _round,
            "string": as_text,
            "_joined": lambda parts: self._join(parts),
            "_sliced": lambda value, *ends: self.charged(value[slice(*ends)]),
        }
        self._charge = budget.charge
        self._namespaces = namespaces

    def charged(self, value: Any) -> Any:
        """The value, charged to the budget."""
        if isinstance(value, str | list | tuple | dict):
            self._charge(len(value))
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise VariableError("EM012", f"the template's value is a number above {MAX_NUMBER:.0e}")
        return value

    def plain(self, value: Any) -> Any:
        """A template's value as plain YAML data, charged to the budget."""
        if value is None or isinstance(value, str | int | float):
            return self.charged(value)
        if isinstance(value, list | tuple):
            return [self.plain(item) for item in self.charged(value)]
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {key: self.plain(item) for key, item in self.charged(value).items()}
        raise VariableError("EM012", "the template's value is not a YAML value", "end it with | list")

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As Jinja's, but a mapping's own keys have precedence over Python's methods."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and not isinstance(left, int | float):
            _refuse("% is for numbers", "put texts together with ~")
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int):
                    self._charge(len(one) * max(0, other))
        if operator == "+":
            for one in (left, right):
                self.charged(one)
        return self.charged(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ARG002 the base has it
        if isinstance(obj, self._namespaces):
            return not attr.startswith("_")
        return attr in _METHODS.get(type(obj), ())

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if name not in _METHODS.get(type(owner), ()):
            _refuse("only the methods of texts, lists and mappings can be called")
        if name == "replace":
            return self._replace(str(owner), *args)
        value = super().call(context, obj, *args, **kwargs)
        return self.charged(value)

    def _charging(self, filter_function: Callable[..., Any]) -> Callable[..., Any]:
        def charged_filter(*args: Any, **kwargs: Any) -> Any:
            for arg in args:
                self.charged(arg)
            return self.charged(filter_function(*args, **kwargs))

        if hasattr(filter_function, "jinja_pass_arg"):  # it also takes the environment or the context
            charged_filter.jinja_pass_arg = filter_function.jinja_pass_arg  # type: ignore[attr-defined]
        return charged_filter

    def _join(self, parts: Any, separator: str = "") -> str:
        texts = [as_text(part) for part in self.charged(list(parts))]
        self._charge(sum(map(len, texts)) + len(separator) * len(texts))
        return str(separator).join(texts)

    def _replace(self, text: str, old: str, new: str, count: int = -1) -> str:
        if not (isinstance(text, str) and isinstance(old, str) and isinstance(new, str) and old):
            _refuse("replace takes texts, and an old one that is not empty")
        self._charge(len(text) + text.count(old) * len(new))
        return text.replace(old, new, -1 if count is None else count)


def _refuse_unsupported(tree: nodes.Template) -> None:
    """Refuse unsupported nodes; rewrite `~` and slices, which Jinja compiles to plain Python, as charged filters."""
    for node in list(tree.find_all(nodes.Node)):
        if not isinstance(node, _NODES):
            word = re.sub(r"(?<!^)(?=[A-Z])", " ", type(node).__name__).lower()
            _refuse(f"`{word}` is not supported", "templates are expressions, and {% if %}")
        if isinstance(node, nodes.Filter | nodes.Test) and node.name.startswith("_"):
            _refuse(f"there is no filter `{node.name}`")
    _rewrite(tree)


def _rewrite(node: nodes.Node) -> None:
    for name, value in list(node.iter_fields()):
        if isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, nodes.Node):
                    _rewrite(item)
                    value[index] = _charged_form(item)
        elif isinstance(value, nodes.Node):
            _rewrite(value)
            setattr(node, name, _charged_form(value))


def _charged_form(node: nodes.Node) -> nodes.Node:
    if isinstance(node, nodes.Concat):
        return nodes.Filter(nodes.List(node.nodes), "_joined", [], [], None, None, lineno=node.lineno)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        ends = [end or nodes.Const(None) for end in (node.arg.start, node.arg.stop, node.arg.step)]
        return nodes.Filter(node.node, "_sliced", ends, [], None, None, lineno=node.lineno)
    return node


def _single_expression(tree: nodes.Template) -> nodes.Expr | None:
    """The expression of `{{ a }}`; None when the text holds anything besides."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output) or len(tree.body[0].nodes) != 1:
        return None
    expression = tree.body[0].nodes[0]
    return None if isinstance(expression, nodes.TemplateData) else expression


def undefined(error: VariableError) -> StrictUndefined:
    """A value that the filter `default` replaces; any other use raises `error` again."""

    def again(_: str | None = None) -> VariableError:
        return VariableError(error.code, error.message, error.mend)

    return StrictUndefined(hint=error.message, exc=again)  # type: ignore[arg-type]


def _round(value: Any, precision: int = 0) -> float:
    if not (isinstance(value, int | float) and isinstance(precision, int) and 0 <= precision <= 15):
        _refuse("round takes a number, and at most 15 digits")
    return round(value, precision)


def _refuse(message: str, mend: str = "") -> NoReturn:
    raise VariableError("EM012", f"the template fails: {message}", mend)
