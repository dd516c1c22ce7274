"""Types that keys of several sections share; each key says beside it what it is there."""

from typing import Annotated

from emflow_schema.key import Key
from emflow_schema.units import ByteSize, Duration

Time = Annotated[
    Duration,
    Key(
        "Duration",
        "A number with a unit: ms, s, m, h or d.",
        ("1s",),
        message="A number with a unit: 250ms, 1s, 15m, 1h.",
        definition="duration",
    ),
]
Size = Annotated[
    ByteSize,
    Key(
        "Size",
        "A number with a unit: B, KB, MB, GB or KiB, MiB, GiB.",
        ("512 MiB",),
        message="A number with a unit, such as 512 MiB or 1.5 GB.",
        definition="byteSize",
    ),
]
