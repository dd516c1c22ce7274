"""What the settings are called, here and by the original agent. Needs no package, so that `--help` does not either."""

from __future__ import annotations

import os

DEFAULT_SOCKET = "/tmp/aws.greengrass.SageMakerEdgeManager.sock"  # noqa: S108  the path that existing clients know

# The component's keys, and what the configuration file of the original agent's program called them:
# https://github.com/awsdocs/amazon-sagemaker-developer-guide/blob/main/doc_source/edge-device-fleet-manual.md
COMPONENT = {
    "DeviceFleetName": "sagemaker_edge_core_device_fleet_name",
    "BucketName": "sagemaker_edge_provider_s3_bucket_name",
    "CaptureDataBatchSize": "sagemaker_edge_core_capture_data_batch_size",
    "CaptureDataBufferSize": "sagemaker_edge_core_capture_data_buffer_size",
    "CaptureDataPushPeriodSeconds": "sagemaker_edge_core_capture_data_push_period_seconds",
    "CaptureDataDestination": "sagemaker_edge_core_capture_data_destination",
    "CaptureDataDiskPath": "sagemaker_edge_core_capture_data_disk_path",
    "CaptureDataPeriodicUpload": "sagemaker_edge_core_capture_data_periodic_upload",
    "CaptureDataPeriodicUploadPeriodSeconds": "sagemaker_edge_core_capture_data_periodic_upload_period_seconds",
    "CaptureDataBase64EmbedLimit": "sagemaker_edge_core_capture_data_base64_embed_limit",
    "FolderPrefix": "sagemaker_edge_core_folder_prefix",
    "UnixSocketName": "",
    "SagemakerEdgeLogVerbose": "sagemaker_edge_log_verbose",
    "DLRBackendOptions": "",
}

# Ours; the two that the original's file had too come with their name there.
OURS = {
    "DeviceName": "sagemaker_edge_core_device_name",
    "Region": "sagemaker_edge_core_region",
    "SocketMode": "",
    "SocketGroup": "",
    "CleanStaleSocket": "",
    "Threads": "",
    "MemoryLimit": "",
    "QueueSize": "",
    "MetricsPeriodSeconds": "",
    "Trial": "",
    "Runtime": "",
    "Delegate": "",
    "DelegateOptions": "",
    "AcceleratorRequired": "",
    "GraphCache": "",
    "Providers": "",
    "TrustKeys": "",
    "RequireSignature": "",
    "CaptureDataDiskBudget": "",
}

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


def processors() -> int:
    """How many threads an inference gets where nobody says it.

    Two threads halved MobileNetV2's time on two idle processors and cost nothing on busy ones; past four, networks
    of this size gain little and take the processors from whatever decodes the video.
    """
    return min(4, len(os.sched_getaffinity(0)))
