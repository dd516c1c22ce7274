"""What captured data has to do with: where it goes, how much waits, how often it goes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAX_EMBEDDED_BYTES = 3072
"""Bytes of a tensor that may stand in a line: the original agent's default, and its maximum."""


@dataclass(frozen=True)
class CaptureSettings:
    """The capture settings of an agent, checked.

    fleet, device: names; the fleet's is a folder of every key.
    to_cloud: whether the destination is S3; else it is `folder`.
    bucket: where S3 puts it; empty where nothing is uploaded.
    folder: the destination on disk, and for `to_cloud` where batches wait while there is no network; None for nowhere.
    prefix: the first part of every key.
    batch, buffer: numbers of captures that go out together, and that may wait.
    buffer_bytes: bytes of tensors that may wait; a single capture always may.
    push_period: seconds after which a batch goes out that is not full.
    embed_limit: bytes of a tensor that may stand in the line itself.
    upload: whether what is in `folder` is uploaded, every `upload_period` seconds, when the destination is the disk.
    disk_budget: bytes that `folder` may hold; the oldest batches go when it is reached.
    """

    fleet: str = ""
    device: str = ""
    to_cloud: bool = True
    bucket: str = ""
    folder: Path | None = None
    prefix: str = "sme-capture"
    batch: int = 10
    buffer: int = 30
    buffer_bytes: int = 64 << 20
    push_period: float = 4.0
    embed_limit: int = MAX_EMBEDDED_BYTES
    upload: bool = False
    upload_period: float = 8.0
    disk_budget: int = 512 << 20

    def __post_init__(self) -> None:
        # Whoever makes these has told people already, in the words of their own settings; this is the last door before
        # paths are made of them.
        for part in (self.fleet, *self.prefix.split("/")):
            if part in (".", "..") or "\0" in part or "/" in self.fleet:
                raise ValueError(f"{part!r} cannot be a part of a key")
        if not 0 < self.batch < self.buffer:
            raise ValueError(f"a batch of {self.batch} does not fit into a buffer of {self.buffer} with room to spare")
        if not 0 <= self.embed_limit <= MAX_EMBEDDED_BYTES:
            raise ValueError(f"{self.embed_limit} bytes cannot be embedded; at most {MAX_EMBEDDED_BYTES} can")

    @property
    def uploads(self) -> bool:
        """Whether anything goes to S3."""
        return self.to_cloud or self.upload

    @property
    def missing(self) -> str:
        """What is missing before anything can be captured, in one sentence; empty when nothing is."""
        if not self.fleet:
            return "the agent has no DeviceFleetName, which captured data is filed under"
        if self.uploads and not self.bucket:
            return "the agent has no BucketName to upload captured data to; or set CaptureDataDestination to Disk"
        if not self.to_cloud and self.folder is None:
            return "the agent has no CaptureDataDiskPath to write captured data to"
        return ""
