"""Whether a recipe will work, on both nuclei: a pure function from its text to all that is wrong with it.

Format 2020-01-25, https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html. The Java
nucleus forgives much that the lite one does not (keys in another case, a manifest without `runtime`, steps that it
lacks), and the cloud notices none of it: the device is where it fails. So it is said here, before anything leaves.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from emflow.recipes.lint.faults import Fault, close, keys, read, spelt
from emflow.recipes.lint.lifecycle import lifecycle
from emflow.versions import check_requirement, is_version
from emflow.workflow.source.positions import KeyPath

# The artifacts of a manifest: spelt right, and there.


ARTIFACT = ("URI", "Unarchive", "Permission")
RIGHTS = ("Read", "Execute")


def artifacts(
    found: Any,
    place: KeyPath,
    bundles: Mapping[str, Collection[str]],
    archives: dict[str, Collection[str]],
    files: set[str],
) -> Iterator[Fault]:
    """What is wrong with them.

    Args:
        bundles: the URI of each zip that goes up with the component, and the names in it.
        archives: filled with the folder that each zip becomes on the device; what is in it, or nothing if not known.
        files: filled with the artifacts' file names.
    """
    if found is not None and (not isinstance(found, list) or not all(isinstance(each, dict) for each in found)):
        yield Fault(place, "has to be a list of maps with URI")
        return
    used = set()
    for index, each in enumerate(found or ()):
        at = (*place, index)
        yield from keys(each, (*ARTIFACT, "Digest", "Algorithm"), at)
        artifact = spelt(each, (*ARTIFACT, "Digest", "Algorithm"))
        for key in ("Digest", "Algorithm"):
            if key in artifact:
                yield Fault((*at, key), "is the cloud's to write", "leave it out")
        uri = artifact.get("URI")
        if not isinstance(uri, str) or not re.match(r"(s3://[^/]+/.|docker:.|greengrass:.)", uri):
            yield Fault((*at, "URI"), f"{uri!r} is no artifact", "for example: s3://bucket/key")
            continue
        used.add(uri)
        name = uri.rpartition("/")[2]
        if name in files and not uri.startswith("docker:"):
            yield Fault((*at, "URI"), f"two artifacts are called {name}, and one would overwrite the other")
        files.add(name)
        yield from _handling(artifact, at)
        if str(artifact.get("Unarchive", "NONE")) == "ZIP":
            archives[name.rpartition(".")[0] or name] = bundles.get(uri, ())
        elif uri in bundles:
            yield Fault((*at, "Unarchive"), f"is missing: {name} is a zip", "write Unarchive: ZIP")
    for uri in bundles:
        if uri not in used:
            mend = "write URI: {{ artifact.uri | quoted }} into the template"
            yield Fault(place, f"does not name {uri}, which goes up with the component", mend)


def _handling(artifact: Mapping[str, Any], place: KeyPath) -> Iterator[Fault]:
    if artifact.get("Unarchive", "NONE") not in ("NONE", "ZIP"):
        yield Fault((*place, "Unarchive"), f"{artifact['Unarchive']!r} is neither NONE nor ZIP")
    permission = artifact.get("Permission", {})
    if not isinstance(permission, dict):
        yield Fault((*place, "Permission"), "has to be a map", "for example: {Read: OWNER}")
        return
    yield from keys(permission, RIGHTS, (*place, "Permission"))
    for right, who in spelt(permission, RIGHTS).items():
        if right in RIGHTS and who not in ("NONE", "OWNER", "ALL"):
            yield Fault((*place, "Permission", right), f"{who!r} is none of NONE, OWNER, ALL")


# The platforms of manifests: for which devices, and which nucleus, each is taken.


CLASSIC, LITE = "aws_nucleus_classic", "aws_nucleus_lite"
"""What AWS calls the Java nucleus, and the other one."""

ATTRIBUTES = ("os", "architecture", "architecture.detail", "runtime")

_ALL = ("*", "all")
_VALUES = {
    "os": ("linux", "darwin", "windows"),
    "architecture": ("amd64", "aarch64", "arm", "x86"),
    "runtime": (LITE, CLASSIC),
}


def platform(found: Any, place: KeyPath) -> Iterator[Fault]:
    """What is wrong with one manifest's Platform."""
    if found is None:
        found = {}
    if not isinstance(found, dict):
        yield Fault(place, "has to be a map", 'for example: {os: linux, runtime: "*"}')
        return
    right = {key.lower(): key for key in ATTRIBUTES}
    lite = for_lite({**found, "runtime": "*"})
    for key, value in found.items():
        name = right.get(str(key).lower())
        if name is None:
            near = close(str(key).lower(), right)
            if near:  # others may be attributes that a device's own configuration adds
                yield Fault((*place, str(key)), "is an unknown attribute", f"did you mean {near}?")
            continue
        if name != key:
            yield Fault((*place, str(key)), "is spelt otherwise", f"write {name}")
        values = _VALUES.get(name)
        if isinstance(value, str) and len(value) > 1 and value.startswith("/") and value.endswith("/"):
            if lite and found.get("runtime") != CLASSIC:
                mend = f"write one manifest for each, or runtime: {CLASSIC}"
                yield Fault((*place, str(key)), "is a regular expression, which the lite nucleus lacks", mend)
        elif values and value not in (*values, *_ALL):
            near = close(str(value), values)
            mend = f"did you mean {near}?" if near else f"one of: {', '.join(values)}, *"
            yield Fault((*place, str(key)), f"cannot be {value!r}", mend)
    if lite and not found.get("runtime"):
        mend = f'write runtime: "*" for both, or runtime: {CLASSIC} for the Java nucleus only'
        yield Fault(place, "has no `runtime`, and the lite nucleus passes over such a manifest", mend)


