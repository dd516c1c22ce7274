"""Types that several keys of a workflow share; each key says beside it what it is there."""

from typing import Annotated

from emflow_schema.key import Key

DEVICE_NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
"""Edge Manager's rule for device names; the thing name has to fit it too, so no underscores."""

THREE_NUMBERS = r"(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}"
DAY = 86400.0

EdgeName = Annotated[
    str,
    Key(
        "Name by Edge Manager's rule",
        "Letters, digits and dashes; begins and ends with a letter or digit; at most 63 characters.",
        ("iMX8MPEVK-Core-001",),
        pattern=DEVICE_NAME,
        message="Letters, digits and dashes only, no underscores; begin and end with a letter or digit.",
        definition="edgeName",
    ),
]
BucketName = Annotated[
    str,
    Key(
        "S3 bucket name",
        "3 to 63 lower-case letters, digits, dots and dashes; begins and ends with a letter or digit; unique in all of "
        "AWS.",
        ("my-unique-prefix-gg-components",),
        pattern=r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        message="3 to 63 lower-case letters, digits, dots and dashes; begin and end with a letter or digit.",
        definition="bucketName",
    ),
]
ComponentName = Annotated[
    str,
    Key(
        "Greengrass component name",
        "Letters, digits, dots, dashes and underscores; at most 128 characters; names that begin with aws.greengrass. "
        "are AWS's own.",
        ("mobilenetv2_224_quantized_model_component",),
        pattern=r"[a-zA-Z0-9._-]{1,128}",
        definition="componentName",
    ),
]
Version = Annotated[
    str,
    Key(
        "Component version",
        "Three numbers: 1.0.0. A version that exists never changes.",
        ("1.0.0",),
        pattern=THREE_NUMBERS,
        message="Three numbers with dots, such as 1.0.0.",
        definition="version",
    ),
]
