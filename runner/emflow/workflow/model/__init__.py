"""The typed workflow: what one YAML file says, frozen, with the workshop's values as defaults.

What is known of a key (title, help, examples, limits, its name on the device) stands at its field, as an
`emflow_schema.key.Key`. tools/make_schemas.py makes the JSON Schema of a workflow from it, and with it what `emflow
schema` and docs/reference.md say.

Text becomes these classes in `emflow.workflow.load`; nothing here reads a file or knows about AWS calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from emflow.workflow.model.cloud import (
    AGENT_COMPONENT,
    Abort,
    Bucket,
    Buckets,
    Cloud,
    Compile,
    Deployment,
    Encryption,
    Fleet,
    Growth,
    Model,
    ModelComponent,
    Package,
    ResultsBucket,
    Role,
    Rollout,
    RunWith,
    Settings,
    Target,
    Update,
)
from emflow.workflow.model.edge import Component, Edge
from emflow.workflow.model.shared import DEVICE_NAME, THREE_NUMBERS, ComponentName
from emflow_schema.agent_config import Agent, Capture, OpenAgent
from emflow_schema.board import Board
from emflow_schema.configuration import Channels
from emflow_schema.edge_config import Boxes, Log, Metrics, ModelIO, Publish, Secret, Stream
from emflow_schema.key import Key, field_of

__all__ = [
    "AGENT_COMPONENT",
    "DEVICE_NAME",
    "Abort",
    "Agent",
    "Aws",
    "Board",
    "Boxes",
    "Bucket",
    "Buckets",
    "Capture",
    "Cloud",
    "Compile",
    "Component",
    "Deployment",
    "Edge",
    "Encryption",
    "Fleet",
    "Growth",
    "Log",
    "Metadata",
    "Metrics",
    "Model",
    "ModelComponent",
    "ModelIO",
    "OpenAgent",
    "OwnComponent",
    "Package",
    "Publish",
    "ResultsBucket",
    "Role",
    "Rollout",
    "RunWith",
    "Secret",
    "Settings",
    "Stream",
    "Target",
    "Update",
    "Workflow",
    "convert",
    "long_forms",
    "plain_values",
]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    name: Annotated[
        str,
        Key(
            "Workflow name",
            "The value of the tag emflow:workflow on everything made from this file.",
            ("imx8mplus-mobilenetv2",),
            pattern="[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?",
            message="1 to 63 letters, digits, dots, dashes and underscores.",
        ),
    ]
    description: Annotated[str, Key("Description", "For people.", ("MobileNetV2 on the i.MX 8M Plus",))] = ""


@dataclass(frozen=True, kw_only=True)
class Aws:
    """Where to. Credentials are boto3's business (environment, profile, SSO) and never in the workflow.

    `tags` go onto everything that is made and takes tags, beside our own.
    """

    region: Annotated[
        str,
        Key(
            "AWS region",
            "The region of the core device.",
            ("eu-central-1",),
            pattern="[a-z]{2}(-[a-z]+)+-[0-9]+",
            message="A region's code, such as us-east-1.",
        ),
    ] = "us-east-1"
    profile: Annotated[
        str | None,
        Key("AWS profile", "A profile of ~/.aws/config; without it the usual search order of boto3.", ("workshop",)),
    ] = None
    tags: Annotated[
        Mapping[
            Annotated[str, Key(pattern="(?!aws:|emflow:)[A-Za-z0-9_.:/=+@-]{1,128}")],
            Annotated[
                str,
                Key(pattern="[A-Za-z0-9 _.:/=+@-]{0,256}", message="At most 256 letters, digits, spaces and _.:/=+@-"),
            ],
        ],
        Key(
            "Tags",
            "Put on everything that is made and takes tags, beside emflow's own. Jobs, component versions, devices "
            "and deployments keep those that they were made with.",
            ({"team": "vision", "cost-center": "4711"},),
            longest=40,
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OwnComponent:
    """A component of the user's own beside the application, made and deployed with it.

    `recipe` is a template, `artifacts` a folder, both beside the workflow; the folder goes to the device as one zip.
    `dependencies` maps component names to version requirements; `configuration` is what the deployment sets.
    """

    name: Annotated[
        ComponentName,
        Key("Component name", "As it stands in Greengrass and in the name of its log.", ("com.example.Heartbeat",)),
    ]
    version: Annotated[
        str,
        Key(
            "Component version",
            "`auto` takes the next patch when, and only when, the recipe or the files changed.",
            ("1.0.0",),
            pattern=f"(auto|{THREE_NUMBERS})",
            message="auto, or three numbers such as 1.0.0.",
        ),
    ] = "auto"
    publisher: Annotated[
        str, Key("Publisher", "Shown in the console, where the recipe says so.", ("Example Corp",))
    ] = ""
    description: Annotated[
        str,
        Key(
            "Description",
            "For people; shown in the console, where the recipe says so.",
            ("Says every few seconds that the device is alive",),
        ),
    ] = ""
    recipe: Annotated[
        str,
        Key(
            "Recipe template",
            "A Jinja template of a Greengrass recipe, a path beside this file.",
            ("components/heartbeat/recipe.yaml.j2",),
            shortest=1,
            host_file=True,
        ),
    ]
    artifacts: Annotated[
        str | None,
        Key(
            "Folder of files",
            "Goes to the device as one zip, to which the template refers as `artifact`; a path beside this file.",
            ("components/heartbeat/artifacts",),
            host_file=True,
        ),
    ] = None
    dependencies: Annotated[
        Mapping[str, Annotated[str, Key(examples=(">=2.0.0 <3.0.0",), shortest=1)]],
        Key(
            "Dependencies",
            "Component name to version requirement; the template writes them into the recipe.",
            ({"aws.greengrass.TokenExchangeService": ">=2.0.0"},),
        ),
    ] = field(default_factory=dict)
    configuration: Annotated[
        Mapping[str, Any],
        Key(
            "Configuration",
            "What the deployment sets, over the recipe's defaults. Numbers as texts: Greengrass turns numbers into "
            "floats.",
            ({"topic": "em/heartbeat", "every": "5s"},),
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """One rollout, from the model file to the results.

    `folder` is where relative paths start; `root` the folder that has to have all files in it, `folder` when empty.
    """

    # Kubernetes' spelling, known to everyone who reads such files.
    apiVersion: Annotated[  # noqa: N815
        Literal["emflow/v1"], Key("Version of this format", "Always emflow/v1.", ("emflow/v1",))
    ]
    kind: Annotated[Literal["Workflow"], Key("Kind of document", "Always Workflow.", ("Workflow",))]
    metadata: Annotated[
        Metadata,
        Key(
            "About this workflow",
            "What the workflow is called; its name tags everything that is made from it.",
            ({"name": "imx8mplus-mobilenetv2"},),
        ),
    ]
    imports: Annotated[
        tuple[Annotated[str, Key(shortest=1)], ...],
        Key(
            "Imported files",
            "Files with parts of a workflow; paths are relative to this file. Mappings are merged, everything else is "
            "replaced: a later file overrides an earlier one, and this file overrides all of them.",
            (["parts/cameras.yaml"],),
        ),
    ] = ()
    vars: Annotated[
        Mapping[Annotated[str, Key(pattern="[A-Za-z][A-Za-z0-9_]*")], Any],
        Key(
            "Variables",
            "Values to use as {{ vars.name }} in any text of the file. EMFLOW_VAR_name in the environment overrides "
            "them, --var-file overrides both, and --var name=value overrides all.",
            ({"prefix": "my-unique-prefix", "thing": "iMX8MPEVK-Core-001"},),
        ),
    ] = field(default_factory=dict)
    aws: Annotated[
        Aws,
        Key(
            "Where to",
            "Region and profile. Credentials stay where boto3 finds them: environment, profile, SSO.",
            ({"region": "us-east-1"},),
        ),
    ] = Aws()
    cloud: Annotated[
        Cloud,
        Key(
            "Cloud side",
            "Everything that is made in AWS, from the buckets to the deployment.",
            ({"fleet": {"name": "greengrassv2fleet", "devices": ["iMX8MPEVK-Core-001"]}},),
        ),
    ]
    edge: Annotated[
        Edge,
        Key(
            "Device side",
            "Cameras, inference, results, capture, log and metrics.",
            ({"streams": [{"name": "front", "url": "rtspt://192.168.1.20/stream1"}]},),
        ),
    ]
    components: Annotated[
        tuple[
            Annotated[
                OwnComponent,
                Key(
                    "One component of your own",
                    "A recipe template, and a folder of files that go to the device with it.",
                    ({"name": "com.example.Heartbeat", "recipe": "components/heartbeat/recipe.yaml.j2"},),
                ),
            ],
            ...,
        ],
        Key(
            "Components of your own",
            "What else runs on the devices: each is made, uploaded and deployed with the application.",
            ([{"name": "com.example.Heartbeat", "recipe": "components/heartbeat/recipe.yaml.j2"}],),
        ),
    ] = ()
    folder: str = "."
    root: str = ""


def convert(values: Mapping[str, Any]) -> Workflow:
    """Values of the right shape as a workflow.

    Raises:
        msgspec.ValidationError: the shape is not right; the JSON Schema tells it better.
    """
    return msgspec.convert(long_forms(values), Workflow, dec_hook=lambda kind, value: kind(value))


def long_forms(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values with a mapping in place of each text that stands for one: `board: imx8mplus`."""
    edge = values.get("edge")
    if not isinstance(edge, Mapping) or not isinstance(edge.get("board"), str):
        return values
    short = field_of(Edge, "board").shape.key.short
    return {**values, "edge": {**edge, "board": {short: edge["board"]}}}


def plain_values(workflow: Workflow) -> dict[str, Any]:
    """A workflow as the values that `convert` takes."""
    values: dict[str, Any] = msgspec.to_builtins(workflow, enc_hook=_plain)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Channels):
        return value[0] if "," not in value.written else list(value)
    return str(value)
