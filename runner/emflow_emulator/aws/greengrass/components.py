"""Component versions: created from a recipe, listed, described and deleted, but never changed.

Semantics: https://docs.aws.amazon.com/greengrass/v2/APIReference/API_CreateComponentVersion.html. At the creation, the
SHA-256 of each artifact in S3 is written into the recipe; a device refuses an artifact with another digest. A create
request that is sent again with the same client token gets the first answer again (`ClientTokens`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from botocore.exceptions import ClientError

from emflow.versions import parse_version
from emflow_emulator.aws import public_components
from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.errors import ApiError, invalid
from emflow_emulator.aws.greengrass import recipe as recipes
from emflow_emulator.aws.greengrass.recipe import Recipe
from emflow_emulator.aws.internal_clients import InternalClients, S3Object
from emflow_emulator.aws.paging import page
from emflow_emulator.aws.protocol import Handler, Params


class ClientTokens:
    """The request and the answer of each client token."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def once(self, params: dict[str, Any], create: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Call `create`, or return its first answer when the same request comes again with the same token.

        Raises:
            ApiError: the token was used for another request.
        """
        token = params.get("clientToken")
        if token in self._used:
            first, answer = self._used[token]
            if first != params:
                raise ApiError(
                    "ConflictException",
                    f"Client token {token} was used for a request with other parameters.",
                    resourceId=token,
                    resourceType="clientToken",
                )
            return answer
        answer = create()
        if token is not None:
            self._used[token] = (dict(params), answer)
        return answer


_ARN = re.compile(
    r"arn:aws:greengrass:(?P<region>[^:]*):(?P<owner>aws|\d+):components:(?P<name>[^:]+)(?::versions:(?P<version>[^:]+))?"
)


@dataclass(frozen=True)
class Component:
    """One version of a component of the account, or of a public component of AWS."""

    arn: str
    recipe: Recipe
    created: datetime
    settle_seconds: float
    tags: dict[str, str] = field(default_factory=dict)
    made: float = field(default_factory=monotonic)

    @property
    def status(self) -> dict[str, Any]:
        """The status as the API returns it: first REQUESTED, then INITIATED, finally DEPLOYABLE."""
        state = "DEPLOYABLE"
        if not self.deployable:
            state = "REQUESTED" if monotonic() - self.made < self.settle_seconds / 2 else "INITIATED"
        return {"componentState": state, "message": "NONE", "errors": {}}

    @property
    def deployable(self) -> bool:
        return monotonic() - self.made >= self.settle_seconds


class Components:
    """The components of one region: those of the account and the public ones."""

    def __init__(self, account_region: AccountRegion, clients: InternalClients, settle_seconds: float) -> None:
        self._account_region = account_region
        self._clients = clients
        self._settle = settle_seconds
        self._own: dict[str, dict[str, Component]] = {}
        self._public: dict[str, dict[str, Component]] | None = None
        self._tokens = ClientTokens()

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateComponentVersion": self._create,
            "DescribeComponent": self._describe,
            "GetComponent": self._get,
            "GetComponentVersionArtifact": self._artifact,
            "ListComponents": self._list,
            "ListComponentVersions": self._versions,
            "DeleteComponent": self._delete,
        }

    def find(self, name: str, version: str) -> Component | None:
        """A component version; one of the account takes precedence over a public one."""
        for versions in (self._own, self.public):
            if version in versions.get(name, {}):
                return versions[name][version]
        return None

    def versions(self, name: str) -> list[Component]:
        """All versions under a name, the newest first."""
        return _newest_first({**self.public.get(name, {}), **self._own.get(name, {})}.values())

    @property
    def public(self) -> dict[str, dict[str, Component]]:
        if self._public is None:
            self._public = {}
            for released, document in public_components.recipes():
                recipe = recipes.public(document)
                arn = self._arn(recipe.name, recipe.version, owner="aws")
                self._public.setdefault(recipe.name, {})[recipe.version] = Component(arn, recipe, released, 0.0)
        return self._public

    def tags(self, arn: str) -> dict[str, str] | None:
        """The tags of a component version, as a mapping that the caller may change; None if it does not exist."""
        found = _ARN.fullmatch(arn)
        versions = self._own.get(found["name"], {}) if found and found["owner"] != "aws" else {}
        component = versions.get(found["version"]) if found else None
        return component.tags if component else None

    def tagged(self) -> dict[str, dict[str, str]]:
        """The tags of every component version of the account, by ARN."""
        return {each.arn: dict(each.tags) for versions in self._own.values() for each in versions.values()}

    def create(self, text: bytes, tags: Mapping[str, str]) -> Component:
        """Make a component version from a recipe.

        Raises:
            ApiError: the recipe is not valid, an artifact cannot be read, or the version exists already.
        """
        recipe = recipes.parse(text)
        name, version = recipe.name, recipe.version
        if name in self.public:
            raise invalid(
                f"Invalid Input: {name} is one of AWS's public components", ("ComponentName", "is AWS's own component")
            )
        if version in self._own.get(name, {}):
            state = self._own[name][version].status["componentState"]
            raise ApiError(
                "ConflictException",
                f"Component [{name} : {version}] for account [{self._account_region.account}] already exists "
                f"with state: [{state}]",
                resourceId=self._arn(name, version),
                resourceType="component",
            )
        self._digest(recipe)
        component = Component(self._arn(name, version), recipe, datetime.now(UTC), self._settle, dict(tags))
        self._own.setdefault(name, {})[version] = component
        return component

    def _digest(self, recipe: Recipe) -> None:
        unreadable = {}
        for artifact in recipe.artifacts:
            artifact.pop("Digest", None)
            artifact.pop("Algorithm", None)
            if not artifact["Uri"].startswith("s3://"):
                continue
            try:
                digest = self._clients.sha256(S3Object.at(artifact["Uri"]))
            except ClientError:
                unreadable[artifact["Uri"]] = "Specified artifact resource cannot be accessed"
                continue
            artifact.setdefault("Unarchive", "NONE")
            artifact["Digest"] = base64.b64encode(digest).decode()
            artifact["Algorithm"] = "SHA-256"
        if unreadable:
            listed = ", ".join(f"{uri} = {why}" for uri, why in unreadable.items())
            raise invalid(
                f"Invalid Input: Encountered following errors in Artifacts: {{{listed}}}", *unreadable.items()
            )

    def _create(self, params: Params) -> dict[str, Any]:
        if "lambdaFunction" in params:
            raise invalid("The embedded AWS makes components from recipes only, not from Lambda functions.")
        if "inlineRecipe" not in params:
            raise invalid("Either inlineRecipe or lambdaFunction is needed.", ("inlineRecipe", "is missing"))

        def make() -> dict[str, Any]:
            component = self.create(params["inlineRecipe"], params.get("tags", {}))
            return {
                "arn": component.arn,
                "componentName": component.recipe.name,
                "componentVersion": component.recipe.version,
                "creationTimestamp": component.created,
                "status": {"componentState": "REQUESTED", "message": "NONE", "errors": {}},
            }

        return self._tokens.once(params, make)

    def _describe(self, params: Params) -> dict[str, Any]:
        component = self._at(params["arn"])
        recipe = component.recipe
        return {
            "arn": component.arn,
            "componentName": recipe.name,
            "componentVersion": recipe.version,
            "creationTimestamp": component.created,
            "publisher": recipe.publisher,
            "description": recipe.description,
            "status": component.status,
            "platforms": recipe.platforms,
            "tags": component.tags,
        }

    def _get(self, params: Params) -> dict[str, Any]:
        component = self._at(params["arn"])
        form = params.get("recipeOutputFormat", "JSON")
        return {"recipeOutputFormat": form, "recipe": component.recipe.text(form), "tags": component.tags}

    def _artifact(self, params: Params) -> dict[str, Any]:
        component = self._at(params["arn"])
        for artifact in component.recipe.artifacts:
            uri: str = artifact["Uri"]
            if uri.startswith("s3://") and uri.rpartition("/")[2] == params["artifactName"].rpartition("/")[2]:
                where = S3Object.at(uri)
                url = self._clients("s3").generate_presigned_url(
                    "get_object", {"Bucket": where.bucket, "Key": where.key}
                )
                return {"preSignedUrl": url}
        raise _missing(f"{params['arn']} has no artifact {params['artifactName']}", params["artifactName"], "artifact")

    def _list(self, params: Params) -> dict[str, Any]:
        versions = self.public if params.get("scope") == "PUBLIC" else self._own
        listed, token = page([_newest_first(versions[name].values())[0] for name in sorted(versions)], params)
        return {"components": [_summary(component) for component in listed], "nextToken": token}

    def _versions(self, params: Params) -> dict[str, Any]:
        found = _ARN.fullmatch(params["arn"])
        versions = (self.public if found["owner"] == "aws" else self._own) if found else {}
        if not found or found["version"] or found["name"] not in versions:
            raise _missing(f"Component {params['arn']} does not exist.", params["arn"])
        listed, token = page(_newest_first(versions[found["name"]].values()), params)
        return {
            "componentVersions": [
                {"componentName": each.recipe.name, "componentVersion": each.recipe.version, "arn": each.arn}
                for each in listed
            ],
            "nextToken": token,
        }

    def _delete(self, params: Params) -> None:
        component = self._at(params["arn"])
        versions = self._own.get(component.recipe.name, {})
        if versions.pop(component.recipe.version, None) is not component:
            raise ApiError("AccessDeniedException", f"{component.arn} is AWS's and cannot be deleted.")
        if not versions:
            del self._own[component.recipe.name]

    def _at(self, arn: str) -> Component:
        found = _ARN.fullmatch(arn)
        if found and found["version"] and found["region"] == self._account_region.region:
            versions = self.public if found["owner"] == "aws" else self._own
            component = versions.get(found["name"], {}).get(found["version"])
            if component:
                return component
        raise _missing(f"Component version {arn} does not exist.", arn)

    def _arn(self, name: str, version: str, owner: str | None = None) -> str:
        return self._account_region.arn("greengrass", f"components:{name}:versions:{version}", owner)


def _newest_first(components: Iterable[Component]) -> list[Component]:
    return sorted(components, key=lambda each: parse_version(each.recipe.version), reverse=True)


def _summary(latest: Component) -> dict[str, Any]:
    recipe = latest.recipe
    return {
        "arn": latest.arn.partition(":versions:")[0],
        "componentName": recipe.name,
        "latestVersion": {
            "arn": latest.arn,
            "componentVersion": recipe.version,
            "creationTimestamp": latest.created,
            # The model requires at least one character if the member is present.
            "description": recipe.description or None,
            "publisher": recipe.publisher or None,
            "platforms": recipe.platforms,
        },
    }


def _missing(text: str, resource: str, kind: str = "component") -> ApiError:
    return ApiError("ResourceNotFoundException", text, resourceId=resource, resourceType=kind)
