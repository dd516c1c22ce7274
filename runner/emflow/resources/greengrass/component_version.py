"""The kind `component version`: a component's recipe, published as the next version when something in it has changed.

A component version never changes, and Greengrass does not say whether two are the same; so each version that a workflow
makes has the digest of its recipe (without the version) and its bundle as a tag. The version to deploy is the one that
has the digest of today's content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.resource import (
    REMOVABLE,
    Action,
    Change,
    Diff,
    FieldLabel,
    Inputs,
    Observed,
    Outputs,
    Retention,
    RunContext,
)
from emflow.engine.scheduler import read_parallel
from emflow.problems import Problem
from emflow.recipes.components import WorkflowComponent
from emflow.recipes.reader.recipe import read
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.greengrass import component_queries, deployment_records
from emflow.resources.greengrass.published import (
    NO_CONTENT,
    Content,
    content_changes,
    published_content,
    wanted_content,
)
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.orphans import Orphan, Orphans
from emflow.resources.ownership import DIGEST_TAG, NOT_OWNED, Ownership, digest_of, refuse_shared_name
from emflow.resources.s3.bucket import COMPONENTS_BUCKET
from emflow.resources.s3.objects import OBJECTS, object_exists, stored_bundle
from emflow.resources.second_look import is_still_removable, stays
from emflow.resources.tag_search import PERMISSION, find_owned
from emflow.versions import sort_key
from emflow.workflow.model import Workflow

COMPONENT = "application/component"
OLD_COMPONENTS = "orphan/components"

AUTO = "auto"
LOOK_BACK = 20
"""How many versions are read, from the newest, to find one with the same content; all where none of them is owned."""


def own_component_id(name: str) -> str:
    """The resource that is one of the workflow's `components`."""
    return f"component/{name}"


