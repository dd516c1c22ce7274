"""Why the agent refuses: one class for each answer that a client, or whoever starts the agent, can act on."""

from __future__ import annotations


class CannotStart(Exception):
    """The agent cannot serve; its text is the one line that a person gets to read."""


class BadOption(Exception):
    """A setting is not what it has to be; its text begins with the setting's name."""


class Refused(Exception):
    """A call that is answered with a status other than OK; its text is the status' message."""


class ModelNotFound(Refused):
    """No model of this name is loaded, or nothing is where it was said to be."""


class AlreadyLoaded(Refused):
    """A model of this name is loaded."""


class BadRequest(Refused):
    """A name or a tensor is not what it has to be."""


class CannotLoad(Refused):
    """There is something at the url, and it is no model that can be run here."""


class NotEnoughMemory(Refused):
    """The model does not fit into what is left."""


class InferenceFailed(Refused):
    """The runtime failed on a model and tensors that were all right."""


class TooManyCalls(Refused):
    """As many calls as may wait for a model do so already."""


class CallerGone(Refused):
    """Nobody waits for the answer any more."""


class AlreadyCaptured(Refused):
    """This capture id was handed over before."""


class BufferFull(Refused):
    """Too many captures wait to be stored."""


class TimestampInFuture(Refused):
    """The time of an inference is still to come."""


class CaptureUnavailable(Refused):
    """There is no place for captured data, or no way there for now."""


class UnknownCapture(Refused):
    """No such capture was handed over, or it is forgotten."""
