"""What AWS offers where: a small table, because botocore's own takes longer to read than a workflow to check."""

from __future__ import annotations

from typing import Final

PARTITIONS: Final = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "us-iso-": "aws-iso",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}
"""By how their regions begin; all others are in `aws`. Source and test as those of `REGIONS`."""


def partition_of(region: str) -> str:
    """The second part of a region's ARNs, without loading botocore."""
    return next((name for start, name in PARTITIONS.items() if region.startswith(start)), "aws")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


REGIONS: Final = {
    "AWS IoT Greengrass": _names(
        "ap-northeast-1 ap-northeast-2 ap-south-1 ap-southeast-1 ap-southeast-2 ap-southeast-5 ca-central-1 cn-north-1"
        " eu-central-1 eu-south-2 eu-west-1 eu-west-2 us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-west-2"
    ),
    "SageMaker Edge Manager": _names("ap-northeast-1 eu-central-1 eu-west-1 us-east-1 us-east-2 us-west-2"),
}
"""The regions of the services that are not everywhere where AWS IoT and SageMaker are.

Source: botocore 1.44.5, data/endpoints.json, services `greengrass` and `edge.sagemaker`, read 2026-11-22; a test holds
it against the installed botocore.
"""

NEO_DEVICES: Final = _names(
    "aisage amba_cv2 amba_cv22 amba_cv25 coreml imx8mplus imx8qm jacinto_tda4vm jetson_nano jetson_tx1 jetson_tx2"
    " jetson_xavier qcs603 qcs605 rasp3b rasp4b rk3288 rk3399 sbe_c sitara_am57x x86_win32 x86_win64"
)
"""Edge devices that Neo compiles TFLITE for.

Source: SageMaker developer guide, "Supported Devices, Chip Architectures, and Systems" and "Supported Frameworks" for
edge devices, read 2026-11-22.
"""

NEO_CLOUD: Final = _names(
    "deeplens lambda ml_c4 ml_c5 ml_c6g ml_eia2 ml_g4dn ml_inf1 ml_inf2 ml_m4 ml_m5 ml_m6g ml_p2 ml_p3 ml_trn1"
)
"""The other targets of the API's list: instances and retired devices. TFLite is none of their frameworks ("Supported
Instance Types and Frameworks" in the same guide)."""
