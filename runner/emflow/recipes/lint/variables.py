"""Checks of recipe variables, and of paths into artifacts, in the texts of a lifecycle."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from emflow.problems import Severity
from emflow.recipes.reader.finding import RecipeFinding
from emflow.recipes.reader.lifecycles import seconds
from emflow.recipes.reader.variables import NAMESPACES, WORDS
from emflow.workflow.source.positions import KeyPath
from emflow.workflow.suggestions import nearest

MAX_LITE_SCRIPT = 10_000
"""Bytes of a script on the lite nucleus (modules/recipe-runner/src/runner.c)."""
SHOWN = 3
"""Braces that one finding names."""

_VARIABLE = re.compile(r"(?P<shell>\$?)\{(?:(?P<component>[\w.-]+):)?(?P<namespace>[A-Za-z]+):(?P<key>[^:{}\s]+)\}")
_BRACES = re.compile(r"\$?\{[^}]*\}?")
_PATHS = re.compile(r"\{artifacts:(?:path|decompressedPath)\}[\w./-]*")
_UNPACKED = re.compile(r"\{artifacts:decompressedPath\}/(?P<folder>[\w.-]+)(?:/(?P<file>[\w./-]+))?")
_PLAIN = re.compile(r"\{artifacts:path\}/(?P<file>[\w.-]+)")


@dataclass(frozen=True)
class Surroundings:
    """What the texts of a lifecycle may refer to.

    Args:
        configuration: the component's, defaults and the deployment's together.
        dependencies: the components that it depends on.
        archives: folder under decompressedPath to the names in it; nothing where they are not known.
        files: names under artifacts:path.
        lite: the lite nucleus is to run it too.
        made: paths that the steps before this one name, and so perhaps make.
        making: this is one of these steps.
    """

    configuration: Mapping[str, Any]
    dependencies: Collection[str]
    archives: Mapping[str, Collection[str]]
    files: Collection[str]
    lite: bool = False
    made: Collection[str] = ()
    making: bool = False

    def may_make(self, path: str) -> bool:
        """Whether an earlier step names the path, or a folder that it is in."""
        return any(path == each or path.startswith(f"{each.rstrip('/')}/") for each in self.made)


def paths(text: str) -> Iterator[str]:
    """The paths among the artifacts that a text names."""
    yield from (found[0] for found in _PATHS.finditer(text))


def text_findings(text: str, place: KeyPath, around: Surroundings, *, script: bool = False) -> Iterator[RecipeFinding]:
    """What is wrong with the variables in a text. A variable without a value stays as it is, and fails there.

    Args:
        script: the text goes into a script, which the lite nucleus fills in, too.
    """
    if "\0" in text:
        yield RecipeFinding(place, "has the character NUL, which no program can be given", "leave it out")
    for found in _VARIABLE.finditer(text):
        yield from _variable(found, place, around)
    yield from _files(text, place, around)
    if around.lite and script:
        yield from _braces_for_lite(text, place, around)


def timeout_findings(timeout: Any, place: KeyPath, around: Surroundings) -> Iterator[RecipeFinding]:
    """A Timeout from the configuration has to be a number of seconds there."""
    if not isinstance(timeout, str):
        return
    for found in _VARIABLE.finditer(timeout):
        if found["namespace"] != "configuration" or found["component"]:
            yield from _variable(found, place, around)
            continue
        try:
            seconds(str(value_at(around.configuration, found["key"])))
        except KeyError:
            yield from _variable(found, place, around)
        except ValueError as error:
            written = found[0].removeprefix("$")
            mend = 'write one in the configuration, for example "300"'
            yield RecipeFinding(place, f"{written} is not what a Timeout can be: {error}", mend)


def value_at(configuration: Mapping[str, Any], pointer: str) -> Any:
    """The value at a JSON pointer.

    Raises:
        KeyError: there is none; the argument is the value whose key is missing, and the key.
    """
    value: Any = configuration
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and re.fullmatch("[0-9]{1,9}", key) and int(key) < len(value):
            value = value[int(key)]
        else:
            raise KeyError(value, key)
    return value


def _variable(found: re.Match[str], place: KeyPath, around: Surroundings) -> Iterator[RecipeFinding]:
    component, namespace, key = found["component"], found["namespace"], found["key"]
    written = found[0].removeprefix("$")
    if namespace not in NAMESPACES:
        near = "" if found["shell"] else nearest(namespace, NAMESPACES)
        if near:  # anything else is the shell's, or another program's
            yield RecipeFinding(place, f"{written} is no recipe variable", f"did you mean {{{near}:{key}}}?")
        return
    if component is not None and component not in around.dependencies:
        mend = f"add {component} to ComponentDependencies"
        yield RecipeFinding(place, f"{written} asks about a component on which this one does not depend", mend)
    if namespace == "configuration":
        if component is None:
            yield from _configured(written, key, place, around.configuration)
    elif key not in WORDS[namespace]:
        known = ", ".join(f"{{{namespace}:{word}}}" for word in WORDS[namespace])
        yield RecipeFinding(place, f"{written} is no recipe variable", f"known: {known}")


def _configured(
    written: str, pointer: str, place: KeyPath, configuration: Mapping[str, Any]
) -> Iterator[RecipeFinding]:
    if not pointer.startswith("/"):
        yield RecipeFinding(place, f"{written} is no JSON pointer", f"write {{configuration:/{pointer}}}")
        return
    try:
        value = value_at(configuration, pointer)
    except KeyError as error:
        holder, key = error.args
        near = nearest(key, list(holder)) if isinstance(holder, dict) else ""
        mend = f"did you mean {near}?" if near else "add it to DefaultConfiguration"
        yield RecipeFinding(place, f"{written} is in no configuration", mend)
        return
    if isinstance(value, int) and not isinstance(value, bool):
        what = f"{written} is a number, and the classic nucleus turns {value} into {float(value)}"
        mend = f'write "{value}" in the configuration, as a text'
        yield RecipeFinding(place, what, mend, nucleus="classic", severity="warning")


def _files(text: str, place: KeyPath, around: Surroundings) -> Iterator[RecipeFinding]:
    """Paths into artifacts that will not be there. Of an install step it is not known whether it makes them."""
    severity: Severity = "warning" if around.making else "error"
    for found in _UNPACKED.finditer(text):
        folder, file = found["folder"], (found["file"] or "").strip("/")
        archives = around.archives
        if around.may_make(found[0]):
            continue
        if folder not in archives:
            mend = f"unpacked are: {', '.join(archives)}" if archives else "Unarchive: ZIP unpacks an artifact"
            what = f"nothing is unpacked to {{artifacts:decompressedPath}}/{folder}"
            yield RecipeFinding(place, what, mend, severity=severity)
        elif file and archives[folder] and not _holds(archives[folder], file):
            near = nearest(file, sorted(archives[folder]))
            mend = f"did you mean {near}?" if near else "put it into the folder of artifacts"
            yield RecipeFinding(place, f"there is no {file} in {folder}.zip", mend, severity=severity)
    for found in _PLAIN.finditer(text):
        if found["file"] not in around.files and not around.may_make(found[0]):
            files = around.files
            known = f"there are: {', '.join(sorted(files))}" if files else "the manifest has no artifacts"
            what = f"there is no {found['file']} in {{artifacts:path}}"
            yield RecipeFinding(place, what, known, severity=severity)


def _holds(names: Collection[str], path: str) -> bool:
    """Whether an archive has a file, or a folder, of this name."""
    return any(name == path or name.startswith(f"{path}/") for name in names)


def _braces_for_lite(text: str, place: KeyPath, around: Surroundings) -> Iterator[RecipeFinding]:
    """Braces that are no variable of the lite nucleus end the script there; what stands before them runs."""
    odd, lists = [], []
    for found in _BRACES.finditer(text):
        variable = _VARIABLE.fullmatch(found[0])
        if variable is None or variable["component"] or variable["namespace"] not in NAMESPACES:
            odd.append(found[0])
        elif variable["namespace"] == "configuration" and _in_a_list(around.configuration, variable["key"]):
            lists.append(found[0])
    if odd:
        shown = ", ".join(odd[:SHOWN]) + (", …" if len(odd) > SHOWN else "")
        what = f"the lite nucleus ends the script at braces that are no variable of its own: {shown}"
        mend = "write it without braces ($HOME), or put the script into a file among the artifacts"
        yield RecipeFinding(place, what, mend, nucleus="lite")
    if lists:
        what = f"the lite nucleus ends the script at elements of lists: {', '.join(lists[:SHOWN])}"
        yield RecipeFinding(place, what, "write a key of its own for each value", nucleus="lite")
    if len(text.encode(errors="replace")) > MAX_LITE_SCRIPT:
        what = f"has {len(text)} characters, and the lite nucleus runs {MAX_LITE_SCRIPT} at most"
        yield RecipeFinding(place, what, "put the script into a file among the artifacts", nucleus="lite")


def _in_a_list(configuration: Mapping[str, Any], pointer: str) -> bool:
    steps = pointer.split("/")
    for end in range(1, len(steps)):
        try:
            if isinstance(value_at(configuration, "/".join(steps[:end])), list):
                return True
        except KeyError:
            return False
    return False
