"""Operations that list the components of the device, and operations for their metrics.

https://docs.aws.amazon.com/greengrass/v2/developerguide/ipc-local-deployments-components.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from emflow_emulator.core.ipc.access import CLI, METRICS, allowed
from emflow_emulator.core.ipc.errors import PREFIX, Document, invalid, not_found, text, unauthorized

_LONGEST_METRIC = 32
"""Maximum bytes of a metric's name."""
_UNITS = ("BYTES", "BYTES_PER_SECOND", "COUNT", "COUNT_PER_SECOND", "MEGABYTES", "SECONDS")


@dataclass(frozen=True)
class Details:
    """A component of the device; `state` is its state in the life cycle."""

    name: str
    version: str
    state: str
    configuration: Mapping[str, Any]

    def document(self) -> Document:
        return {
            "componentName": self.name,
            "version": self.version,
            "state": self.state,
            "configuration": dict(self.configuration),
        }


class ComponentHost(Protocol):
    """The device's components, and their metrics."""

    thing: str

    def configuration(self, component: str) -> Mapping[str, Any] | None: ...

    def details(self) -> Sequence[Details]:
        """All components that are deployed."""

    def measured(self, component: str, name: str, unit: str, value: float) -> None:
        """A component reports one of its metrics."""


class Components:
    def __init__(self, device: ComponentHost) -> None:
        self._device = device
        self.handlers = {
            "ListComponents": self._list,
            "GetComponentDetails": self._get,
            "PutComponentMetric": self._put_metric,
        }

    def _list(self, component: str, _: Document) -> Document:
        self._authorize(component, CLI, "ListComponents", "*")
        return {"components": [each.document() for each in self._device.details()]}

    def _get(self, component: str, request: Document) -> Document:
        name = text(request, "componentName")
        self._authorize(component, CLI, "GetComponentDetails", name)
        found = next((each for each in self._device.details() if each.name == name), None)
        if found is None:
            raise not_found(f"Component {name} does not exist on this core device")
        return {"componentDetails": found.document()}

    def _put_metric(self, component: str, request: Document) -> Document:
        """Only for components whose name begins with `aws.`, as in the classic nucleus."""
        if not component.startswith("aws."):
            raise unauthorized(component, METRICS, f"{PREFIX}PutComponentMetric", "*")
        self._authorize(component, METRICS, "PutComponentMetric", "*")
        metrics = request.get("metrics")
        if not isinstance(metrics, list) or not metrics:
            raise invalid("Null or Empty list of metrics found in PutComponentMetricRequest")
        for name, unit, value in [_metric(each) for each in metrics]:
            self._device.measured(component, name, unit, value)
        return {}

    def _authorize(self, component: str, service: str, name: str, resource: str) -> None:
        configuration = self._device.configuration(component) or {}
        if not allowed(configuration, service, PREFIX + name, resource, self._device.thing):
            raise unauthorized(component, service, PREFIX + name, resource)


def _metric(metric: Any) -> tuple[str, str, float]:
    document = metric if isinstance(metric, dict) else {}
    name, unit, value = text(document, "name"), text(document, "unit"), document.get("value")
    if len(name.encode(errors="surrogatepass")) > _LONGEST_METRIC:
        raise invalid(f"the metric's name {name!r} is longer than {_LONGEST_METRIC} bytes")
    if unit not in _UNITS:
        raise invalid(f"the metric's unit {unit!r} is not one of {', '.join(_UNITS)}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise invalid(f"the metric's value {value!r} is not a number of at least 0")
    return name, unit, float(value)