def for_lite(platform: Mapping[str, Any]) -> bool:
    """Whether the lite nucleus is to take a manifest: it runs on Linux, and takes what says so or should say so."""
    system = str(platform.get("os", "*"))
    return platform.get("runtime") != CLASSIC and (system in ("linux", *_ALL) or system.startswith("/"))


def reached(found: Sequence[Mapping[Any, Any]], architecture: str) -> Iterator[Fault]:
    """The first manifest that fits is taken, so a wide one hides those behind it; and one has to fit the board."""
    platforms = [
        {str(key).lower(): str(value) for key, value in each.items() if str(value) not in _ALL} for each in found
    ]
    for index, platform in enumerate(platforms):
        for earlier in range(index):
            if platforms[earlier].items() <= platform.items():
                what = f"is never reached: Manifests[{earlier}] fits it too"
                yield Fault(("Manifests", index, "Platform"), what, "put the more special manifest first")
                break
    board = {"os": "linux", **({"architecture": architecture} if architecture else {})}
    if not any(all(_fits(want, board.get(key)) for key, want in each.items()) for each in platforms):
        what = " ".join(board.values())
        yield Fault(("Manifests",), f"has none for {what}, so the deployment would fail", f"add one with {board}")


def _fits(want: str, have: str | None) -> bool:
    if have is None:
        return True  # an attribute that is not known here
    if len(want) > 1 and want.startswith("/") and want.endswith("/"):
        try:
            return re.fullmatch(want[1:-1], have) is not None
        except re.error:
            return False
    return want == have


FORMAT = "2020-01-25"
TOP = (
    "RecipeFormatVersion",
    "ComponentName",
    "ComponentVersion",
    "ComponentDescription",
    "ComponentPublisher",
    "ComponentType",
    "ComponentConfiguration",
    "ComponentDependencies",
    "Manifests",
    "Lifecycle",
)
MANIFEST = ("Name", "Platform", "Lifecycle", "Selections", "Artifacts")
DEPENDENCY = ("VersionRequirement", "DependencyType")
POLICY = ("policyDescription", "operations", "resources")
MQTT, PUBLISH = "aws.greengrass.ipc.mqttproxy", "aws.greengrass#PublishToIoTCore"
SECRETS, READ = "aws.greengrass.SecretManager", "aws.greengrass#GetSecretValue"


@dataclass(frozen=True)
class Known:
    """What is known of a component beside its recipe; what is empty is not held against it.

    `configuration` is what the deployment adds to the recipe's own; `archives` maps the URI of each zip to the names
    in it; `publishes` are the topics that it has to be allowed to publish to, `reads` the secrets that it has to be
    allowed to read; `architecture` is the board's.
    """

    name: str = ""
    version: str = ""
    dependencies: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)
    archives: Mapping[str, Collection[str]] = field(default_factory=dict)
    publishes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    architecture: str = ""


NOTHING = Known()


def check(text: str, known: Known = NOTHING) -> tuple[Fault, ...]:
    """All that is wrong with a recipe, in the order of its lines."""
    reading = read(text)
    found = list(reading.faults)
    if not found and not isinstance(reading.value, dict):
        found.append(Fault((), "is no map of keys to values", f'begin with RecipeFormatVersion: "{FORMAT}"'))
    if isinstance(reading.value, dict):
        found += _secrets(text)
        found += _recipe(reading.value, known)
    placed = [fault if fault.line else replace(fault, line=reading.line(fault.place)) for fault in found]
    return tuple(sorted(placed, key=lambda fault: fault.line))


