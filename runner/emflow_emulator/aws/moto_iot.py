"""The things of a thing group in moto's IoT, with those of its child groups, and in pages.

moto knows neither `recursive` nor pages:
https://docs.aws.amazon.com/iot/latest/apireference/API_ListThingsInThingGroup.html.
"""

from __future__ import annotations

from typing import Any

from emflow_emulator.aws.paging import page

MOST = 250
"""Things in one answer."""


def list_child_groups() -> None:
    """Let moto's IoT of this process list the things of child groups too; more than once has no effect."""
    from moto.core.responses import ActionResult
    from moto.iot.responses import IoTResponse

    if IoTResponse.list_things_in_thing_group.__module__ == __name__:  # an earlier EmbeddedAws has done this
        return

    def list_things_in_thing_group(request: IoTResponse) -> ActionResult:
        group = request._get_param("thingGroupName")
        recursive = request._get_bool_param("recursive", False)
        things = _things(request.iot_backend, group, recursive=bool(recursive))
        asked = {name: request._get_param(name) for name in ("maxResults", "nextToken")}
        listed, token = page(things, {"group": group, "recursive": recursive, **asked}, default=MOST)
        return ActionResult({"things": listed, "nextToken": token})

    answers: Any = IoTResponse
    answers.list_things_in_thing_group = list_things_in_thing_group


def _things(backend: Any, group: str, *, recursive: bool) -> list[str]:
    """The names of a group's things, each once. Raises moto's ResourceNotFoundException."""
    things = {thing.thing_name: None for thing in backend.describe_thing_group(group).things.values()}
    if recursive:
        for child in backend.list_thing_groups(group, None, recursive=False):
            things |= dict.fromkeys(_things(backend, child.thing_group_name, recursive=True))
    return list(things)
