"""The command line: the workshop's flags and ours, laid over a configuration so that a flag overrides it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

EPILOG = """
in Greengrass the configuration comes from the deployment, and a flag overrides it.

a broker's user and password are taken from EMFLOW_MQTT_USERNAME and EMFLOW_MQTT_PASSWORD.

example, without Greengrass (results on standard output):
  emflow-edge -s rtspt://192.168.1.20/stream1 -c ./model/ -m mobilenetv2-224-10-quant
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ends the process with code 2 and a line on standard error when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="emflow-edge",
        description="Captures RTSP video, infers through the agent on its Unix socket, publishes results.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    workshop = parser.add_argument_group("the workshop's flags")
    workshop.add_argument("-s", dest="url", metavar="URL", help="RTSP stream, as rtspt:// or rtsp://")
    workshop.add_argument(
        "-c",
        dest="model_component",
        metavar="COMPONENT",
        help="model component, whose work folder holds the model; with a slash in it, that folder itself",
    )
    workshop.add_argument("-m", dest="model_name", metavar="NAME", help="name to load the model under")
    workshop.add_argument(
        "-q",
        dest="quantized",
        metavar="True|False",
        help="whether the model is quantised; the model says so itself",
    )
    workshop.add_argument("-a", dest="capture", metavar="True|False", help="capture tensors, as the agent is set up to")
    ours = parser.add_argument_group("configuration")
    ours.add_argument("--config", type=Path, metavar="FILE", help="configuration as JSON; read again on SIGHUP")
    ours.add_argument("--secrets", type=Path, metavar="FILE", help="cameras' credentials as JSON, mode 0600")
    ours.add_argument("--assets", type=Path, metavar="DIR", help="where the labels of the configuration lie")
    ours.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep the last configuration that worked there, and start with it when the present one is wrong (not "
        "under the classic nucleus, which goes back itself)",
    )
    ours.add_argument("--every", metavar="TIME", help="time between two inferences, as in 1s, 250ms; 0 is at once")
    ours.add_argument("--labels", type=Path, metavar="FILE", help="one label a line")
    ours.add_argument("--class-offset", metavar="N", help="classes before index 0, such as the background")
    ours.add_argument(
        "--agent-socket",
        metavar="PATH",
        help="the agent's Unix socket; by default where emflow-agent has it by default",
    )
    ours.add_argument("--thing", metavar="NAME", help="name of this device in results")
    out = parser.add_argument_group("results")
    out.add_argument(
        "--publish",
        metavar="WHERE",
        help="greengrass, stdout, mqtt://HOST:PORT or mqtts://HOST:PORT; greengrass in Greengrass, else stdout",
    )
    out.add_argument("--topic", metavar="TOPIC", help="MQTT topic (em/inference)")
    out.add_argument("--cert", type=Path, metavar="FILE", help="client certificate for mqtts, PEM")
    out.add_argument("--key", type=Path, metavar="FILE", help="its private key, PEM")
    out.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust for mqtts, PEM")
    out.add_argument("--results", type=_count, default=0, metavar="N", help="end after so many results")
    return parser.parse_args(arguments)


def overlay(config: Mapping[str, Any], flags: argparse.Namespace) -> dict[str, Any]:
    """The configuration with what the command line says in its place. Checks nothing."""
    merged = dict(config)
    named = {
        "modelComponentName": flags.model_component,
        "modelName": flags.model_name,
        "quantization": flags.quantized,
        "captureData": flags.capture,
        "agentSocket": flags.agent_socket,
    }
    merged.update({key: value for key, value in named.items() if value is not None})
    # A path on the command line starts where the person is; one in the configuration, in the assets.
    labels = None if flags.labels is None else str(flags.labels.absolute())
    _into(merged, "modelIO", {"labels": labels, "classOffset": flags.class_offset})
    _into(merged, "publish", {"topic": flags.topic})
    if flags.url is not None:
        merged.pop("streams", None)
        merged["rtspStreamURL"] = flags.url
    if flags.every is not None:
        if merged.get("rtspStreamURL") and not merged.get("streams"):
            merged["streams"] = [{"name": "camera", "url": merged.pop("rtspStreamURL")}]
        streams = merged.get("streams")
        if isinstance(streams, list):
            merged["streams"] = [{**one, "every": flags.every} if isinstance(one, Mapping) else one for one in streams]
    return merged


def _into(merged: dict[str, Any], key: str, values: Mapping[str, Any]) -> None:
    given = {name: value for name, value in values.items() if value is not None}
    here = merged.get(key)
    if given and (here is None or isinstance(here, Mapping)):
        merged[key] = {**(here or {}), **given}


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("has to be 1 or more")
    return number