@dataclass(frozen=True)
class ComponentVersion:
    """The application component, or one of the workflow's `components`.

    Args:
        needs: what stores its zip.
        adopted: it may be published although only others have made versions of it.
    """

    ours: WorkflowComponent
    ownership: Ownership
    needs: frozenset[str] = frozenset()
    retry_failed: bool = False
    adopted: bool = False

    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "versions": FieldLabel("the list of versions", named_items=True),
        "newest": FieldLabel("the content of the newest version"),
        "lost": FieldLabel("the list of objects in S3 that its recipe refers to and that are gone", named_items=True),
    }

    @property
    def id(self) -> str:
        return COMPONENT if self.ours.is_application else own_component_id(self.ours.name)

    @property
    def name(self) -> str:
        return self.ours.name

    @property
    def version(self) -> str:
        """As the workflow has it: `auto`, or three numbers."""
        return self.ours.version

    @cached_property
    def digest(self) -> str:
        """Of the recipe apart from its version, and with the bundle's URI of the bundle too."""
        return digest_of(self.ours.recipe("0.0.0"))

    @cached_property
    def content(self) -> Content:
        """Recipe and files, for a plan."""
        bundle = self.ours.bundle
        return wanted_content(self.ours.recipe("0.0.0"), bundle.data if bundle else None)

    def observe(self, clients: Clients) -> Observed | None:
        there = component_queries.list_versions(clients, self.name)
        look = {version: partial(self._describe, clients, version) for version in there[:1]}
        found: dict[str, Any] = read_parallel(look)
        if not self._recognised(found):
            found |= read_parallel(
                {version: partial(self._describe, clients, version) for version in there[1:LOOK_BACK]}
            )
        if not any(each and self.ownership.owns(each["tags"]) for each in found.values()):
            # Others may have published many since. Whether the name is the workflow's, only all versions say.
            found |= read_parallel(
                {version: partial(self._describe, clients, version) for version in there[LOOK_BACK:]}
            )
        if self.version != AUTO and self.version in there and self.version not in found:
            found[self.version] = self._describe(clients, self.version)
        if not there:
            return None
        versions = {version: each for version, each in found.items() if each}
        # What the new version is compared with in the plan.
        newest = None if self._recognised(found) else published_content(clients, self._arn(clients, there[0]))
        return {"versions": versions, "newest": newest, "lost": self._lost(clients, versions)}

    def _lost(self, clients: Clients, found: Mapping[str, Any]) -> dict[str, bool | None]:
        """Of the version to deploy: what else than the zip its recipe refers to in S3, unless that is known to exist.

        None where it is not known.
        """
        same = max((version for version, each in found.items() if self._matches(each)), key=sort_key, default="")
        if not same or not self._names_other_objects:
            return {}
        stored = component_queries.stored_artifacts(clients, self._arn(clients, same))
        stored.pop(self.ours.uri, None)
        looked = read_parallel({uri: partial(object_exists, clients, uri, sha256) for uri, sha256 in stored.items()})
        return {uri: there for uri, there in looked.items() if not there}

    @cached_property
    def _names_other_objects(self) -> bool:
        """Whether the recipe refers to objects in S3 that are not the workflow's: then they may be gone."""
        recipe = read(self.ours.recipe("0.0.0")).recipe
        uris = {artifact.uri for manifest in recipe.manifests for artifact in manifest.artifacts} if recipe else set()
        return any(uri.lower().startswith(component_queries.S3) for uri in uris - {self.ours.uri})

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        _ = self.digest  # a recipe that would not work is refused here, before anything of the workflow is made
        found: dict[str, Any] = observed["versions"] if observed else {}
        lost: Mapping[str, bool | None] = observed["lost"] if observed else {}
        if gone := [uri for uri, there in lost.items() if there is False]:
            raise Problem(
                f"{self.name} exists, but not what its recipe refers to, {gone[0]}: no device can install it",
                where=self.id,
                mend="Restore the object as it was, or change the recipe so that it refers to another one.",
            )
        diff = self._compared(found, (observed or {}).get("newest") or NO_CONTENT)
        unknown = tuple(f"whether {uri} exists is not known: S3 refuses the look" for uri in lost)
        return replace(diff, notes=(*diff.notes, *unknown))

    def _compared(self, found: dict[str, Any], before: Content) -> Diff:
        newest = max(found, key=sort_key, default="")
        if self.version != AUTO:
            return self._explicit(found, newest, before)
        same = [version for version, each in found.items() if self._same(each)]
        if same:
            version = max(same, key=sort_key)
            if found[version]["state"] != "FAILED":
                return self._settled(version, found[version]["state"])
            self._refuse_failed(version, found[version])
        return self._new(found, newest, component_queries.next_patch(newest), before)

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        version = diff.outputs["version"]
        if diff.parameters["create"]:
            recipe = self.ours.recipe(version)
            try:
                clients("greengrassv2").create_component_version(
                    inlineRecipe=recipe.encode(), tags=self.ownership.tags(self.digest)
                )
            except (ClientError, BotoCoreError):
                # Perhaps an earlier try went through and its answer was lost.
                found = self._describe(clients, version)
                if found is None:
                    raise
                if not self._same(found):
                    raise Problem(
                        f"{self.name} {version} has just been created, but not by this run",
                        where=self.id,
                        mend="Run it again.",
                    ) from None
        component_queries.wait_deployable(clients, self._arn(clients, version), run, self.id)
        return diff.outputs

    def _describe(self, clients: Clients, version: str) -> dict[str, Any] | None:
        return component_queries.describe(clients, self._arn(clients, version))

    def _arn(self, clients: Clients, version: str) -> str:
        return component_queries.component_arn(clients, self.name, version)

    def _recognised(self, found: dict[str, Any]) -> bool:
        """Whether one of these is what is wanted. A recipe that would not work is reported by `diff`, not here."""
        return any(self._matches(each) for each in found.values())

    def _matches(self, found: dict[str, Any] | None) -> bool:
        """As `_same`; False for a recipe that would not work."""
        try:
            return self._same(found)
        except Problem:
            return False

    def _same(self, found: dict[str, Any] | None) -> bool:
        return found is not None and found["tags"].get(DIGEST_TAG) == self.digest

    def _explicit(self, found: dict[str, Any], newest: str, before: Content) -> Diff:
        there = found.get(self.version)
        if there is None:
            return self._new(found, newest, self.version, before)
        mend = f"Set {self.ours.key}.version to {component_queries.next_patch(newest)}, or to auto."
        if not self._same(there):
            raise Problem(
                f"{self.name} {self.version} exists already, with other content; a component version never changes",
                where=self.id,
                mend=mend,
            )
        if there["state"] == "FAILED":
            raise Problem(
                f"{self.name} {self.version} FAILED: {there['message'] or 'no reason given'}",
                where=self.id,
                mend=f"Correct that. {mend}",
            )
        return self._settled(self.version, there["state"])

    def _settled(self, version: str, state: str) -> Diff:
        """A version that is there; it may still be on its way to being deployable."""
        outputs = {"version": version}
        if state in component_queries.BECOMING:
            change = Change("state", state, "DEPLOYABLE")
            return Diff(Action.UPDATE, (change,), outputs, parameters={"create": False})
        return Diff(Action.NONE, outputs=outputs)

    def _new(self, found: dict[str, Any], newest: str, version: str, before: Content) -> Diff:
        tags = {each: found[each]["tags"] for each in sorted(found, key=sort_key, reverse=True)}
        refuse_shared_name(self.name, self.id, tags, self.ownership, adopted=self.adopted)
        action = Action.UPDATE if newest else Action.CREATE
        changes = (Change("version", newest or None, version), *self._content_changes(before))
        return Diff(action, changes, {"version": version}, parameters={"create": True})

    def _content_changes(self, before: Content) -> Iterator[Change]:
        # The files of the application are emflow's own: a new release of it would fill pages.
        return content_changes(before, self.content, texts=not self.ours.is_application)

    def _refuse_failed(self, version: str, found: dict[str, Any]) -> None:
        if not self.retry_failed:
            raise Problem(
                f"{self.name} {version} FAILED: {found['message'] or 'no reason given'}",
                where=self.id,
                mend="Correct the workflow; or publish it again as the next version: emflow apply --retry-failed",
            )


