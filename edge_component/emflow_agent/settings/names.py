"""The names of the settings, here and in the original agent. Needs no package, so that `--help` does not either."""

from __future__ import annotations

import os

from emflow_schema.agent_config import SETTINGS

# What the original could do and this agent does in another way, or not at all; taken, so that old files still work.
WITHOUT_MEANING = (
    "DbEnable",
    "DeploymentEnable",
    "sagemaker_edge_core_root_certs_path",
    "sagemaker_edge_provider_provider",
    "sagemaker_edge_provider_provider_path",
    "sagemaker_edge_provider_aws_ca_cert_file",
    "sagemaker_edge_provider_aws_cert_file",
    "sagemaker_edge_provider_aws_cert_pk_file",
    "sagemaker_edge_provider_aws_iot_cred_endpoint",
    "sagemaker_edge_telemetry_libsystemd_path",
)

COMPONENT_NAMES = tuple(name for name in SETTINGS if name not in WITHOUT_MEANING)
"""The settings that this agent has, by their names in the configuration of its component."""

FILE_NAMES = {
    SETTINGS[name].shape.key.agent_file: name for name in COMPONENT_NAMES if SETTINGS[name].shape.key.agent_file
}
"""Their names in the configuration file of the original agent's program, where it had them."""


def default_threads() -> int:
    """How many threads an inference gets by default.

    Two threads halved MobileNetV2's time on two idle processors and cost nothing on busy ones; past four, networks
    of this size gain little and take the processors from whatever decodes the video.
    """
    return min(4, len(os.sched_getaffinity(0)))
