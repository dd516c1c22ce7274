"""Who else uses a bucket of the workflow, by what is in it and by what refers to it, before `destroy` empties it.

What the workflow stored is known by its name in the metadata (models, bundles), by the tags of the job that wrote it
(compiled and packaged models), and by the name of its fleet (captures). Everything else may be somebody's only copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import error_code, http_status
from emflow.engine.scheduler import read_parallel
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.iam.policies_of_others import policies_that_name
from emflow.resources.iam.role import RoleName
from emflow.resources.iam.shared_role import RoleUser
from emflow.resources.ownership import Ownership, owner_in, tags_as_mapping
from emflow.resources.tag_search import is_refused

STORED_BY = "emflow-workflow"
"""The key of the metadata that says which workflow stored an object."""

EXPIRY_RULE = "emflow-captures-"
"""The name of the rule that lets captures expire begins with it; the workflow's name follows."""

LOCKS = "emflow/locks/"
JOBS = {"models/compiled": "compilation-job", "models/packaged": "edge-packaging-job"}
"""Folders of jobs → the kind of job in an ARN. Each job has a folder of its own there."""


@dataclass(frozen=True)
class BucketUser:
    """The workflow, as the user of its buckets. `fleet`: the name of its fleet."""

    ownership: Ownership
    fleet: str
    role: RoleName
    role_user: RoleUser

    def others(self, clients: Clients, bucket: str) -> list[str]:
        """What shows that others use a bucket, or may; each for people. None is nothing."""
        try:
            fleets = _fleets(clients)
        except ClientError as error:
            if not is_refused(error):
                raise
            return ["who else uses it cannot be looked for: allow sagemaker:ListDeviceFleets"]
        own = {name for name, fleet in fleets.items() if self.ownership.owns(fleet["tags"])}
        current = fleets.get(self.fleet)
        if current is None:
            own.add(self.fleet)  # it has been removed by now, and what its devices captured is left
        return [
            *self._by_fleets(bucket, fleets),
            *policies_that_name(
                clients,
                self.role_user,
                self.role.find(clients),
                lambda resource: resource.rpartition(":::")[2].partition("/")[0] == bucket,
            ),
            *self._by_rules(clients, bucket),
            *self._by_content(clients, bucket, own),
        ]

    def _by_fleets(self, bucket: str, fleets: dict[str, Any]) -> Iterator[str]:
        for name, fleet in fleets.items():
            if fleet["bucket"] == bucket and not self.ownership.owns(fleet["tags"]):
                owner = owner_in(fleet["tags"])
                yield f"device fleet {name}{f' of {owner}' if owner else ''} stores captures in it"

    def _by_rules(self, clients: Clients, bucket: str) -> Iterator[str]:
        s3 = clients("s3")
        found = none_if_missing(lambda: s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"])
        for rule in found or ():
            name = str(rule.get("ID", ""))
            if name.startswith(EXPIRY_RULE) and name != f"{EXPIRY_RULE}{self.ownership.workflow}":
                yield f"it has the lifecycle rule {name}"

    def _by_content(self, clients: Clients, bucket: str, own_fleets: set[str]) -> Iterator[str]:
        """The first object that is not the workflow's, if there is any."""
        try:
            found = next(self._foreign(clients, bucket, "", own_fleets), None)
        except ClientError as error:
            if http_status(error) != 403:
                raise
            found = f"what is in it is not known: {error_code(error)}"
        if found:
            yield found

    def _foreign(self, clients: Clients, bucket: str, prefix: str, own_fleets: set[str]) -> Iterator[str]:
        """What is not the workflow's under a prefix; of old versions too, because they would be deleted as well."""
        pages = clients("s3").get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
            for each in page.get("Versions", ()):
                if reason := self._object(clients, bucket, each["Key"], each["VersionId"]):
                    yield reason
            for folder in [each["Prefix"] for each in page.get("CommonPrefixes", ())]:
                above, _, name = folder.rstrip("/").rpartition("/")
                if above in JOBS:
                    if reason := self._job(clients, JOBS[above], name, folder):
                        yield reason
                elif name not in own_fleets:
                    yield from self._foreign(clients, bucket, folder, own_fleets)

    def _object(self, clients: Clients, bucket: str, key: str, version: str) -> str:
        if key == f"{LOCKS}{self.ownership.workflow}.json":
            return ""
        s3 = clients("s3")
        asked = {} if version == "null" else {"VersionId": version}
        found = none_if_missing(lambda: s3.head_object(Bucket=bucket, Key=key, **asked))
        workflow = (found or {}).get("Metadata", {}).get(STORED_BY)
        if workflow == self.ownership.workflow:
            return ""
        return (
            f"object {key} was stored by workflow {workflow}" if workflow else f"nothing says who stored object {key}"
        )

    def _job(self, clients: Clients, kind: str, name: str, folder: str) -> str:
        arn = clients.arn("sagemaker", f"{kind}/{name}")
        pages = clients("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
        tags = none_if_missing(lambda: tags_as_mapping([tag for page in pages for tag in page["Tags"]])) or {}
        if self.ownership.owns(tags):
            return ""
        owner = owner_in(tags)
        return (
            f"folder {folder} is of a job of {owner}" if owner else f"nothing says whose job wrote to folder {folder}"
        )


def _fleets(clients: Clients) -> dict[str, Any]:
    """All fleets of the region: name → the bucket for captures, and the tags."""
    sagemaker = clients("sagemaker")
    pages = sagemaker.get_paginator("list_device_fleets").paginate()
    names = [each["DeviceFleetName"] for page in pages for each in page["DeviceFleetSummaries"]]

    def read(name: str) -> dict[str, Any] | None:
        found = none_if_missing(lambda: sagemaker.describe_device_fleet(DeviceFleetName=name))
        if found is None:
            return None
        tags = sagemaker.get_paginator("list_tags").paginate(ResourceArn=found["DeviceFleetArn"])
        location = found["OutputConfig"]["S3OutputLocation"].removeprefix("s3://")
        return {
            "bucket": location.partition("/")[0],
            "tags": tags_as_mapping([tag for page in tags for tag in page["Tags"]]),
        }

    return {
        name: found for name, found in read_parallel({name: partial(read, name) for name in names}).items() if found
    }
