"""Configuration of captured data: destination, limits and periods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAX_EMBEDDED_BYTES = 3072
"""Maximum bytes of a tensor inside a JSON line; also the default, as in the original agent."""


@dataclass(frozen=True)
class CaptureSettings:
    """The capture settings of an agent, checked.

    fleet, device: names; the fleet name is a folder in every key.
    to_cloud: whether the destination is S3; otherwise it is `folder`.
    bucket: S3 bucket; empty when nothing is uploaded.
    folder: destination on disk; with `to_cloud`, the buffer on disk while there is no network; None for no folder.
    prefix: the first part of every key.
    batch, buffer: number of captures in a batch, and that may wait.
    buffer_bytes: bytes of tensors that may wait; a single capture may always wait.
    push_period: seconds after which an incomplete batch is stored.
    embed_limit: maximum bytes of a tensor inside a JSON line.
    upload: with the disk as destination, whether `folder` is uploaded every `upload_period` seconds.
    disk_budget: maximum bytes in `folder`; the oldest batches are removed when it is reached.
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
        # The settings module reports these problems to users; this is the last check before file paths are built.
        for part in (self.fleet, *self.prefix.split("/")):
            if part in (".", "..") or "\0" in part or "/" in self.fleet:
                raise ValueError(f"{part!r} must not be part of a key")
        if not 0 < self.batch < self.buffer:
            raise ValueError(f"a batch of {self.batch} must be smaller than the buffer of {self.buffer}")
        if not 0 <= self.embed_limit <= MAX_EMBEDDED_BYTES:
            raise ValueError(f"{self.embed_limit} bytes cannot be embedded; at most {MAX_EMBEDDED_BYTES} can")

    @property
    def uploads(self) -> bool:
        """Whether anything goes to S3."""
        return self.to_cloud or self.upload

    @property
    def missing(self) -> str:
        """What is missing to store captured data, in one sentence; empty when nothing is missing."""
        if not self.fleet:
            return "DeviceFleetName is not set; it is part of every key of captured data"
        if self.uploads and not self.bucket:
            return "BucketName is not set; set it, or set CaptureDataDestination to Disk"
        if not self.to_cloud and self.folder is None:
            return "CaptureDataDiskPath is not set"
        return ""
