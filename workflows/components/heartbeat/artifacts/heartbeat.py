"""A heartbeat over MQTT: one small JSON message every few seconds, for as long as the device lives.

Topic and period come from the component's configuration, over the same IPC connection that publishes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from datetime import datetime, timezone

from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """`5s` as 5.0. A text in the configuration, because Greengrass turns numbers into floats."""
    number = text.rstrip("hms")
    return float(number) * UNITS[text[len(number) :]]


def main() -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    client = GreengrassCoreIPCClientV2()
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
