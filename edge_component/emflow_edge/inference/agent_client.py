"""The agent, as this component needs it: one model kept loaded, whatever becomes of the agent, and Predict."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import grpc

from emflow_edge.model_spec import ModelMismatch, ModelSpec, model_from_metadata
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_proto.shared_memory import SharedBuffer
from emflow_schema.backoff import Backoff
from emflow_schema.errors import EdgeProblem

# How an input tensor gets to the agent: in shared memory where both sides can use it, in the message otherwise.
#
# Measured with 150,528 bytes (224 x 224 x 3), shared memory saves 0.35 ms of the processor on this side and half a
# millisecond of the call.


log = logging.getLogger(__name__)

# What fits into a few frames of HTTP/2 is in the message as quickly.
_LEAST = 32 << 10


class _Buffer(SharedBuffer):
    """Gone when the thread that it belongs to is."""

    def __del__(self) -> None:
        self.close()


class TensorTransport:
    """Tensors for one agent. Each thread has a buffer of its own, so none is written while the agent reads it."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._works = True

    def tensor(self, metadata: m.TensorMetadata, data: bytes) -> m.Tensor:
        """A tensor for this thread's next call; the one before has to be answered, or `give_up` called."""
        buffer = self._buffer(len(data)) if self._works and len(data) >= _LEAST else None
        if buffer is None:
            return m.Tensor(tensor_metadata=metadata, byte_data=data)
        buffer.view[:] = data
        return m.Tensor(tensor_metadata=metadata, shared_memory_handle=buffer.handle)

    def give_up(self) -> None:
        """This thread's call got no answer: the agent may read the buffer yet, so it is not used again."""
        self._mine.buffer = None

    def refused(self, tensor: m.Tensor, why: str) -> bool:
        """The agent found a tensor wrong; whether that may be because it was in shared memory, which is not used then.

        It cannot be read by an agent of another user, or in a container of its own.
        """
        if not tensor.HasField("shared_memory_handle"):
            return False
        if self._works:
            self._works = False
            log.info("agent: it cannot read our shared memory (%s); tensors go in the message", why)
        return True

    def _buffer(self, size: int) -> _Buffer | None:
        buffer: _Buffer | None = getattr(self._mine, "buffer", None)
        if buffer is None or buffer.size != size:
            try:
                buffer = self._mine.buffer = _Buffer(size)
            except OSError as error:
                self._works = False
                log.info("agent: %s; tensors go in the message", error)
                return None
        return buffer


# Loading may compile a graph for the NPU, which takes a board a minute or two.
_LOAD_TIMEOUT, _PREDICT_TIMEOUT, _UNLOAD_TIMEOUT = 300.0, 30.0, 1.0
# How long whoever closes waits for a load that is under way. After that its own thread unloads, when it is through.
_LOAD_GRACE = 0.3
# Without these, gRPC would look for a socket that was missing for a while only every two minutes.
_CHANNEL = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
# An agent that is away is asked often, because that costs nothing. One without memory would have to look at the model
# again each time, and waits for somebody to unload another.
_ABSENT, _FULL = (0.05, 0.5), (1.0, 30.0)
# A model whose answers are not its own is looked at again: at once, then ever less often.
_DOUBT = (1.0, 30.0)
_AWAY_WORDS, _FULL_WORDS = "is not there; waiting for it", "has no memory"


class LoadStopped(Exception):
    """The run ended while something was waited for."""


class AgentGone(Exception):
    """The agent or its model is not there any more; `ensure_loaded` brings both back."""


class PredictFailed(Exception):
    """The agent could not do this one Predict; the next may go well."""


@dataclass(frozen=True)
class Prediction:
    """One answer: what went in and came out; milliseconds: how long the call took, seen from here."""

    metadata: m.TensorMetadata
    data: bytes
    outputs: Sequence[m.Tensor]
    milliseconds: float

    @property
    def inputs(self) -> Sequence[m.Tensor]:
        """The tensors that went in, each with its bytes, whichever way they were handed over."""
        return (m.Tensor(tensor_metadata=self.metadata, byte_data=self.data),)


