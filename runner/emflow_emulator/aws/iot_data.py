"""The data endpoint of AWS IoT: publishes to the broker, and reads its retained messages.

https://docs.aws.amazon.com/iot/latest/apireference/API_Operations_AWS_IoT_Data_Plane.html. An embedded AWS that runs
without a broker has no retained messages.
"""

from __future__ import annotations

from typing import Any

from emflow_emulator.aws.errors import ApiError, invalid
from emflow_emulator.aws.paging import page
from emflow_emulator.aws.protocol import Answer, Handler, Params, answer
from emflow_emulator.broker import Broker
from emflow_emulator.mqtt.exchange import Retained
from emflow_emulator.mqtt.packets import BadPacket, Message, checked

IOT_DATA = "iot-data"
"""Botocore's name of the service; the name in its signatures is `iotdata`."""


class IotData:
    """Publish, GetRetainedMessage and ListRetainedMessages, the same in all regions."""

    def __init__(self, broker: Broker | None) -> None:
        self._broker = broker
        self._handlers: dict[str, Handler] = {
            "GetRetainedMessage": self._get,
            "ListRetainedMessages": self._list,
            "Publish": self._publish,
        }

    def answer(self, environ: dict[str, Any]) -> Answer:
        return answer(IOT_DATA, environ, self._handlers)

    def _get(self, params: Params) -> dict[str, Any]:
        retained = self._broker.retained.get(params["topic"]) if self._broker else None
        if retained is None:
            raise ApiError("ResourceNotFoundException", "No retained message exists for the specified topic.")
        message = retained.message
        return {**_facts(retained), "payload": message.payload}

    def _list(self, params: Params) -> dict[str, Any]:
        found = sorted(self._broker.retained.all() if self._broker else (), key=lambda each: each.message.topic)
        listed, token = page(found, params, default=200)
        topics = [{**_facts(each), "payloadSize": len(each.message.payload)} for each in listed]
        return {"retainedTopics": topics, "nextToken": token}

    def _publish(self, params: Params) -> None:
        if self._broker is None:
            raise invalid("The embedded AWS runs without a broker here.")
        payload = params.get("payload") or b""
        message = Message(params["topic"], payload, min(params.get("qos") or 0, 1), bool(params.get("retain")))
        try:
            self._broker.publish(checked(message))
        except BadPacket as bad:
            raise ApiError("InvalidRequestException", str(bad)) from bad


def _facts(retained: Retained) -> dict[str, Any]:
    message = retained.message
    return {"topic": message.topic, "qos": message.qos, "lastModifiedTime": int(retained.modified * 1000)}