def _recipe(found: Mapping[Any, Any], known: Known) -> Iterator[Fault]:
    yield from keys(found, TOP, ())
    recipe = spelt(found, TOP)
    if str(recipe.get("RecipeFormatVersion")) != FORMAT:  # YAML takes it for a date when it is not quoted
        yield Fault(("RecipeFormatVersion",), f"has to be {FORMAT}")
    yield from _identity(recipe, known)
    dependencies = _map(recipe, "ComponentDependencies")
    yield from _dependencies(recipe.get("ComponentDependencies"), known)
    configuration = recipe.get("ComponentConfiguration")
    defaults: dict[str, Any] = {}
    if isinstance(configuration, dict):
        yield from keys(configuration, ("DefaultConfiguration",), ("ComponentConfiguration",))
        defaults = _map(spelt(configuration, ("DefaultConfiguration",)), "DefaultConfiguration")
    elif configuration is not None:
        yield Fault(("ComponentConfiguration",), "has to be a map with DefaultConfiguration")
    yield from _access(defaults, str(recipe.get("ComponentName")), known)
    settings = {**defaults, **known.configuration}
    manifests = recipe.get("Manifests")
    if not isinstance(manifests, list) or not manifests or not all(isinstance(each, dict) for each in manifests):
        mend = 'for example: [{Platform: {os: linux, runtime: "*"}, Lifecycle: {run: …}}]'
        yield Fault(("Manifests",), "has to be a list of manifests", mend)
        return
    named = {str(name) for each in manifests for name in _list(spelt(each, MANIFEST), "Selections")}
    for index, each in enumerate(manifests):
        place: KeyPath = ("Manifests", index)
        yield from keys(each, MANIFEST, place)
        manifest = spelt(each, MANIFEST)
        wanted = manifest.get("Platform")
        yield from platform(wanted, (*place, "Platform"))
        lite = not isinstance(wanted, dict) or for_lite(wanted)
        archives: dict[str, Collection[str]] = {}
        files: set[str] = set()
        yield from artifacts(manifest.get("Artifacts"), (*place, "Artifacts"), known.archives, archives, files)
        own = manifest.get("Lifecycle")
        steps, at = (own, (*place, "Lifecycle")) if own is not None else (recipe.get("Lifecycle"), ("Lifecycle",))
        if steps is None:
            yield Fault((*place, "Lifecycle"), "is missing", "say what to run: Lifecycle: {run: …}")
            continue
        yield from lifecycle(steps, at, named, lite, settings, set(map(str, dependencies)), archives, files)
    platforms = [_map(spelt(each, MANIFEST), "Platform") for each in manifests]
    yield from reached(platforms, known.architecture)


def _identity(recipe: Mapping[str, Any], known: Known) -> Iterator[Fault]:
    name, version = recipe.get("ComponentName"), recipe.get("ComponentVersion")
    if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9._-]{1,128}", name):
        yield Fault(("ComponentName",), f"cannot be {name!r}", "1 to 128 letters, digits, dots, dashes and underscores")
    elif name.startswith("aws.greengrass."):
        yield Fault(("ComponentName",), f"{name}: names that begin with aws.greengrass. are AWS's", "choose another")
    elif known.name and name != known.name:
        yield Fault(("ComponentName",), f"is {name!r}, and the workflow says {known.name!r}")
    if not isinstance(version, str):
        yield Fault(("ComponentVersion",), f"{version!r} is no text", 'put it in quotes: "1.0.0"')
    elif not is_version(version):
        yield Fault(("ComponentVersion",), f"{version!r} is no semantic version", 'for example: "1.0.0"')
    elif known.version and version != known.version:
        yield Fault(("ComponentVersion",), f"is {version!r} and has to be {known.version!r}", "write {{ version }}")
    kind = recipe.get("ComponentType", "aws.greengrass.generic")
    if kind != "aws.greengrass.generic":
        mend = "leave it out: all else is AWS's own, or a Lambda, which the lite nucleus lacks"
        yield Fault(("ComponentType",), f"is {kind!r}", mend)


