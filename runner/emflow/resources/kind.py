"""What the module of a kind of resource declares about itself, so that the registry can put it into every graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from emflow.engine.resource import Removable, Resource
from emflow.recipes.bundle import ModelArchive, model_archive
from emflow.recipes.components import WorkflowComponent, workflow_components
from emflow.resources.orphans import Orphans
from emflow.resources.ownership import Ownership
from emflow.workflow.aws_regions import partition_of
from emflow.workflow.model import Workflow


@dataclass(frozen=True)
class BuildContext:
    """What kinds make their resources from.

    Args:
        retry_failed: repeat jobs that failed with the same inputs, under a next name.
        adopted: ids of resources that may be changed although this workflow did not make them.
        delete_core_devices: whether `destroy` is to remove core devices too.
    """

    workflow: Workflow
    retry_failed: bool = False
    adopted: frozenset[str] = frozenset()
    delete_core_devices: bool = False

    def ownership(self, resource: str) -> Ownership:
        """The tags of one part of the workflow."""
        aws = self.workflow.aws
        return Ownership(self.workflow.metadata.name, resource, aws.tags, aws.region)

    @property
    def partition(self) -> str:
        return partition_of(self.workflow.aws.region)

    @cached_property
    def model_archive(self) -> ModelArchive:
        """The model as it is stored. Reads its file, once. Raises Problem when it is missing or unusable."""
        return model_archive(self.workflow)

    @cached_property
    def components(self) -> tuple[WorkflowComponent, ...]:
        """The application and the workflow's own components. Reads their files, once. Raises Problem as above."""
        return workflow_components(self.workflow)


def _nothing(_: BuildContext) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class ResourceKind:
    """One kind of resource.

    Args:
        desired: what a workflow wants to exist; may read files beside the workflow.
        removable: what `destroy` looks at; reads no file beside the workflow.
        orphans: what an earlier form of the workflow may have left; removed by `apply` and by `destroy`.
        adoptable: ids of resources that the user may permit to change although the workflow did not make them; where
            they depend on the workflow, a function of it.
    """

    desired: Callable[[BuildContext], Iterable[Resource]] = _nothing
    removable: Callable[[BuildContext], Iterable[Removable]] = _nothing
    orphans: Callable[[BuildContext], Iterable[Orphans]] = _nothing
    adoptable: tuple[str, ...] | Callable[[Workflow], Iterable[str]] = ()

    def adoptable_in(self, workflow: Workflow) -> Iterable[str]:
        """Ids of resources of a workflow that the user may permit to change."""
        return self.adoptable(workflow) if callable(self.adoptable) else self.adoptable
