"""The agent's errors: one class for each situation that a client, or the person who starts the agent, can act on."""

from __future__ import annotations


class CannotStart(Exception):
    """The agent cannot start or serve; the message is the one line that is shown."""


class BadOption(Exception):
    """A setting is not what it has to be; its text begins with the setting's name."""


class Refused(Exception):
    """Base of all errors that a call returns as a gRPC status; the text is the status message."""


class ModelNotFound(Refused):
    """No model with this name is loaded, or nothing exists at the given path."""


class AlreadyLoaded(Refused):
    """A model with this name is already loaded."""


class ModelInUse(Refused):
    """Another model has this name, and others use it."""


class BadRequest(Refused):
    """A name or a tensor in the request is invalid."""


class CannotLoad(Refused):
    """The folder exists, but it holds no model that can run on this device."""


class NotEnoughMemory(Refused):
    """The model needs more memory than is available."""


class InferenceFailed(Refused):
    """The runtime failed although model and tensors are valid."""


class TooManyCalls(Refused):
    """The queue of waiting calls is full."""


class CallerGone(Refused):
    """The client is gone: it cancelled, disconnected, or its deadline passed."""


class AlreadyCaptured(Refused):
    """A capture with this id was already sent."""


class BufferFull(Refused):
    """Too many captures are waiting to be stored."""


class TimestampInFuture(Refused):
    """The inference timestamp lies in the future."""


class CaptureUnavailable(Refused):
    """Captured data cannot be stored: nothing is configured, or the destination cannot be reached now."""


class UnknownCapture(Refused):
    """No capture with this id is known (any more)."""