@dataclass(frozen=True)
class RemovableVersions:
    """Every version of a component that the workflow made. `needs`: resources that are removed after it."""

    id: str
    name: str
    ownership: Ownership
    needs: frozenset[str] = frozenset()

    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {}

    def observe(self, clients: Clients) -> Observed | None:
        if not component_queries.list_versions(clients, self.name):
            return None
        owned = self.owned(clients)
        users = deployment_records.users_of(clients, self.ownership, [self.name]) if owned else {}
        return {"ours": owned, "user": users.get(self.name, "")}

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        if not observed["ours"]:
            return Retention.because(NOT_OWNED)
        if observed["user"]:
            return Retention.used_by_others(observed["user"])
        return REMOVABLE

    def delete(self, clients: Clients, run: RunContext) -> None:
        if not is_still_removable(self, clients):
            return
        for version in self.owned(clients):
            arn = component_queries.component_arn(clients, self.name, version)
            none_if_missing(partial(clients("greengrassv2").delete_component, arn=arn))

    def owned(self, clients: Clients) -> list[str]:
        """The versions that the workflow made."""
        return component_queries.owned_versions(clients, self.name, self.ownership)


@dataclass(frozen=True)
class OldComponents:
    """Finds components of the workflow whose names it no longer has. `names`: those that it has."""

    names: frozenset[str]
    ownership: Ownership
    permission: ClassVar[str] = PERMISSION

    def find(self, clients: Clients) -> Mapping[str, Orphan]:
        arns = find_owned(clients, "greengrass", self.ownership)
        names = {name for name, _ in map(component_queries.name_and_version, arns)} - self.names - {""}
        if not names:
            return {}
        owned = read_parallel(
            {name: partial(component_queries.owned_versions, clients, name, self.ownership) for name in sorted(names)}
        )
        users = deployment_records.users_of(clients, self.ownership, owned)
        return {
            name: Orphan(
                ", ".join(versions),
                retention=Retention.because(users[name]) if name in users else REMOVABLE,
            )
            for name, versions in owned.items()
            if versions
        }

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        users = deployment_records.users_of(clients, self.ownership, [name])
        if name in users:
            raise stays(name, OLD_COMPONENTS, users[name])
        component_queries.delete_owned_versions(clients, name, self.ownership)


def _desired(context: BuildContext) -> Iterator[ComponentVersion]:
    for ours in context.components:
        component = COMPONENT if ours.is_application else own_component_id(ours.name)
        adopted, stored = component in context.adopted, stored_bundle(ours)
        yield ComponentVersion(ours, context.ownership(component), stored, context.retry_failed, adopted)


def _removable(context: BuildContext) -> Iterator[RemovableVersions]:
    workflow, needs = context.workflow, frozenset({OBJECTS, COMPONENTS_BUCKET})
    own = {own_component_id(component.name): component.name for component in workflow.components}
    for resource, name in {COMPONENT: workflow.edge.component.name, **own}.items():
        yield RemovableVersions(resource, name, context.ownership(resource), needs)


def _orphans(context: BuildContext) -> Iterator[Orphans]:
    workflow = context.workflow
    own = {component.name for component in workflow.components}
    names = frozenset({workflow.edge.component.name, workflow.cloud.package.component.name, *own})
    yield Orphans(OLD_COMPONENTS, "dropped components", OldComponents(names, context.ownership(COMPONENT)))


def _adoptable(workflow: Workflow) -> Iterator[str]:
    yield from (COMPONENT, *(own_component_id(component.name) for component in workflow.components))


KIND = ResourceKind(desired=_desired, removable=_removable, orphans=_orphans, adoptable=_adoptable)
