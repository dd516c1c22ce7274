"""The device's part of a workflow, `edge`: the application component, the agent, and what they do.

What the component itself reads (streams, model in and out, results, log, metrics) is in `emflow_schema.edge_config`,
what the agent reads in `emflow_schema.agent_config`.
"""

from dataclasses import dataclass
from typing import Annotated

from emflow.workflow.model.shared import THREE_NUMBERS, ComponentName
from emflow_schema.agent_config import Agent, Capture
from emflow_schema.agent_socket import CORE_SOCKET
from emflow_schema.board import Board
from emflow_schema.edge_config import Log, Metrics, ModelIO, Publish, Stream
from emflow_schema.key import Key


@dataclass(frozen=True, kw_only=True)
class Component:
    """The application component. `version: auto` takes the next patch when, and only when, its content changed.

    `recipe` is a template beside the workflow that stands in for the built-in one.
    """

    name: Annotated[
        ComponentName,
        Key(
            "Component name",
            "As it stands in Greengrass and in the name of its log.",
            ("aws.sagemaker.edgeManagerClientCameraIntegration",),
        ),
    ] = "aws.sagemaker.edgeManagerClientCameraIntegration"
    version: Annotated[
        str,
        Key(
            "Component version",
            "`auto` takes the next patch when, and only when, the component's content changed.",
            ("1.0.0",),
            pattern=f"(auto|{THREE_NUMBERS})",
            message="auto, or three numbers such as 1.0.0.",
        ),
    ] = "auto"
    publisher: Annotated[str, Key("Publisher", "Shown in the console.", ("Example Corp",))] = "emflow"
    description: Annotated[
        str, Key("Description", "For people; shown in the console.", ("Counts bottles on line 2",))
    ] = "Captures RTSP, infers through the Edge Manager agent, publishes results over MQTT"
    recipe: Annotated[
        str | None,
        Key(
            "Recipe template",
            "A Jinja template beside this file that stands in for the built-in one; `emflow render` shows what "
            "comes out.",
            ("recipes/application.recipe.yaml.j2",),
            host_file=True,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Edge:
    component: Annotated[
        Component,
        Key(
            "Application component",
            "The component that captures, infers and publishes.",
            ({"name": "aws.sagemaker.edgeManagerClientCameraIntegration", "version": "auto"},),
        ),
    ] = Component()
    board: Annotated[
        Board | None,
        Key(
            "Board",
            "What the devices are: the name of a preset, or a mapping. `emflow lock` resolves the Python packages for "
            "it.",
            ("imx8mplus", {"preset": "imx8mplus", "python": "3.10", "glibc": "2.35"}),
            short="preset",
        ),
    ] = None
    agent: Annotated[
        Agent,
        Key(
            "The agent on the device",
            "Who answers LoadModel and Predict, and where.",
            ({"provider": "edge-manager", "socket": CORE_SOCKET},),
        ),
    ] = Agent()
    streams: Annotated[
        tuple[
            Annotated[
                Stream,
                Key(
                    "One camera",
                    "A video stream and how often to infer on it.",
                    ({"name": "front", "url": "rtspt://192.168.1.20/stream1", "every": "1s"},),
                ),
            ],
            ...,
        ],
        Key(
            "Cameras",
            "At least one.",
            ([{"name": "front", "url": "rtspt://192.168.1.20/stream1", "every": "1s"}],),
            shortest=1,
        ),
    ]
    model_io: Annotated[
        ModelIO,
        Key(
            "Into and out of the model",
            "How pixels become the model's input, and its output becomes a label.",
            ({"color": "rgb", "labels": "models/labels.txt", "class_offset": 1},),
        ),
    ] = ModelIO()
    publish: Annotated[
        Publish,
        Key(
            "Results",
            "Where results go, which of them are published, and what else is published.",
            ({"topic": "em/inference", "qos": 1},),
        ),
    ] = Publish()
    capture: Annotated[
        Capture,
        Key(
            "Data capture",
            "The agent's capture settings, with the workshop's values.",
            ({"enabled": False, "prefix": "sme-capture"},),
        ),
    ] = Capture()
    log: Annotated[
        Log, Key("Log", "The component's log, which Greengrass keeps under its name.", ({"format": "json"},))
    ] = Log()
    metrics: Annotated[
        Metrics,
        Key(
            "Metrics",
            "Counters of frames, results and reconnects, and how long things took.",
            ({"every": "1m", "port": 9464},),
        ),
    ] = Metrics()
