"""Finding what carries tags: the Resource Groups Tagging API, and what happens where it may not be called.

One call finds everything of a service that carries a tag, however much there is in the account:
https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html. The answer may be some
seconds old, so callers look at each thing once more before they act on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError

from emflow.engine.clients import Clients
from emflow.engine.errors import error_code, http_status
from emflow.resources.ownership import RESOURCE_TAG, WORKFLOW_TAG, Ownership, tags_as_mapping

PERMISSION = "tag:GetResources"
"""What has to be allowed to search."""

REFUSED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "UnknownOperationException", "UnknownService"})
"""Codes of an account that may not search, or of an endpoint that cannot."""


def is_refused(error: ClientError) -> bool:
    """Whether the account may not, or the endpoint cannot, list what is tagged."""
    return error_code(error) in REFUSED_CODES or http_status(error) == 501


def find_tagged(clients: Clients, service: str, tags: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """What has all of these tags, each with one of the values, where any are given: ARN → all its tags."""
    filters: list[dict[str, Any]] = [{"Key": key, "Values": list(values)} for key, values in tags.items()]
    pages = clients("resourcegroupstaggingapi").get_paginator("get_resources")
    listed = pages.paginate(TagFilters=filters, ResourceTypeFilters=[service], ResourcesPerPage=100)
    return {
        each["ResourceARN"]: tags_as_mapping(each["Tags"]) for page in listed for each in page["ResourceTagMappingList"]
    }


def find_tagged_if_allowed(
    clients: Clients, service: str, tags: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, str]] | None:
    """As `find_tagged`; None where the account may not search, or there is no way to the service from here."""
    try:
        return find_tagged(clients, service, tags)
    except (EndpointConnectionError, ConnectTimeoutError):
        return None
    except ClientError as error:
        if is_refused(error):
            return None
        raise


def find_owned(
    clients: Clients, service: str, ownership: Ownership, resources: Sequence[str] = ()
) -> dict[str, dict[str, str]]:
    """What the workflow made: ARN → all its tags. `resources`: ids of the parts that are looked for; none is all."""
    tags = {WORKFLOW_TAG: [ownership.workflow], **({RESOURCE_TAG: list(resources)} if resources else {})}
    found = find_tagged(clients, service, tags)
    return {arn: there for arn, there in found.items() if ownership.owns(there)}


def name_in_arn(arn: str) -> str:
    """The part of an ARN after the last slash."""
    return arn.rpartition("/")[2]
