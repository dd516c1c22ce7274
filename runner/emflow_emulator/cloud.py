"""The cloud process: the embedded AWS and the MQTT broker, until a signal or the end of the parent process.

Start it as `python -m emflow_emulator.cloud --access FILE --port 0 --mqtt-port 0`; its ready line has both addresses.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from emflow.problems import Problem
from emflow_emulator import child
from emflow_emulator.access import Access


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, or until the parent ends; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m emflow_emulator.cloud", description=__doc__)
    parser.add_argument(
        "--access", type=Path, required=True, metavar="FILE", help="JSON file with the access key and the broker's user"
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address of both servers (%(default)s)")
    parser.add_argument("--port", type=int, default=4566, help="port of the embedded AWS; 0: a free one (%(default)s)")
    parser.add_argument("--mqtt-port", type=int, default=0, help="port of the broker; 0 picks a free one (%(default)s)")
    parser.add_argument(
        "--job-seconds",
        type=float,
        default=1.0,
        help="minimum duration of a compilation or packaging job (%(default)s)",
    )
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = child.stop_event()

    # Imported after the signal handlers are set, because these imports take most of the start time.
    from emflow_emulator.aws import ACCOUNT, REGION, EmbeddedAws
    from emflow_emulator.broker import Broker

    try:
        access = Access.read(asked.access)
        with (
            Broker(asked.host, asked.mqtt_port, access.broker) as broker,
            EmbeddedAws(asked.port, asked.host, asked.job_seconds, access.key, broker) as aws,
        ):
            child.announce(
                endpoint_url=aws.endpoint_url,
                mqtt_host=asked.host,
                mqtt_port=broker.port,
                region=REGION,
                account=ACCOUNT,
            )
            stop.wait()
    except Problem as problem:
        return child.fail(problem)
    return 0


if __name__ == "__main__":
    sys.exit(main())
