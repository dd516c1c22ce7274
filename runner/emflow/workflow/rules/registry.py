"""Every code that a finding can carry, and the rules that a well-shaped workflow has to keep.

A rule is a function from the typed workflow to violations; it stands in `RULES` under its code, and its code in `CODES`
with one sentence for people. To add one: write the function in the module that it belongs to, add one line to each
table, say why in `explanations.toml`, add a file to tests/workflow/broken, and run tools/make_reference.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final

from emflow.timing import timed
from emflow.workflow import files_beside
from emflow.workflow.model import Workflow
from emflow.workflow.partial import Unknown
from emflow.workflow.rules import components, consistency, files, model_io, names, rollouts, secrets, streams, topics
from emflow.workflow.rules.violation import Violation

_log = logging.getLogger("emflow.rules")

CODES: Final = {
    "EM001": "the file cannot be read",
    "EM002": "the file is not UTF-8",
    "EM003": "the file is empty",
    "EM004": "the text is not YAML",
    "EM005": "a tab where YAML allows only spaces",
    "EM006": "a key is defined twice",
    "EM007": "a workflow is a mapping",
    "EM008": "a template must be in quotes",
    "EM009": "a part of YAML that workflows do not support, such as tags or several documents",
    "EM010": "a variable that is not declared, or has an invalid name",
    "EM011": "variables that depend on each other",
    "EM012": "a template that cannot be evaluated",
    "EM013": "--var or --var-file names a variable that the workflow does not have",
    "EM014": "a variable is overridden with a value of another type",
    "EM015": "an environment variable is not set",
    "EM016": "an imported file does not exist, or the files import each other",
    "EM017": "a secret never becomes text",
    "EM018": "no password in the file",
    "EM019": "a secret is accessible to the device",
    "EM020": "an unknown key",
    "EM021": "a missing key",
    "EM022": "a value of the wrong type",
    "EM023": "a value that is not allowed",
    "EM024": "a value outside its limits",
    "EM030": "device and thing names follow Edge Manager's rules",
    "EM031": "bucket names follow S3's rules",
    "EM032": "Edge Manager writes only to buckets with `sagemaker` in their name",
    "EM033": "fleet, role and thing group names follow AWS's rules",
    "EM034": "model name and version follow SageMaker's rules",
    "EM035": "job names follow SageMaker's rules",
    "EM036": "component names follow Greengrass's rules, and are not those of AWS's public components",
    "EM037": "component versions are three numbers",
    "EM038": "the services in use are available in the region",
    "EM039": "Neo compiles the model's framework for the target device",
    "EM040": "the target is either a thing or a thing group",
    "EM041": "the target thing is one of the fleet's devices",
    "EM042": "a device, a stream or a component occurs only once",
    "EM043": "the agent's component is deployed",
    "EM044": "the two buckets are different",
    "EM045": "the dependencies of a component are deployed, in a matching version",
    "EM046": "the deployment lists components that would otherwise be installed in any version",
    "EM047": "application and agent use the same socket",
    "EM048": "files that are checked together do not replace each other's components",
    "EM049": "files that are checked together have different names",
    "EM050": "durations have a number and a unit, and fit where they are used",
    "EM051": "a capture batch fits into its buffer",
    "EM052": "Edge Manager embeds at most 3072 bytes",
    "EM053": "a rollout is for a thing group, and its rate increases by one criterion",
    "EM054": "settings are for a deployed public component, and occur once",
    "EM055": "captures to disk have a folder",
    "EM056": "a secret's ARN is complete",
    "EM060": "a topic for publishing has no wildcards, and follows AWS IoT's limits",
    "EM061": "the component can read a stream, and the settings match its address",
    "EM062": "a socket path is absolute and fits into a socket address",
    "EM063": "an access policy grants specific topics",
    "EM064": "the model's input and output settings match its task",
    "EM065": "the device's name in a topic is inserted on the devices of a thing group",
    "EM066": "the agent's settings are consistent",
    "EM067": "results expire in MQTT 5 only",
    "EM068": "a result with all its detections fits into a message",
    "EM070": "the model file is a .tflite, or an archive with exactly one",
    "EM071": "the labels are a text file",
    "EM072": "the files that the workflow names exist",
    "EM073": "the model has the declared inputs, in name and shape",
    "EM074": "the model's inputs have the declared types",
    "EM075": "there is one label for each class of the model",
    "EM076": "the rendered recipes work",
    "EM077": "recipes and deployment work on the lite nucleus, too",
    "EM078": "the files that a workflow names are in its folder, or in that of --root",
    "EM079": "what does nothing on the virtual device of `emflow up`",
    "EM081": "AWS discontinued the provider",
    "EM082": "what is said about the board fits together",
}

WARNINGS: Final = frozenset(("EM046", "EM048", "EM049", "EM056", "EM065", "EM068", "EM072", "EM077", "EM079", "EM081"))
"""Told, but no reason to refuse a workflow; `emflow validate --strict` exits with 2 on them too."""

NOTES: Final = frozenset(("EM079",))
"""Warnings about this machine and not about the workflow: with --strict, too, they are no reason to exit with 2."""

ABOUT_NEW_INSTALLATIONS: Final = frozenset(("EM081",))
"""Warnings for whoever makes a new installation. `validate` prints them always, `plan` and `apply` only when they would
make one, and no other command does."""

Rule = Callable[[Workflow], Iterator[Violation]]

RULES: Final[tuple[tuple[str, Rule], ...]] = (
    ("EM019", secrets.references),
    ("EM030", names.devices),
    ("EM031", names.buckets),
    ("EM032", names.inference_bucket),
    ("EM033", names.fleet_and_role),
    ("EM034", names.model),
    ("EM035", names.jobs),
    ("EM036", names.components),
    ("EM037", names.versions),
    ("EM038", components.region),
    ("EM039", components.neo_target),
    ("EM040", consistency.target),
    ("EM041", consistency.target_in_fleet),
    ("EM042", consistency.once),
    ("EM043", components.agent_deployed),
    ("EM044", consistency.two_buckets),
    ("EM045", components.needs),
    ("EM046", components.named),
    ("EM047", components.one_socket),
    ("EM050", consistency.quantities),
    ("EM051", consistency.batch_in_buffer),
    ("EM052", consistency.embed_limit),
    ("EM053", rollouts.rollout),
    ("EM054", components.settings),
    ("EM055", consistency.disk),
    ("EM056", secrets.whole),
    ("EM060", topics.topics),
    ("EM061", streams.streams),
    ("EM062", names.socket),
    ("EM063", components.access),
    ("EM064", model_io.model_io),
    ("EM065", topics.filled_in_by_the_nucleus),
    ("EM066", model_io.agent),
    ("EM067", topics.expiry),
    ("EM068", model_io.result_size),
    ("EM070", files.artifact),
    ("EM071", files.labels),
    ("EM072", files.missing),
    ("EM073", files.inputs),
    ("EM074", files.input_types),
    ("EM075", files.labels_of_classes),
    ("EM078", files_beside.outside),
    ("EM081", components.discontinued),
    ("EM082", consistency.board),
)


def check(workflow: Workflow) -> Iterator[tuple[str, Violation]]:
    """Every violation against every rule, with the rule's code. A rule ends at a value that is `Unknown`."""
    for code, rule in RULES:
        violations = _violations(rule, workflow)
        if _log.isEnabledFor(logging.DEBUG):
            with timed(_log, "rule %s, %s", code, CODES[code]):
                violations = iter(list(violations))
        for violation in violations:
            yield code, violation


def _violations(rule: Rule, workflow: Workflow) -> Iterator[Violation]:
    try:
        yield from rule(workflow)
    except Unknown:
        return
