"""The board, `edge.board` of a workflow: what it is, which Python it has, and what its image brings.

It is the name of a preset, or a mapping: a preset's figures, and what is different on this board. The figures of the
presets, with the source of each, are data of the host side.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Optional

from emflow_schema.agent_config import OpenAgent
from emflow_schema.configuration import Fault
from emflow_schema.key import Key, field_of

PRESETS = ("imx8mplus", "generic-aarch64", "generic-amd64")
"""Boards that are known by name; the host side has a file of figures for each."""

NUMPY = "numpy"
NUMPY_USERS = {
    "ai-edge-litert": "ai_edge_litert",
    "onnxruntime": "onnxruntime",
    "opencv-python-headless": "cv2",
    "tflite-runtime": "tflite_runtime",
}
"""Distributions whose binaries are built against a numpy, with their modules: another numpy makes them crash."""

_DELEGATE = field_of(OpenAgent, "delegate").shape.key


@dataclass(frozen=True)
class Board:
    """A board; what is left out is as in its preset.

    `provides` maps names of Python distributions to the versions that the image brings.
    """

    preset: Annotated[
        Optional[Literal["imx8mplus", "generic-aarch64", "generic-amd64"]],
        Key(
            "Preset",
            "The board whose figures count for every key that is left out; without it, the generic board of the "
            "architecture.",
            ("imx8mplus",),
        ),
    ] = None
    name: Annotated[
        Optional[str],
        Key(
            "Name of the board",
            "Stands in the name of its lock file, pylock.<name>.toml; without it, the preset's. Workflows in one "
            "folder with different boards need different names.",
            ("line-camera",),
            pattern="[a-z0-9][a-z0-9-]{0,62}",
            message="Small letters, digits and dashes; at most 63.",
        ),
    ] = None
    architecture: Annotated[
        Optional[Literal["aarch64", "amd64"]],
        Key("Architecture", "As Greengrass calls it; `uname -m` on the board prints aarch64 or x86_64.", ("aarch64",)),
    ] = None
    python: Annotated[
        Optional[str],
        Key(
            "Python",
            "The version of the board's python3, two numbers in quotes; `python3 --version` on the board prints it.",
            ("3.11",),
            pattern=r"3\.(9|1[0-9])",
            message='Two numbers in quotes, "3.9" or later, such as "3.11".',
        ),
    ] = None
    glibc: Annotated[
        Optional[str],
        Key(
            "C library",
            "The version of the board's glibc, two numbers in quotes; `ldd --version` on the board prints it. Wheels "
            "that need a newer one are not taken.",
            ("2.37",),
            pattern=r"2\.[1-9][0-9]",
            message='Two numbers in quotes, such as "2.37".',
        ),
    ] = None
    nucleus: Annotated[
        Optional[Literal["classic", "lite", "any"]],
        Key("Nucleus", "The Greengrass nucleus on the board; `any`: both have to work.", ("lite",)),
    ] = None
    delegate: Annotated[
        Optional[str],
        Key(
            "Accelerator",
            "LiteRT's delegate for the board's NPU: `vx`, `teflon`, `ethosu`, `neutron`, `xnnpack`, `none`, or the "
            "path of a delegate's library.",
            ("vx",),
            pattern=_DELEGATE.pattern,
            message=_DELEGATE.message,
        ),
    ] = None
    tflite: Annotated[
        Optional[Literal["tflite-runtime", "ai-edge-litert"]],
        Key(
            "TFLite package",
            "The Python package that runs TFLite models. `tflite-runtime` is what NXP's images have; on the index it "
            "ends at Python 3.11. `ai-edge-litert` is its successor.",
            ("tflite-runtime",),
        ),
    ] = None
    provides: Annotated[
        Mapping[
            Annotated[
                str, Key(pattern="[a-z0-9]+(-[a-z0-9]+)*", message="As on the index, in small letters with dashes.")
            ],
            Annotated[
                str, Key(pattern=r"[0-9]+(\.[0-9]+){0,3}", message="Numbers with dots, in quotes, such as 1.26.4.")
            ],
        ],
        Key(
            "What the image brings",
            "Python packages of the board's image, by their names on the index, with their versions. They are not "
            "installed again, and everything else is chosen to fit them.",
            ({"numpy": "1.26.4", "tflite-runtime": "2.14.0"},),
        ),
    ] = field(default_factory=dict)
    packages: Annotated[
        Optional[Literal["bundled", "image", "both"]],
        Key(
            "Python packages",
            "`bundled`: all of them are installed by emflow, and those of the image are not used; `image`: the image "
            "has all of them, which is checked on the board; `both`: those under `provides` are the image's, the "
            "others are installed. Without it `both` where `provides` names something, else the preset's.",
            ("both",),
        ),
    ] = None
    pipeline: Annotated[
        Optional[str],
        Key(
            "Capture pipeline",
            "The GStreamer pipeline for cameras of this board, as `pipeline` of a stream; it needs an OpenCV with "
            "GStreamer, which only images have.",
            ("imx8mp",),
            shortest=1,
        ),
    ] = None

    def faults(self) -> Iterator[Fault]:
        """What does not fit together."""
        if self.preset is None and self.architecture is None:
            yield Fault("architecture", "a board has a preset or an architecture", "for example: architecture: aarch64")
        if self.packages == "bundled" and self.provides:
            message = "bundled takes nothing from the image, and `provides` says what the image brings"
            yield Fault("packages", message, "write both, or leave `provides` out")
        users = sorted(name for name in self.provides if name in NUMPY_USERS)
        if users and NUMPY not in self.provides:
            message = f"{users[0]} of the image works with the image's numpy only, which is not named"
            yield Fault("provides", message, 'add numpy with its version, such as numpy: "1.26.4"')
