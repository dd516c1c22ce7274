"""The lifecycle of a manifest: steps and keys as both nuclei read them, and variables in scripts that have a value.

What the lite nucleus lacks: https://github.com/aws-greengrass/aws-greengrass-lite, docs/RECIPE_SUPPORT_CHANGES.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from emflow.recipes.lint.finding import RecipeFinding
from emflow.recipes.lint.keys import closest, documented_keys, key_findings
from emflow.workflow.source.positions import KeyPath

STEPS = ("bootstrap", "install", "startup", "run", "shutdown", "recover")
CLASSIC_ONLY = ("shutdown", "recover")
STEP = ("Script", "RequiresPrivilege", "Setenv", "Timeout", "Skipif", "BootstrapOnRollback")
CLASSIC_MEND = "do without, or say in Platform that only the Java nucleus takes it: runtime: aws_nucleus_classic"

_VARIABLE = re.compile(r"(?P<shell>\$?)\{(?:(?P<component>[\w.-]+):)?(?P<namespace>[A-Za-z]+):(?P<key>[^:{}\s]+)\}")
_WORDS = {
    "artifacts": ("path", "decompressedPath"),
    "work": ("path",),
    "kernel": ("rootPath",),
    "iot": ("thingName",),
}
_NAMESPACES = (*_WORDS, "configuration")
_UNPACKED = re.compile(r"\{artifacts:decompressedPath\}/(?P<folder>[\w.-]+)(?:/(?P<file>[\w./-]+))?")
_PLAIN = re.compile(r"\{artifacts:path\}/(?P<file>[\w.-]+)")


def lifecycle(
    found: Any,
    place: KeyPath,
    selections: Collection[str],
    lite: bool,
    configuration: Mapping[str, Any],
    dependencies: Collection[str],
    archives: Mapping[str, Collection[str]],
    files: Collection[str],
) -> Iterator[RecipeFinding]:
    """What is wrong with a lifecycle.

    Args:
        selections: names that narrow the recipe-wide lifecycle to a manifest.
        lite: the lite nucleus is to run it too.
        configuration: the component's, defaults and the deployment's together.
        archives: folder under decompressedPath to the names in it; nothing where they are not known.
        files: names under artifacts:path.
    """
    if not isinstance(found, dict):
        yield RecipeFinding(place, "has to be a map of steps", "for example: {run: python3 main.py}")
        return
    names = {*selections, "all"}
    if found and set(map(str, found)) <= names:  # the recipe-wide one, narrowed by its outermost keys
        for name, inner in found.items():
            at = (*place, str(name))
            yield from lifecycle(inner, at, (), lite, configuration, dependencies, archives, files)
        return
    known = (*STEPS, "Setenv")
    yield from key_findings(found, known, place)
    steps = documented_keys(found, known)
    if not set(steps) & set(STEPS):
        yield RecipeFinding(place, "has no step", f"one of: {', '.join(STEPS)}")
    if "run" in steps and "startup" in steps:
        yield RecipeFinding(
            (*place, "startup"), "and `run` exclude each other", "keep `run`, which may end when it likes"
        )
    for step in CLASSIC_ONLY:
        if lite and step in steps:
            yield RecipeFinding((*place, step), "is a step that the lite nucleus lacks", CLASSIC_MEND)
    for name, body in steps.items():
        if name not in known:
            continue
        at = (*place, name)
        for where, text in _texts(body, at, name):
            yield from _variables(text, where, lite, configuration, dependencies)
            yield from _files(text, where, archives, files)
        if name in STEPS:
            parts = body if isinstance(body, dict) and body and set(map(str, body)) <= names else {"": body}
            for selection, inner in parts.items():
                yield from _step(inner, (*at, str(selection)) if selection else at, lite)


def _step(body: Any, place: KeyPath, lite: bool) -> Iterator[RecipeFinding]:
    if isinstance(body, str):
        if not body.strip():
            yield RecipeFinding(place, "is empty")
        return
    if not isinstance(body, dict):
        yield RecipeFinding(place, "has to be a script, or a map with Script")
        return
    yield from key_findings(body, STEP, place)
    step = documented_keys(body, STEP)
    script = step.get("Script")
    if not isinstance(script, str) or not script.strip():
        yield RecipeFinding((*place, "Script"), "has to be a script", 'for example: python3 "{artifacts:path}/main.py"')
    if not isinstance(step.get("RequiresPrivilege", False), bool):
        yield RecipeFinding((*place, "RequiresPrivilege"), "has to be true or false")
    timeout = step.get("Timeout", 1)
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout <= 0:
        yield RecipeFinding(
            (*place, "Timeout"), f"{timeout!r} is no number of seconds", "the lite nucleus takes no text here"
        )
    if not isinstance(step.get("Setenv", {}), dict):
        yield RecipeFinding((*place, "Setenv"), "has to be a map of names to texts")
    if lite and "Skipif" in step:
        yield RecipeFinding((*place, "Skipif"), "is something that the lite nucleus lacks", CLASSIC_MEND)


def _texts(body: Any, place: KeyPath, name: str) -> Iterator[tuple[KeyPath, str]]:
    """Every text in a step that variables are filled into, with its place."""
    if isinstance(body, str):
        yield place, body
    elif isinstance(body, dict):
        for key, inner in body.items():
            if name == "Setenv" or str(key).lower() in ("script", "setenv") or isinstance(inner, dict):
                yield from _texts(inner, (*place, str(key)), "Setenv" if str(key).lower() == "setenv" else name)


def _variables(
    text: str, place: KeyPath, lite: bool, configuration: Mapping[str, Any], dependencies: Collection[str]
) -> Iterator[RecipeFinding]:
    """Variables without a value stay in the script as they are, and fail there."""
    for found in _VARIABLE.finditer(text):
        component, namespace, key = found["component"], found["namespace"], found["key"]
        written = found[0].removeprefix("$")
        if namespace not in _NAMESPACES:
            near = "" if found["shell"] else closest(namespace.lower(), _NAMESPACES)
            if near:  # anything else is the shell's, or another program's
                yield RecipeFinding(place, f"{written} is no recipe variable", f"did you mean {{{near}:{key}}}?")
            continue
        if component is not None and component not in dependencies:
            mend = f"add {component} to ComponentDependencies"
            yield RecipeFinding(place, f"{written} asks about a component on which this one does not depend", mend)
        elif component is not None and lite:
            yield RecipeFinding(
                place, f"{written} asks about another component, which the lite nucleus lacks", CLASSIC_MEND
            )
        if namespace == "configuration":
            if component is None:
                yield from _configured(written, key, place, configuration)
        elif key not in _WORDS[namespace]:
            known = ", ".join(f"{{{namespace}:{word}}}" for word in _WORDS[namespace])
            yield RecipeFinding(place, f"{written} is no recipe variable", f"known: {known}")


def _configured(
    written: str, pointer: str, place: KeyPath, configuration: Mapping[str, Any]
) -> Iterator[RecipeFinding]:
    if not pointer.startswith("/"):
        yield RecipeFinding(place, f"{written} is no JSON pointer", f"write {{configuration:/{pointer}}}")
        return
    value: Any = configuration
    for step in pointer[1:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            near = closest(key, list(value)) if isinstance(value, dict) else ""
            mend = f"did you mean {near}?" if near else "add it to DefaultConfiguration"
            yield RecipeFinding(place, f"{written} is in no configuration", mend)
            return
    if isinstance(value, int | float) and not isinstance(value, bool):
        mend = f'write "{value}" in the configuration, as a text'
        yield RecipeFinding(place, f"{written} is a number, and Greengrass turns {value} into {float(value)}", mend)


def _files(
    text: str, place: KeyPath, archives: Mapping[str, Collection[str]], files: Collection[str]
) -> Iterator[RecipeFinding]:
    """Paths into artifacts that will not be there."""
    for found in _UNPACKED.finditer(text):
        folder, file = found["folder"], (found["file"] or "").strip("/")
        if folder not in archives:
            mend = f"unpacked are: {', '.join(archives)}" if archives else "Unarchive: ZIP unpacks an artifact"
            yield RecipeFinding(place, f"nothing is unpacked to {{artifacts:decompressedPath}}/{folder}", mend)
        elif file and archives[folder] and not _holds(archives[folder], file):
            near = closest(file, sorted(archives[folder]))
            mend = f"did you mean {near}?" if near else "put it into the folder of artifacts"
            yield RecipeFinding(place, f"there is no {file} in {folder}.zip", mend)
    for found in _PLAIN.finditer(text):
        if found["file"] not in files:
            known = f"there are: {', '.join(sorted(files))}" if files else "the manifest has no artifacts"
            yield RecipeFinding(place, f"there is no {found['file']} in {{artifacts:path}}", known)


def _holds(names: Collection[str], path: str) -> bool:
    """Whether an archive has a file, or a folder, of this name."""
    return any(name == path or name.startswith(f"{path}/") for name in names)
