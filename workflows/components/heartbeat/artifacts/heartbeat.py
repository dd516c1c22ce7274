"""A heartbeat over MQTT: one small JSON message every few seconds, for as long as the device lives.

Topic and period come from the component's configuration, over the same IPC connection that publishes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from datetime import datetime, timezone
from typing import Any

from awsiot.greengrasscoreipc import model
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """`5s` as 5.0. A text in the configuration, because Greengrass turns numbers into floats."""
    number = text.rstrip("hms")
    return float(number) * UNITS[text[len(number) :]]


def fault(configuration: dict[str, Any]) -> str:
    """What is wrong with a configuration; empty when nothing is."""
    try:
        seconds(configuration["every"])
        str.encode(configuration["topic"])
    except (KeyError, TypeError, ValueError) as error:
        return f"topic and every are needed, such as em/heartbeat and 5s: {error!r}"
    return ""


def answer_proposals(client: GreengrassCoreIPCClientV2) -> None:
    """Say whether a configuration is valid that a deployment is about to bring.

    The classic nucleus waits for the answer of every component that a deployment changes, if it waits for one.
    """

    def proposed(events: model.ValidateConfigurationUpdateEvents) -> None:
        event = events.validate_configuration_update_event
        wrong = fault(event.configuration or {})
        report = model.ConfigurationValidityReport(
            status="REJECTED" if wrong else "ACCEPTED", deployment_id=event.deployment_id, message=wrong or None
        )
        client.send_configuration_validity_report(configuration_validity_report=report)

    with contextlib.suppress(model.ServiceError):  # the lite nucleus does not ask
        client.subscribe_to_validate_configuration_updates(on_stream_event=proposed)


def main() -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    client = GreengrassCoreIPCClientV2()
    answer_proposals(client)
    configuration = client.get_configuration(key_path=[]).value
    topic, every = configuration["topic"], seconds(configuration["every"])
    sys.stdout.write(f"heartbeat on {topic} every {configuration['every']}\n")
    beat = 0
    while True:
        message = {
            "thing": os.environ.get("AWS_IOT_THING_NAME", ""),
            "beat": beat,
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        }
        client.publish_to_iot_core(topic_name=topic, qos="1", payload=json.dumps(message).encode())
        beat += 1
        if ended.wait(every):
            return


if __name__ == "__main__":
    main()
