"""What other workflows use, as their inline policies say: each names the buckets, the fleet and the component it needs.

IAM is global, so this also shows what is used from other regions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.scheduler import read_parallel
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.iam import shared_role
from emflow.resources.iam.role import DESCRIPTION
from emflow.resources.iam.shared_role import INLINE, RoleUser, role_use
from emflow.resources.tag_search import is_refused

NOT_ALLOWED = "who else uses it cannot be looked for: allow iam:ListRoles and iam:GetRolePolicy"


def resources_of_others(clients: Clients, user: RoleUser, role: str | None) -> Mapping[str, frozenset[str]] | None:
    """The resources that the policies of other workflows name.

    Args:
        role: the name of the role that the workflow itself uses; others may use it too.

    Returns:
        The name of a policy → the resources in it; None where the account may not look.
    """
    try:
        pages = clients("iam").get_paginator("list_roles").paginate()
        roles = {
            each["RoleName"] for page in pages for each in page["Roles"] if DESCRIPTION in each.get("Description", "")
        }
        roles |= {role} if role else set()
        found = read_parallel({name: partial(_on_role, clients, name, user) for name in sorted(roles)})
    except ClientError as error:
        if is_refused(error):
            return None
        raise
    return {policy: resources for by_policy in found.values() for policy, resources in by_policy.items()}


def policies_that_name(clients: Clients, user: RoleUser, role: str | None, is_it: Callable[[str], bool]) -> list[str]:
    """For people: the policies of other workflows with a resource that `is_it`, or that the account may not look."""
    found = resources_of_others(clients, user, role)
    if found is None:
        return [NOT_ALLOWED]
    return [f"inline policy {policy} names it" for policy, resources in found.items() if any(map(is_it, resources))]


def _on_role(clients: Clients, role: str, user: RoleUser) -> Mapping[str, frozenset[str]]:
    iam, use = clients("iam"), role_use(clients, role, user)
    names = [name for name in use.inline if name.startswith(INLINE) and name not in use.own_inline]
    documents = read_parallel(
        {name: partial(none_if_missing, partial(iam.get_role_policy, RoleName=role, PolicyName=name)) for name in names}
    )
    return {
        name: frozenset(shared_role.named_resources(found["PolicyDocument"]))
        for name, found in documents.items()
        if found
    }
