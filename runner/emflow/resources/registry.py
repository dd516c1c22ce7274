"""The registry: the one list of the kinds of resources. The graphs of `apply` and of `destroy` both come from it.

Each kind declares in its own module what a workflow wants of it, what of it may be removed, and what each of these
needs. To add a kind, write its module and add its `KIND` to `KINDS`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from emflow.engine.resource import Removable, Resource
from emflow.problems import UsageProblem
from emflow.resources.greengrass import component_version, core_device, deployment
from emflow.resources.iam import role, role_alias, role_policies
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.orphans import Orphans
from emflow.resources.s3 import bucket, objects
from emflow.resources.sagemaker import compilation, devices, fleet, packaging
from emflow.workflow.model import Workflow

KINDS: tuple[ResourceKind, ...] = (
    core_device.KIND,
    bucket.KIND,
    objects.KIND,
    role.KIND,
    role_policies.KIND,
    role_alias.KIND,
    fleet.KIND,
    devices.KIND,
    compilation.KIND,
    packaging.KIND,
    component_version.KIND,
    deployment.KIND,
)
"""In the order in which a plan shows what does not depend on each other; orphans come last, in reverse order."""


def desired_resources(
    workflow: Workflow,
    *,
    retry_failed: bool = False,
    adopt: Collection[str] = frozenset(),
    kinds: Sequence[ResourceKind] = KINDS,
) -> tuple[Resource, ...]:
    """All resources of a workflow. Reads the model and the labels; does not talk to AWS.

    Args:
        retry_failed: repeat jobs that failed with the same inputs, under a next name.
        adopt: ids of resources that may be changed although this workflow did not make them.

    Raises:
        Problem: the model or the labels are missing or unusable.
        UsageProblem: an id in `adopt` is none that can be adopted.
    """
    adoptable = [name for kind in kinds for name in kind.adoptable_in(workflow)]
    if unknown := sorted(set(adopt) - set(adoptable)):
        raise UsageProblem(
            f"nothing called {', '.join(unknown)} can be adopted",
            where="--adopt",
            mend=f"one of: {', '.join(adoptable)}",
        )
    context = BuildContext(workflow, retry_failed, frozenset(adopt))
    return (*(resource for kind in kinds for resource in kind.desired(context)), *_orphans(kinds, context))


def removable_resources(
    workflow: Workflow, *, delete_core_devices: bool = False, kinds: Sequence[ResourceKind] = KINDS
) -> tuple[Removable, ...]:
    """What `destroy` looks at: all that this workflow, or an earlier form of it, may have made.

    Reads no file beside the workflow: neither a model that is gone nor labels that have moved hinder a clean-up.

    Args:
        delete_core_devices: also the core devices of the target.
    """
    context = BuildContext(workflow, delete_core_devices=delete_core_devices)
    return (*(resource for kind in kinds for resource in kind.removable(context)), *_orphans(kinds, context))


def _orphans(kinds: Sequence[ResourceKind], context: BuildContext) -> Iterable[Orphans]:
    return (orphans for kind in reversed(kinds) for orphans in kind.orphans(context))
