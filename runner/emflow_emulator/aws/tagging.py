"""The Resource Groups Tagging API of one region: finds the resources of all embedded services by their tags.

It has only GetResources. As in AWS, it does not list IAM roles, and of a Greengrass component the versions have the
tags.
https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from emflow_emulator.aws.errors import ApiError
from emflow_emulator.aws.paging import page
from emflow_emulator.aws.protocol import Handler, Params

Tagged = Mapping[str, Mapping[str, str]]
"""ARN → tags."""


class Tagging:
    """Finds resources by tags.

    Args:
        sources: service name, as in ARNs → a function that returns the service's resources and their tags.
    """

    def __init__(self, sources: Mapping[str, Callable[[], Tagged]]) -> None:
        self._sources = sources
        self.handlers: dict[str, Handler] = {"GetResources": self._get}

    def _get(self, params: Params) -> dict[str, Any]:
        kinds = params.get("ResourceTypeFilters", [])
        wanted = {kind.partition(":")[0] for kind in kinds} or set(self._sources)
        found = {
            arn: tags
            for service in sorted(wanted & self._sources.keys())
            for arn, tags in sorted(self._sources[service]().items())
            if tags and _of_kind(arn, kinds) and _matches(tags, params.get("TagFilters", []))
        }
        paging = {"nextToken": params.get("PaginationToken"), "maxResults": params.get("ResourcesPerPage", 50)}
        query = {name: value for name, value in params.items() if name not in {"PaginationToken", "ResourcesPerPage"}}
        try:
            listed, token = page(list(found), {**query, **paging})
        except ApiError as error:
            raise ApiError("PaginationTokenExpiredException", error.message) from error
        return {
            "ResourceTagMappingList": [
                {"ResourceARN": arn, "Tags": [{"Key": key, "Value": found[arn][key]} for key in sorted(found[arn])]}
                for arn in listed
            ],
            "PaginationToken": token or "",
        }


def _of_kind(arn: str, kinds: Iterable[str]) -> bool:
    """Whether an ARN is of one of these kinds, such as `s3` or `sagemaker:device-fleet`."""
    _, _, service, _, _, resource = arn.split(":", 5)
    kinds = list(kinds)
    of_resource = re.split("[:/]", resource, maxsplit=1)[0]  # of `device-fleet/x` and `components:x:versions:1.0.0`
    return not kinds or service in kinds or f"{service}:{of_resource}" in kinds


def _matches(tags: Mapping[str, str], filters: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the tags have the key of each filter, with one of the filter's values if it has any."""
    return all(
        each["Key"] in tags and (not each.get("Values") or tags[each["Key"]] in each["Values"]) for each in filters
    )
