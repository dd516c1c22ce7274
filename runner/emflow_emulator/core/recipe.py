"""Recipes as a core device reads them: the manifest for its platform; keys in upper or lower case.

Format 2020-01-25, https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html. Where the
recipe has a value both for a manifest and for all manifests, the manifest's is used, as in the Java nucleus.
"""

from __future__ import annotations

import math
import platform as host
import re
import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from emflow_emulator.core.failure import DeploymentFailure

NUCLEUS = "aws.greengrass.nucleus"
GENERIC = "aws.greengrass.generic"
STEPS = ("bootstrap", "install", "startup", "run", "shutdown", "recover")
TIMEOUTS = {"bootstrap": 120.0, "install": 120.0, "startup": 120.0, "shutdown": 15.0, "recover": 60.0}
"""Default limit of a step in seconds; `run` has none."""

_ARCHITECTURES = {
    "x86_64": "amd64",
    "AMD64": "amd64",
    "arm64": "aarch64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "x86",
}


@dataclass(frozen=True)
class Artifact:
    """A file of a component; `digest` is the base64 SHA-256 that the cloud recorded, None when there is none."""

    uri: str
    unarchive: bool = False
    digest: str | None = None
    algorithm: str | None = None

    @property
    def name(self) -> str:
        return self.uri.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Step:
    """One lifecycle step. `key` is its name in the logs, such as `run.script`; `timeout` is in seconds."""

    name: str
    key: str
    script: str
    timeout: float | None = None
    setenv: Mapping[str, str] = field(default_factory=dict)
    skip_if: str = ""
    privileged: bool = False


@dataclass(frozen=True)
class Recipe:
    """A component version for this device's platform."""

    name: str
    version: str
    kind: str = GENERIC
    dependencies: Mapping[str, Dependency] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    steps: Mapping[str, Step] = field(default_factory=dict)
    setenv: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dependency:
    requirement: str
    hard: bool = True


def device_platform() -> dict[str, str]:
    """This machine's platform attributes, as the classic nucleus has them."""
    machine = host.machine()
    return {
        "os": host.system().lower(),
        "architecture": _ARCHITECTURES.get(machine, machine),
        "runtime": "aws_nucleus_classic",
    }


