"""OpenCV (`cv2`), imported here for the whole component: it reads these environment variables when it is loaded."""

from __future__ import annotations

import os

LARGEST_PICTURE = 1 << 26
"""Pixels; twice those of 8K. A picture that claims more comes from no camera, and decoding it would use up memory."""

# OpenCV's and FFmpeg's own messages are off: a broken stream causes many of them a second, and they may show a URL with
# its password. A user who sets these variables gets the messages.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# Without it, one camera that hangs while it is opened blocks the opening of all others.
os.environ.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
# A JPEG of a few bytes may claim to have a billion pixels, for which memory would be allocated.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(LARGEST_PICTURE))

import cv2  # noqa: E402

__all__ = ["LARGEST_PICTURE", "cv2"]
