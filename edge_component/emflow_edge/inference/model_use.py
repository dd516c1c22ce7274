"""The use of a model by this client, with an agent that has emflow's own service: see emflow_proto/models.proto.

The agent keeps the model loaded as long as the use lasts, and ends the use when this process ends, however that
happens.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Callable

import grpc

from emflow_proto import models
from emflow_schema.errors import EdgeProblem


class ModelUse:
    """A use that has begun.

    Args:
        call: the call of Use, which lasts as long as the use.
        begun: its response.
    """

    def __init__(self, stub: models.ModelsStub, call: Any, begun: Any) -> None:
        self._stub, self._call, self._number = stub, call, begun.use
        self.model = begun.model
        """The model as the agent describes it."""
        self.was_loaded: bool = begun.loaded
        """Whether the agent loaded it for this use; others use it otherwise."""

    @property
    def is_active(self) -> bool:
        """Whether the call still lasts: the agent is there, and has the model. Learned a moment later."""
        return bool(self._call.is_active())

    def is_loaded(self, timeout: float) -> bool:
        """Ask the agent whether it still has the model.

        Raises:
            grpc.RpcError: it does not answer.
        """
        if not self.is_active:
            return False
        try:
            self._stub.Describe(models.DescribeRequest(handle=self.model.handle), timeout=timeout)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return True

    def is_content_of(self, folder: Path, timeout: float) -> bool:
        """Whether a folder holds the files that the model was loaded from.

        Raises:
            grpc.RpcError: it does not answer; it cannot read the folder; it does not have the model any more.
        """
        request = models.CompareRequest(handle=self.model.handle, url=str(folder))
        return bool(self._stub.Compare(request, timeout=timeout).same)

    def release(self, timeout: float) -> str:
        """End the use; returns what has become of the model, for the log. Without an answer of the agent in time, the
        use ends with its call."""
        try:
            answer = self._stub.Release(models.ReleaseRequest(use=self._number), timeout=timeout)
            return "unloaded" if answer.unloaded else "released; others use it"
        except ValueError:
            return "released"  # the channel is closed, and the use ends with it
        except grpc.RpcError as error:
            lost = error.code() is grpc.StatusCode.NOT_FOUND
            return "was unloaded before" if lost else f"was not unloaded: {error.code().name}"
        finally:
            self._call.cancel()


def begin_use(
    stub: models.ModelsStub, name: str, folder: Path, timeout: float, started: Callable[[Any], object]
) -> ModelUse:
    """Use the model in a folder; the agent loads it, if it is not loaded.

    Args:
        timeout: seconds for loading it.
        started: called with the call, which `cancel` ends while the model is being loaded.

    Raises:
        grpc.RpcError: the agent refuses it, or does not answer in time. UNIMPLEMENTED: it does not have the service.
        ValueError: the channel is closed.
        EdgeProblem: the agent's answer is none.
    """
    call = stub.Use(models.UseRequest(name=name, url=str(folder)))
    started(call)
    # Not by a deadline of the call, which lasts as long as the use.
    timer = threading.Timer(timeout, call.cancel)
    timer.daemon = True
    timer.start()
    try:
        return ModelUse(stub, call, next(call))
    except StopIteration:
        raise EdgeProblem(f"model {name}: the agent ended the use of the model without an answer") from None
    finally:
        timer.cancel()