def parse(text: str | bytes, platform: Mapping[str, str]) -> Recipe:
    """Read a recipe, JSON or YAML, and pick the first manifest for `platform`.

    Raises:
        DeploymentFailure: it is not a recipe, or has no manifest for this platform.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DeploymentFailure(f"Failed to parse recipe: {error}", *_PARSING) from error
    if not isinstance(document, dict) or not _get(document, "ComponentName"):
        raise DeploymentFailure("Failed to parse recipe: it names no component", *_PARSING)
    try:
        return _recipe(document, platform)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, re.error) as error:
        name = _get(document, "ComponentName")
        raise DeploymentFailure(f"Failed to parse recipe of {name}: {error}", *_PARSING) from error


_PARSING = ("COMPONENT_PACKAGE_LOADING_ERROR", "RECIPE_PARSE_ERROR")


def _recipe(document: Mapping[str, Any], platform: Mapping[str, str]) -> Recipe:
    """Raises exceptions of any type for values that are not valid in a recipe."""
    name, version = str(_get(document, "ComponentName")), str(_get(document, "ComponentVersion"))
    manifest = _manifest(document, name, version, platform)
    lifecycle = _get(manifest, "Lifecycle") or _selected(document, manifest)
    configuration = _get(document, "ComponentConfiguration") or {}
    return Recipe(
        name=name,
        version=version,
        kind=str(_get(document, "ComponentType") or GENERIC),
        dependencies={
            str(other): Dependency(
                str(_get(wanted, "VersionRequirement") or ">=0.0.0"),
                str(_get(wanted, "DependencyType") or "HARD").upper() == "HARD",
            )
            for other, wanted in (_get(document, "ComponentDependencies") or {}).items()
        },
        defaults=dict(_get(configuration, "DefaultConfiguration") or {}),
        artifacts=tuple(_artifact(each) for each in _get(manifest, "Artifacts") or ()),
        steps={step.name: step for step in (_step(key, body) for key, body in lifecycle.items()) if step},
        setenv=_setenv(lifecycle),
    )


def fits(wanted: Mapping[str, Any], platform: Mapping[str, str]) -> bool:
    """Whether a manifest's Platform matches this device: `*` matches every value, `/a|b/` is a regular expression.

    An attribute that the device does not have matches only `*`.
    """
    for key, value in wanted.items():
        want, have = str(value), platform.get(str(key).lower())
        if want in ("*", "all"):
            continue
        if have is None:
            return False
        pattern = want[1:-1] if len(want) > 1 and want[0] == want[-1] == "/" else re.escape(want)
        if not re.fullmatch(pattern, have):
            return False
    return True


def _manifest(document: Mapping[str, Any], name: str, version: str, platform: Mapping[str, str]) -> Mapping[str, Any]:
    manifests: list[Mapping[str, Any]] = _get(document, "Manifests") or []
    if not isinstance(manifests, list):
        raise TypeError("Manifests is not a list")
    if not manifests:
        return {}
    for manifest in manifests:
        if fits(_get(manifest, "Platform") or {}, platform):
            return manifest
    has = ", ".join(f"{key}={value}" for key, value in platform.items())
    wanted = "; ".join(str(dict(_get(each, "Platform") or {})) for each in manifests)
    raise DeploymentFailure(
        f"Component {name} version {version} has no manifest for this device's platform ({has}); "
        f"its manifests are for: {wanted}",
        "NO_AVAILABLE_COMPONENT_VERSION",
        "COMPONENT_VERSION_REQUIREMENTS_NOT_MET",
    )


def _selected(document: Mapping[str, Any], manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe-wide Lifecycle, with the manifest's Selections applied at the top and in each step."""
    selections = [str(each) for each in _get(manifest, "Selections") or ()] + ["all"]
    named = {str(each) for other in _get(document, "Manifests") or () for each in _get(other, "Selections") or ()}

    def narrow(body: Any) -> Any:
        if not isinstance(body, Mapping) or not (named | {"all"}) & set(body):
            return body
        return next((body[each] for each in selections if each in body), {})

    lifecycle = narrow(_get(document, "Lifecycle") or {})
    return {key: narrow(body) for key, body in lifecycle.items()}


def _artifact(document: Mapping[str, Any]) -> Artifact:
    return Artifact(
        uri=str(_get(document, "URI")),
        unarchive=str(_get(document, "Unarchive") or "NONE").upper() == "ZIP",
        digest=_get(document, "Digest"),
        algorithm=_get(document, "Algorithm"),
    )


def _step(key: str, body: Any) -> Step | None:
    name = str(key).lower()
    if name not in STEPS or body in (None, {}):
        return None
    if not isinstance(body, Mapping):
        return Step(name, name, str(body), TIMEOUTS.get(name))
    timeout = _get(body, "Timeout")
    return Step(
        name=name,
        key=f"{name}.script",
        script=str(_get(body, "Script") or ""),
        timeout=_seconds(timeout) if timeout is not None else TIMEOUTS.get(name),
        setenv=_setenv(body),
        skip_if=str(_get(body, "SkipIf") or ""),
        privileged=str(_get(body, "RequiresPrivilege")).lower() == "true",
    )


def _seconds(value: Any) -> float:
    """A number of seconds, limited to what a thread can wait."""
    seconds = float(value)
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"Timeout {value!r} is not a number of seconds")
    return min(seconds, threading.TIMEOUT_MAX)


def _setenv(body: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in (_get(body, "Setenv") or {}).items()}


def skip_condition(text: str) -> tuple[bool, str, str] | None:
    """`onpath NAME` or `exists PATH`, optionally with `!` for negation, as (negated, test, argument)."""
    found = re.fullmatch(r"\s*(!?)\s*(onpath|exists)\s+(.+)", text)
    return (found[1] == "!", found[2], " ".join(shlex.split(found[3]))) if found else None


def _get(document: Mapping[str, Any], key: str) -> Any:
    """The value of a key, in upper or lower case."""
    if key in document:
        return document[key]
    lower = key.lower()
    return next((value for name, value in document.items() if str(name).lower() == lower), None)