def _dependencies(found: Any, known: Known) -> Iterator[Fault]:
    top: KeyPath = ("ComponentDependencies",)
    if found is not None and not isinstance(found, dict):
        yield Fault(top, "has to be a map of component names to requirements")
        return
    for name, wanted in (found or {}).items():
        place = (*top, str(name))
        if not isinstance(wanted, dict):
            yield Fault(place, "has to be a map", 'for example: {VersionRequirement: ">=1.0.0", DependencyType: HARD}')
            continue
        yield from keys(wanted, DEPENDENCY, place)
        dependency = spelt(wanted, DEPENDENCY)
        requirement = dependency.get("VersionRequirement", ">=0.0.0")
        if not isinstance(requirement, str) or not _is_requirement(requirement):
            mend = 'for example: ">=1.0.0 <2.0.0"'
            yield Fault((*place, "VersionRequirement"), f"{requirement!r} is no version range", mend)
        if dependency.get("DependencyType", "HARD") not in ("HARD", "SOFT"):
            yield Fault((*place, "DependencyType"), f"{dependency['DependencyType']!r} is neither HARD nor SOFT")
    for name in known.dependencies:
        if name not in (found or {}):
            mend = "write ComponentDependencies: {{ dependencies | json }} into the template"
            yield Fault(top, f"does not name {name}, on which the workflow lets it depend", mend)


def _is_requirement(text: str) -> bool:
    try:
        check_requirement(text)
    except ValueError:
        return False
    return bool(text.strip())


def _access(defaults: Mapping[str, Any], component: str, known: Known) -> Iterator[Fault]:
    """accessControl: service, policy, operations and resources. What is misspelt here is refused on the device only."""
    top: KeyPath = ("ComponentConfiguration", "DefaultConfiguration", "accessControl")
    control = defaults.get("accessControl", {})
    granted: dict[tuple[str, str], list[str]] = {(MQTT, PUBLISH): [], (SECRETS, READ): []}
    if not isinstance(control, dict):
        yield Fault(top, "has to be a map of services")
        return
    near = {key.lower(): key for key in defaults}.get("accesscontrol")
    if near not in (None, "accessControl"):
        yield Fault((*top[:-1], str(near)), "is spelt otherwise", "write accessControl")
    for service, policies in control.items():
        place = (*top, str(service))
        if not isinstance(policies, dict):
            yield Fault(place, "has to be a map of policies, each under a name of its own")
            continue
        for name, policy in policies.items():
            at = (*place, str(name))
            if not isinstance(policy, dict):
                yield Fault(at, "has to be a map with operations and resources")
                continue
            yield from keys(policy, POLICY, at)
            if component not in str(name):  # two of one name on a core, and one of them is without its rights
                yield Fault(at, "has a name that another component's policy may have", f"call it {component}:{name}")
            for key in ("operations", "resources"):
                given = policy.get(key)
                if not isinstance(given, list) or not given or not all(isinstance(each, str) for each in given):
                    yield Fault((*at, key), "has to be a list of texts", 'for example: ["…"]')
            operations = {str(each) for each in _list(policy, "operations")}
            for (of, operation), resources in granted.items():
                if service == of and operations & {operation, "*"}:
                    resources += map(str, _list(policy, "resources"))
    if known.publishes and {"*", "#"} & set(granted[MQTT, PUBLISH]):
        yield Fault(top, "lets it publish to every topic", f"grant what it needs: {', '.join(known.publishes)}")
    for (of, operation), wanted in {(MQTT, PUBLISH): known.publishes, (SECRETS, READ): known.reads}.items():
        for name in wanted:
            if not any(_covers(each, name) for each in granted[of, operation]):
                yield Fault(top, f"does not let it use {name}", f"grant {operation} on it under {of}")


def _covers(resource: str, name: str) -> bool:
    """Whether a resource, perhaps with wildcards, stands for a topic or a secret."""
    pattern = "".join({"*": ".*", "+": "[^/]*", "#": ".*"}.get(part, re.escape(part)) for part in resource)
    return resource == name or re.fullmatch(pattern, name) is not None


def _secrets(text: str) -> Iterator[Fault]:
    """A recipe can be read by everybody who may describe components, and lies on every device."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"://[^:/@\s'\"{}$]*:[^/@\s'\"{}$]+@", line):
            yield Fault((), "an address with a password in it", "keep it in Secrets Manager", number)
        if re.search(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b", line):
            yield Fault((), "an AWS access key", "a component gets credentials from TokenExchangeService", number)


def _map(found: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _list(found: Mapping[str, Any], key: str) -> list[Any]:
    value = found.get(key)
    return value if isinstance(value, list) else []
