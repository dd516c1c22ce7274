"""The two nuclei that the device can behave as, and everything in which they differ, in one place.

The classic nucleus is the one in Java. The lite nucleus, for devices with little memory, runs components as units of
systemd; what is here was measured on its version 2.6.0.
https://docs.aws.amazon.com/greengrass/v2/developerguide/operating-system-feature-support-matrix.html
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

CLASSIC_STEPS = ("bootstrap", "install", "startup", "run", "shutdown", "recover", "uninstall")


@dataclass(frozen=True)
class NucleusModel:
    """What one nucleus does.

    Args:
        name: as the user calls it.
        runtime: its value of `runtime` in platforms.
        version: the one that the device reports.
        steps: the lifecycle steps that it runs; one of `needed_steps` has to be there.
        operations: the IPC operations that it has; None: all that this device has.
        longest_ipc_message: bytes of a message; for a longer one it closes the connection. None: no limit.
        largest_spool: bytes of the MQTT messages that the broker has not acknowledged.
        most_objects: keys and values of a deployment; None: no limit.
        deployment_seconds: in which all components have to be in a final state; None: no limit.
        builtins: whether AWS's public components are components, too, and not a part of it.
        binds: a HARD dependency that ends stops its dependents for good, and one without a process never begins.
        asks: components may postpone a deployment, and reject their new configuration.
        rolls_back: a failed deployment can be rolled back.
        restarts_configured: a component is restarted for each configurationUpdate, whatever that changes.
        braces_end_scripts: braces that are no variable of a recipe end the script there.
        floats: numbers in the configuration become floats.
        retains: messages may be retained.
        any_runtime: a manifest without `runtime` is used, and platforms may be regular expressions.
        skips: a step with a `Skipif` whose condition is met is left out.
        highest_qos: of publishing; AWS IoT Core has 0 and 1, so a higher one is published with 1.
        unknown_state: the error for a state that UpdateState does not know.
        legacy_socket_variable: AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH is set.
    """

    name: str
    runtime: str
    version: str
    steps: Collection[str] = CLASSIC_STEPS
    needed_steps: Collection[str] = ()
    operations: Collection[str] | None = None
    longest_ipc_message: int | None = None
    largest_spool: int = 2_621_440
    most_objects: int | None = None
    deployment_seconds: float | None = None
    builtins: bool = True
    binds: bool = False
    asks: bool = True
    rolls_back: bool = True
    restarts_configured: bool = False
    braces_end_scripts: bool = False
    floats: bool = True
    retains: bool = True
    any_runtime: bool = True
    skips: bool = True
    highest_qos: int = 1
    unknown_state: str = "InvalidArgumentsError"
    legacy_socket_variable: bool = True


CLASSIC = NucleusModel("classic", "aws_nucleus_classic", "2.12.6")
LITE = NucleusModel(
    "lite",
    "aws_nucleus_lite",
    "2.6.0",
    steps=("bootstrap", "install", "startup", "run"),
    needed_steps=("bootstrap", "install", "startup", "run"),
    operations=(
        "GetConfiguration",
        "PublishToIoTCore",
        "PublishToTopic",
        "SubscribeToConfigurationUpdate",
        "SubscribeToIoTCore",
        "SubscribeToTopic",
        "UpdateConfiguration",
        "UpdateState",
    ),
    longest_ipc_message=10_000,
    largest_spool=15_000,
    most_objects=255,
    deployment_seconds=300.0,
    builtins=False,
    binds=True,
    asks=False,
    rolls_back=False,
    restarts_configured=True,
    braces_end_scripts=True,
    floats=False,
    retains=False,
    any_runtime=False,
    skips=False,
    highest_qos=2,
    unknown_state="ServiceError",
    legacy_socket_variable=False,
)
NUCLEI = {model.name: model for model in (CLASSIC, LITE)}
