"""Every code that a finding can carry, and the rules that a well-shaped workflow has to keep.

A rule is a function from the typed workflow to offences; it stands in `RULES` under its code, and its code in `CODES`
with one sentence for people. To add one: write the function in `names` or `relations`, and add one line to each table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from emflow.workflow import names, relations
from emflow.workflow.model import Workflow
from emflow.workflow.offence import Offence

CODES: Final = {
    "EM001": "the file cannot be read",
    "EM002": "the file is not UTF-8",
    "EM003": "the file is empty",
    "EM004": "the text is not YAML",
    "EM005": "a tab where YAML allows only spaces",
    "EM006": "a key is there twice",
    "EM007": "a workflow is a mapping",
    "EM008": "a template has to stand in quotes",
    "EM009": "a part of YAML that workflows do without: tags, several documents, values that contain themselves",
    "EM010": "a variable that is not declared, or whose name is none",
    "EM011": "variables that need each other",
    "EM012": "a template that cannot be worked out",
    "EM013": "--var names a variable that the workflow does not have",
    "EM020": "an unknown key",
    "EM021": "a missing key",
    "EM022": "a value of the wrong type",
    "EM023": "a value that is none of the allowed ones",
    "EM024": "a value outside its limits",
    "EM030": "device and thing names keep Edge Manager's rule",
    "EM031": "bucket names keep S3's rules",
    "EM032": "Edge Manager writes only to buckets with `sagemaker` in their name",
    "EM033": "fleet, role and thing group names keep AWS's rules",
    "EM034": "model name and version keep SageMaker's rules",
    "EM035": "job names keep SageMaker's rules",
    "EM036": "component names keep Greengrass's rules and leave aws.greengrass.* to AWS",
    "EM037": "component versions are three numbers",
    "EM040": "the target is either a thing or a thing group",
    "EM041": "the target thing is one of the fleet's devices",
    "EM042": "a device, a stream or a component is there once",
    "EM043": "the agent's component is deployed",
    "EM044": "the two buckets are two",
    "EM050": "durations have a number and a unit, and fit where they are used",
    "EM051": "a capture batch fits into its buffer",
    "EM052": "Edge Manager embeds at most 3072 bytes",
    "EM060": "a topic to publish to has no wildcards and keeps AWS IoT's limits",
    "EM061": "a stream is an RTSP address",
    "EM062": "a socket path is absolute and fits into a socket address",
    "EM070": "the model file is a .tflite, or an archive with exactly one",
    "EM071": "the labels are a text file",
    "EM080": "not in this version",
}

Rule = Callable[[Workflow], Iterator[Offence]]

RULES: Final[tuple[tuple[str, Rule], ...]] = (
    ("EM030", names.devices),
    ("EM031", names.buckets),
    ("EM032", names.inference_bucket),
    ("EM033", names.fleet_and_role),
    ("EM034", names.model),
    ("EM035", names.jobs),
    ("EM036", names.components),
    ("EM037", names.versions),
    ("EM040", relations.target),
    ("EM041", relations.target_in_fleet),
    ("EM042", relations.once),
    ("EM043", relations.agent_deployed),
    ("EM044", relations.two_buckets),
    ("EM050", relations.durations),
    ("EM051", relations.batch_in_buffer),
    ("EM052", relations.embed_limit),
    ("EM060", names.topic),
    ("EM061", names.streams),
    ("EM062", names.socket),
    ("EM070", relations.artifact),
    ("EM071", relations.labels),
    ("EM080", relations.not_yet),
)


def check(workflow: Workflow) -> Iterator[tuple[str, Offence]]:
    """Every offence against every rule, with the rule's code."""
    for code, rule in RULES:
        for offence in rule(workflow):
            yield code, offence
