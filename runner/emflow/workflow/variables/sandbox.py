"""The sandbox of all templates: Jinja2 reduced to a language, with a budget for time, output and the size of values.

Two languages share it: expressions, for texts in a workflow, and documents with loops and macros, for files. Nothing in
either is random, depends on the machine, or reaches what is not a value. Every value that can grow is charged to the
budget before it is made, every loop and call while it runs.

Templates have no filter, test or method that Jinja2 or Python would add beside those named here. What the sandbox adds
itself to a template (see `_charged_form`) are methods of the environment: no name in a template leads to one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from jinja2 import (
    BaseLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplatesNotFound,
    TemplateSyntaxError,
    Undefined,
    nodes,
    pass_context,
)
from jinja2.filters import FILTERS
from jinja2.runtime import BlockReference, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.tests import TESTS
from jinja2.utils import Namespace

from emflow.workflow.variables.limits import Budget, VariableError

MAX_NUMBER = 10**30

MAX_PADDING = 10_000
"""For the numbers of filters and methods that fill up a text or a list."""

_EXPRESSIONS = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Name, nodes.Const, nodes.List, nodes.Tuple),
    *(nodes.Dict, nodes.Pair, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Call),
    *(nodes.Keyword, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg),
    *(nodes.Pos, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Concat),
)
_STATEMENTS = (
    *(nodes.For, nodes.Assign, nodes.AssignBlock, nodes.NSRef, nodes.Macro, nodes.CallBlock, nodes.FilterBlock),
    *(nodes.With, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block, nodes.Pow),
)
_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last", "length"),
    *("list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr"),
    *("sort", "title", "trim", "unique", "upper"),
)
_MORE_FILTERS = ("filesizeformat", "groupby", "truncate", "urlencode", "wordcount")
_PADDING_FILTERS = ("batch", "center", "slice")
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
_MORE_METHODS: Mapping[type, frozenset[str]] = {
    str: _METHODS[str] | {"casefold", "center", "index", "isspace", "join", "ljust", "rjust", "swapcase", "zfill"},
    list: _METHODS[list],
    tuple: _METHODS[list],
    dict: _METHODS[dict],
    LoopContext: frozenset({"changed", "cycle"}),
}
_PADDING_METHODS = frozenset({"center", "ljust", "rjust", "zfill"})
_ADDED = frozenset({"capture", "counted", "iterated", "joined", "literal", "made", "sliced"})
"""Methods of the environment that `_charged_form` and `single_value` call."""

_VARIABLES = ("_loop_vars", "_block_vars")
"""Arguments that Jinja2 itself adds to a call."""

_FUNCTIONS: tuple[Callable[..., Any], ...] = (safe_range, dict, Namespace)


@dataclass(frozen=True)
class Language:
    """What templates can say.

    Attributes:
        statements: loops, macros, assignments and templates of `loader`, beside expressions and `{% if %}`.
        output: how an expression's value becomes a part of the text.
        namespaces: types whose attributes templates may read, though they are neither texts, lists nor mappings; with
            `statements`, all attributes that do not begin with an underscore can be read.
        filters: more filters.
        loader: the templates that others may include or extend.
    """

    statements: bool
    output: Callable[[Any], str]
    namespaces: tuple[type, ...] = ()
    filters: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    loader: BaseLoader | None = None


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment for the templates of one workflow."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self, budget: Budget, language: Language) -> None:
        self._language = language
        self._charge = budget.charge
        self._budget = budget
        self._methods = _MORE_METHODS if language.statements else _METHODS
        self._captured: Any = None
        super().__init__(
            undefined=StrictUndefined,
            autoescape=False,
            keep_trailing_newline=True,
            finalize=self._finalized(),
            cache_size=0,
            optimized=False,  # nothing is computed while a template is compiled
            loader=language.loader,
        )
        self.globals = {"range": safe_range, "dict": dict, "namespace": Namespace} if language.statements else {}
        tests: dict[str, Any] = {**TESTS}
        unsafe = {"filter", "test", "callable", "escaped"}
        self.tests = {name: self._counting(test) for name, test in tests.items() if name not in unsafe}
        self.filters = {name: self._charging(FILTERS[name]) for name in _FILTERS}
        self.filters |= {
            "join": self._charging(self._join),
            "replace": self._charging(self._replace),
            "round": self._charging(_round),
            "string": self._charging(language.output),
        }
        if language.statements:
            self.filters |= {name: self._charging(FILTERS[name]) for name in _MORE_FILTERS}
            self.filters |= {name: self._charging(_padding(FILTERS[name])) for name in _PADDING_FILTERS}
            self.filters |= {
                "format": self._charging(self._format),
                "indent": self._charging(self._indent),
                "sum": self._charging(self._sum),
            }
        self.filters |= {name: self._charging(each) for name, each in language.filters.items()}

    def rendered(self, template: str | nodes.Template, names: Mapping[str, Any]) -> str:
        """The text of a template.

        Raises:
            VariableError: it exceeds the budget, or uses what the language does not have.
            Exception: any other that a template can raise; `explain` takes all of them.
        """
        with self._budget.running():
            if isinstance(template, nodes.Template):
                template.set_environment(self)
            code = self.compile(template)
            return self.template_class.from_code(self, code, dict(self.globals)).render(names)

    def single_value(self, tree: nodes.Template, names: Mapping[str, Any]) -> Any:
        """The value of a template that is one expression, of any type. Raises as `rendered` does."""
        output = tree.body[0]
        assert isinstance(output, nodes.Output)
        tree.body = [nodes.Output([_added("capture", output.nodes[0])])]
        self.rendered(tree, names)
        value, self._captured = self._captured, None
        if isinstance(value, Undefined):
            str(value)  # raises, with the reason
        return value

    def charged(self, value: Any) -> Any:
        """The value, charged to the budget."""
        self._charge(len(value) if isinstance(value, str | list | tuple | dict) else 0)
        self._budget.refuse_large(value)
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise VariableError("EM012", f"the template's value is a number above {MAX_NUMBER:.0e}")
        return value

    # What is added to templates.

    def capture(self, value: Any) -> str:
        self._captured = value
        return ""

    def counted(self, value: Any) -> Any:
        self._charge()
        return value

    def iterated(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self._charge()
            yield value

    def joined(self, *parts: Any) -> str:
        return self._join([self._language.output(part) for part in parts])

    def literal(self, text: str) -> str:
        return text  # its place in the output charges it

    def made(self, value: Any) -> Any:
        return self.charged(value)

    def sliced(self, value: Any, *ends: Any) -> Any:
        return self.charged(value[slice(*ends)])

    # What Jinja2 calls.

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        self._refuse_unsupported(tree)
        self._rewrite(tree)
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As Jinja's, but a mapping's own keys have precedence over Python's methods."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> None:
        """No `str.format`, which Jinja2 would allow: a width in it makes a text of any length."""

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and not isinstance(left, int | float):
            more = ", or use | format" if self._language.statements else ""
            _refuse("% is for numbers", f"put texts together with ~{more}")
        if operator == "**" and not _is_small_power(left, right):
            _refuse(f"the power of a number above {MAX_NUMBER:.0e}, or with an exponent that is not whole")
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int):
                    self._charge(max(len(one), self._budget.weight(one)) * max(0, other))
        if operator == "+":
            for one in (left, right):
                self.charged(one)
        return self.charged(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, names in self._methods.items():
            if isinstance(obj, kind):
                return attr in names or (kind is LoopContext and super().is_safe_attribute(obj, attr, value))
        if isinstance(obj, self._language.namespaces):
            return not attr.startswith("_")
        return self._language.statements and super().is_safe_attribute(obj, attr, value)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if owner is self and name in _ADDED:
            return obj(*args)
        if isinstance(obj, Undefined):
            return super().call(context, obj, *args, **kwargs)  # raises, with the name
        for arg in (*args, *(value for word, value in kwargs.items() if word not in _VARIABLES)):
            self.charged(arg)
        if self._language.statements and isinstance(obj, Macro | LoopContext | BlockReference):
            return self.charged(super().call(context, obj, *args, **kwargs))
        if self._language.statements and any(obj is each for each in _FUNCTIONS):
            return self.charged(super().call(context, obj, *args, **kwargs))
        if name not in self._methods.get(type(owner), ()):
            _refuse(
                "only macros, `range`, `dict`, `namespace`, and some methods of texts, lists and mappings can be called"
                if self._language.statements
                else "only the methods of texts, lists and mappings can be called"
            )
        if name == "replace":
            return self._replace(str(owner), *args)
        if name == "join":
            return self._join(args[0] if args else (), str(owner))
        if name in _PADDING_METHODS:
            _refuse_padding(args)
        return self.charged(super().call(context, obj, *args, **kwargs))

    def _finalized(self) -> Callable[..., Any]:
        @pass_context  # so that Jinja2 calls it when a template is rendered, and not when it is compiled
        def finalize(_: Any, value: Any) -> Any:
            if isinstance(value, str):
                self._charge(len(value))
                return value
            self._budget.refuse_large(value)
            text = self._language.output(value)
            self._charge(len(text))
            return text

        return finalize

    def _counting(self, test: Callable[..., Any]) -> Callable[..., Any]:
        def counted_test(*args: Any, **kwargs: Any) -> Any:
            self._charge()
            return test(*args, **kwargs)

        return _passing_as(test, counted_test)

    def _charging(self, filter_function: Callable[..., Any]) -> Callable[..., Any]:
        def charged_filter(*args: Any, **kwargs: Any) -> Any:
            self._charge()
            for arg in (*args, *kwargs.values()):
                self.charged(arg)
            return self.charged(filter_function(*args, **kwargs))

        return _passing_as(filter_function, charged_filter)

    # Filters and methods that Jinja2 and Python have, with the size of what they make known before.

    def _join(self, parts: Iterable[Any], separator: Any = "") -> str:
        between = self._language.output(separator)
        texts = [self._language.output(self.counted(part)) for part in parts]
        self._charge(sum(map(len, texts)) + len(between) * len(texts))
        return self.charged(between.join(texts))  # type: ignore[no-any-return]

    def _replace(self, text: str, old: str, new: str, count: int | None = -1) -> str:
        if not (isinstance(text, str) and isinstance(old, str) and isinstance(new, str) and old):
            _refuse("replace takes texts, and an old one that is not empty")
        self._charge(len(text) + text.count(old) * len(new))
        return text.replace(old, new, -1 if count is None else count)

    def _indent(self, text: Any, width: Any = 4, first: bool = False, blank: bool = False) -> str:
        _refuse_padding([width])
        text = self._language.output(text)
        self._charge((text.count("\n") + 1) * (len(width) if isinstance(width, str) else max(0, width)))
        return str(FILTERS["indent"](text, width, first, blank))

    def _format(self, text: str, *args: Any, **kwargs: Any) -> str:
        if not isinstance(text, str) or re.search(r"%[^%a-zA-Z]*(\*|[0-9]{4})", text):
            _refuse("format takes a text, without `*` and without widths above 999")
        longest = max((len(self._language.output(arg)) for arg in (*args, *kwargs.values())), default=0)
        self._charge(text.count("%") * longest)
        return str(FILTERS["format"](text, *args, **kwargs))

    def _sum(self, values: Iterable[Any], attribute: str | None = None, start: float = 0) -> Any:
        numbers = [item if attribute is None else self.getitem(item, attribute) for item in values]
        if not all(isinstance(number, int | float) for number in (*numbers, start)):
            _refuse("sum is for numbers")
        return sum(numbers, start)

    # Compiling.

    def _refuse_unsupported(self, tree: nodes.Template) -> None:
        supported = (*_EXPRESSIONS, *_STATEMENTS) if self._language.statements else _EXPRESSIONS
        for node in tree.find_all(nodes.Node):
            if not isinstance(node, supported):
                word = re.sub(r"(?<!^)(?=[A-Z])", " ", type(node).__name__).lower()
                mend = "" if self._language.statements else "templates are expressions, and {% if %}"
                raise VariableError("EM012", f"the template fails: `{word}` is not supported", mend, line=node.lineno)

    def _rewrite(self, node: nodes.Node) -> None:
        for name, value in list(node.iter_fields()):
            if isinstance(value, list):
                for index, item in enumerate(value):
                    if isinstance(item, nodes.Node):
                        self._rewrite(item)
                        value[index] = self._charged_form(item)
            elif isinstance(value, nodes.Node):
                self._rewrite(value)
                setattr(node, name, self._charged_form(value))
        if isinstance(node, nodes.For):
            node.iter = _added("iterated", node.iter)

    def _charged_form(self, node: nodes.Node) -> nodes.Node:
        """What stands instead of a node that Jinja2 would compile to plain Python, or to a constant."""
        if isinstance(node, nodes.Concat):
            return _added("joined", *node.nodes)
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            ends = [end or nodes.Const(None) for end in (node.arg.start, node.arg.stop, node.arg.step)]
            return _added("sliced", node.node, *ends)
        if isinstance(node, nodes.Compare):
            return _added("counted", node)
        if isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
            return _added("made", node)
        if isinstance(node, nodes.TemplateData) and self._language.statements:  # a loop may repeat it
            return _added("literal", nodes.Const(node.data, lineno=node.lineno))
        return node


def explain(error: Exception, known: str) -> VariableError:
    """Any error of a template, with what to do about it.

    Args:
        known: advice about the names that templates have.
    """
    match error:
        case VariableError():
            return error
        case TemplateNotFound():
            names = error.templates if isinstance(error, TemplatesNotFound) else [error.name]
            what = f"there is no template {' or '.join(repr(str(name)) for name in names)}"
            mend = "emflow's own templates can be included and extended, files beside the workflow cannot: put the text"
            return VariableError("EM012", f"the template fails: {what}", f"{mend} into this file")
        case TemplateSyntaxError():
            return VariableError("EM012", f"the template is wrong: {error.message}", line=error.lineno)
        case TemplateError():
            message = re.sub(r"^'(\w+)' is undefined$", r"there is no `\1`", error.message or "")
            return VariableError("EM012", f"the template fails: {message}", known)
        case RecursionError() | SyntaxError() | MemoryError():  # Python's compiler has its own limits
            return VariableError("EM012", "the template is nested too deeply", "put parts of it into variables")
        case _:  # any error of an expression: 1 / 0, "a" + 1, …
            return VariableError("EM012", f"the template fails: {type(error).__name__}: {error}")


def _added(name: str, *args: nodes.Node) -> nodes.Call:
    """A call of one of the environment's own methods. No template can write such a node."""
    line = args[0].lineno
    return nodes.Call(nodes.EnvironmentAttribute(name, lineno=line), list(args), [], None, None, lineno=line)