class AgentClient:
    """One model on the agent, shared by the threads of all streams.

    Args:
        socket: path of the agent's Unix socket.
        model_name: the name to load it under.
        folder: the folder with the model, in the agent's file system.
        stop: ends whatever is waited for.
    """

    def __init__(self, socket: str, model_name: str, folder: Path, stop: threading.Event) -> None:
        self._socket, self._name, self._folder, self._stop = socket, model_name, folder, stop
        # It is read as a URL: a `%`, `#` or `?` in the path would mean something else.
        address = f"unix:{quote(os.fsencode(Path(socket).absolute()))}"
        self._channel = grpc.insecure_channel(address, options=_CHANNEL)
        self._stub = AgentStub(self._channel)
        self._transport = TensorTransport()
        self._lock = threading.Lock()
        self._model: ModelSpec | None = None
        self._ours = self._closed = False
        # For `_ours` and `_closed`, which `close` cannot wait for `_lock` with.
        self._state = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()
        self._doubted: ModelSpec | None = None
        self._doubts, self._doubt_due = Backoff(*_DOUBT), 0.0

    def ensure_loaded(self) -> ModelSpec:
        """The model, loaded; waits for the agent, and for memory in it, as long as it takes.

        Raises:
            EdgeProblem: the agent refuses the model, or it takes something else than a picture.
            Stopped: it was told to stop meanwhile, or before.
        """
        # One thread loads; the others wait here and find it done.
        with self._lock:
            if self._stop.is_set():
                raise LoadStopped
            if self._model is None:
                self._model = self._load_when_there()
            return self._model

    @property
    def stub(self) -> AgentStub:
        """The agent's calls, for whoever needs one that this class does not make."""
        return self._stub

    @property
    def loaded_model(self) -> ModelSpec | None:
        """The model when it is loaded, as far as is known; None while it is waited for."""
        return self._model

    def predict(self, model: ModelSpec, data: bytes) -> Prediction:
        """Run the model once on the bytes of its input tensor.

        Raises:
            Gone: the agent went away, or came back without the model.
            PredictFailed: the agent reports an error of its own.
            ModelMismatch: the agent finds the tensor wrong.
        """
        spec = model.input
        metadata = m.TensorMetadata(name=spec.name, data_type=m.DataType[spec.dtype.upper()], shape=spec.shape)
        begin = time.perf_counter()
        outputs = self._predict(model, metadata, data)
        milliseconds = (time.perf_counter() - begin) * 1000
        if not outputs:
            raise PredictFailed("the answer has no tensor")
        return Prediction(metadata, data, outputs, milliseconds)

    def _predict(self, model: ModelSpec, metadata: m.TensorMetadata, data: bytes) -> Sequence[m.Tensor]:
        tensor = self._transport.tensor(metadata, data)
        try:
            request = m.PredictRequest(name=model.name, tensors=[tensor])
            outputs: Sequence[m.Tensor] = self._stub.Predict(request, timeout=_PREDICT_TIMEOUT).tensors
        except ValueError as error:
            # Somebody closed the channel meanwhile.
            raise AgentGone from error
        except grpc.RpcError as error:
            code = error.code()
            if code in _AWAY or code is grpc.StatusCode.NOT_FOUND:
                self._transport.give_up()
                self._forget(model, "has lost the model" if code is grpc.StatusCode.NOT_FOUND else "is gone")
                raise AgentGone from error
            if code is grpc.StatusCode.INVALID_ARGUMENT:
                if self._transport.refused(tensor, error.details() or ""):
                    return self._predict(model, metadata, data)
                raise ModelMismatch(f"the agent refuses the input of model {self._name}: {error.details()}") from error
            raise PredictFailed(f"{code.name}: {error.details()}") from error
        return outputs

    def recheck(self, model: ModelSpec) -> bool:
        """Have `ensure_loaded` ask the agent again what it holds; whether it will. Not more often than `_DOUBT` lets it."""
        with self._lock:
            now = time.monotonic()
            if self._model is model:
                if now < self._doubt_due:
                    return False
                self._doubted, self._model = model, None
                self._doubt_due = now + self._doubts.delay()
            return True

    def confirm(self) -> None:
        """An answer was the model's own."""
        self._doubts.reset()

    def close(self) -> None:
        """Unload the model if it was loaded here, and hang up. Ends what other threads wait for.

        The agent goes on with a load that is under way, whoever hangs up. So the thread that asked for it waits, and
        unloads and hangs up when it has its answer, if that does not come in a moment.
        """
        with self._state:
            self._closed = True
        if self._idle.wait(_LOAD_GRACE):
            self._let_go()

    def _let_go(self) -> None:
        with self._state:
            ours, self._ours = self._ours, False
        if ours:
            try:
                self._stub.UnLoadModel(m.UnLoadModelRequest(name=self._name), timeout=_UNLOAD_TIMEOUT)
                log.info("agent: model %s unloaded", self._name)
            except grpc.RpcError as error:
                log.warning("agent: model %s was not unloaded: %s", self._name, error.code().name)
        self._channel.close()

    def _forget(self, model: ModelSpec, what: str) -> None:
        with self._lock:
            if self._model is model:
                log.warning("agent at %s %s; loading it again when it can be", self._socket, what)
                self._model, self._ours = None, False

    def _load_when_there(self) -> ModelSpec:
        absent, full = Backoff(*_ABSENT), Backoff(*_FULL)
        said = ""
        while True:
            model = self._load()
            if isinstance(model, ModelSpec):
                break
            if said != model:
                said = model
                log.warning("agent at %s %s", self._socket, model)
            if self._stop.wait((full if model.startswith(_FULL_WORDS) else absent).delay()):
                raise LoadStopped
        doubted, self._doubted = self._doubted, None
        if model == doubted:
            return model
        log.info(
            "agent: model %s %s; input %s, output %s",
            *(self._name, "loaded" if self._ours else "was loaded already"),
            *(model.input, ", ".join(map(str, model.outputs))),
        )
        return model

    def _load(self) -> ModelSpec | str:
        """Load the model, or take it as it is loaded; while neither goes yet, what is waited for."""
        try:
            return self._load_or_describe()
        except grpc.RpcError as error:
            if error.code() in _AWAY:
                return _AWAY_WORDS
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return f"{_FULL_WORDS} for model {self._name}; waiting for it: {error.details()}"
            raise EdgeProblem(self._refusal(error)) from error
        except ValueError as error:
            # Somebody closed the channel meanwhile.
            if self._stop.is_set():
                raise LoadStopped from error
            raise

    def _load_or_describe(self) -> ModelSpec | str:
        url = str(self._folder)
        try:
            loaded = self._load_model(m.LoadModelRequest(url=url, name=self._name))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
            described = self._describe()
            if described is None:
                return "has unloaded the model meanwhile; loading it again"
            if described.model.url and Path(described.model.url) != self._folder:
                log.warning("agent: model %s was loaded from %s, not %s", self._name, described.model.url, url)
            model = model_from_metadata(self._name, described.model)
            self._ours = self._ours and model == self._doubted
            return model
        return model_from_metadata(self._name, loaded.model)

    def _load_model(self, request: m.LoadModelRequest) -> m.LoadModelResponse:
        with self._state:
            if self._closed:
                raise LoadStopped
            self._idle.clear()
        try:
            loaded: m.LoadModelResponse = self._stub.LoadModel(request, timeout=_LOAD_TIMEOUT)
            self._ours = True
        finally:
            if self._closed:
                self._let_go()
            # Last: whoever waits for it hangs up.
            self._idle.set()
        if self._closed:
            raise LoadStopped
        return loaded

    def _describe(self) -> m.DescribeModelResponse | None:
        """What the agent says of the model; None when it does not have it."""
        try:
            return self._stub.DescribeModel(m.DescribeModelRequest(name=self._name), timeout=_PREDICT_TIMEOUT)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    def _refusal(self, error: grpc.RpcError) -> str:
        why = {
            grpc.StatusCode.NOT_FOUND: f"finds nothing at {self._folder}",
            grpc.StatusCode.FAILED_PRECONDITION: f"cannot load what is in {self._folder}",
            grpc.StatusCode.INVALID_ARGUMENT: "does not take it",
        }
        return f"model {self._name}: the agent {why.get(error.code(), 'failed')}: {error.details()}"
