"""How much of each component a device downloads, and how much of its disk it takes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from emflow.recipes.bundle import Bundle
from emflow.recipes.components import WorkflowComponent
from emflow.recipes.runtime_component import BLOCK, RuntimeBundle


@dataclass(frozen=True)
class ComponentSize:
    """A component's size on a device.

    Args:
        name: the component's.
        download: bytes that a device fetches when the component's files have changed.
        disk: bytes that it then takes on the device's disk: Greengrass keeps the zip beside what was in it.
    """

    name: str
    download: int
    disk: int

    def __str__(self) -> str:
        return f"{self.name}: {show_bytes(self.download)} to download, {show_bytes(self.disk)} on the device"


def component_sizes(components: Iterable[WorkflowComponent]) -> Iterator[ComponentSize]:
    """The sizes of the components that a workflow makes, in their order."""
    for component in components:
        download = len(component.bundle.data) if component.bundle else 0
        unpacked = _unpacked(component.bundle) if component.bundle else 0
        yield ComponentSize(component.name, download, download + unpacked)


def runtime_size(component: str, bundle: RuntimeBundle) -> ComponentSize:
    """The size of the Runtime component, with what its install step makes."""
    return ComponentSize(component, bundle.size, bundle.size + bundle.unpacked + bundle.installed)


def show_bytes(count: int) -> str:
    """A number of bytes for people: `512 B`, `1.2 MB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _unpacked(bundle: Bundle) -> int:
    with zipfile.ZipFile(io.BytesIO(bundle.data)) as archive:
        return sum(-(-each.file_size // BLOCK) * BLOCK for each in archive.infolist())