def _passing_as(original: Callable[..., Any], instead: Callable[..., Any]) -> Callable[..., Any]:
    """The same with the mark of functions that also take the environment or the context."""
    if hasattr(original, "jinja_pass_arg"):
        instead.jinja_pass_arg = original.jinja_pass_arg  # type: ignore[attr-defined]
    return instead


def _padding(filter_function: Callable[..., Any]) -> Callable[..., Any]:
    def padded(value: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_padding([*args, *kwargs.values()])
        return filter_function(value, *args, **kwargs)

    return padded


def _refuse_padding(args: Iterable[Any]) -> None:
    for arg in args:
        if isinstance(arg, int) and abs(arg) > MAX_PADDING:
            _refuse(f"a width or a number of items above {MAX_PADDING:,}")


def _is_small_power(base: Any, exponent: Any) -> bool:
    if isinstance(base, float) or isinstance(exponent, float):
        return isinstance(base, int | float) and isinstance(exponent, int | float)
    if not (isinstance(base, int) and isinstance(exponent, int)):
        return False
    return abs(base) <= MAX_NUMBER and base.bit_length() * max(0, exponent) <= 10 * MAX_NUMBER.bit_length()


def _round(value: Any, precision: int = 0) -> float:
    if not (isinstance(value, int | float) and isinstance(precision, int) and 0 <= precision <= 15):
        _refuse("round takes a number, and at most 15 digits")
    return round(value, precision)


def _refuse(message: str, mend: str = "") -> NoReturn:
    raise VariableError("EM012", f"the template fails: {message}", mend)
