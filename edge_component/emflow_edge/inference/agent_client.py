"""Client of the agent: keeps one model loaded, also when the agent restarts, and calls Predict."""

from __future__ import annotations

import logging
import os
import pwd
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import grpc
import numpy as np

from emflow_edge.inference.tensor_transport import TensorTransport
from emflow_edge.model_spec import ModelMismatch, ModelSpec, model_from_metadata
from emflow_proto import messages as m
from emflow_proto.limits import MAX_MESSAGE_BYTES, MAX_PARTS
from emflow_proto.service import AgentStub
from emflow_schema.agent_socket import UnsafeSocket, allowed_users, check_socket, identity
from emflow_schema.backoff import Backoff
from emflow_schema.errors import EdgeProblem

log = logging.getLogger(__name__)

# Loading may compile a graph for the NPU, which takes a board a minute or two.
_LOAD_TIMEOUT, _PREDICT_TIMEOUT, _UNLOAD_TIMEOUT = 300.0, 30.0, 1.0
# Seconds that `close` waits for a running load; after that, the loading thread itself unloads the model.
_LOAD_GRACE = 0.3
# By default, gRPC would retry a missing socket only every two minutes.
_CHANNEL = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)
# Of the model's description: NumPy's most dimensions, more tensors than a model has, and an image of 9,000 x 9,000.
_MAX_DIMENSIONS, _MAX_TENSORS, _MAX_INPUT_BYTES = 32, 1000, 256 << 20
# What gRPC says of an answer that this side does not take.
_UNREADABLE, _TOO_LARGE = "deserializing response", "larger than max"
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
# Delays between attempts: short while the agent cannot be reached; longer while it has no memory, because every attempt
# makes it read the model.
_ABSENT, _FULL = (0.05, 0.5), (1.0, 30.0)
# Delays between checks of a model whose outputs do not match: the first at once, then less and less often.
_DOUBT = (1.0, 30.0)
_AWAY_WORDS, _FULL_WORDS = "cannot be reached; waiting for it", "has no memory"
# Permissions do not change by themselves, as an absent agent comes back: the message says how to mend it.
_NO_PERMISSION_WORDS = (
    "cannot be reached as user {user}: {place}: {why}; run this component and the agent as the same user, or give both "
    "a socket outside the agent's work folder (agentSocket; edge.agent.socket in a workflow) and name the users "
    "(agentUsers; edge.agent.users in a workflow); waiting for it"
)


class LoadStopped(Exception):
    """The run ended while waiting."""


class AgentGone(Exception):
    """The agent or its model is lost; `ensure_loaded` loads it again."""


class PredictFailed(Exception):
    """This Predict call failed; the next may succeed."""


@dataclass(frozen=True)
class Prediction:
    """One prediction: input, outputs, and the duration of the call in milliseconds, measured here."""

    metadata: m.TensorMetadata
    data: bytes
    outputs: Sequence[m.Tensor]
    milliseconds: float

    @property
    def inputs(self) -> Sequence[m.Tensor]:
        """The input tensors with their bytes."""
        return (m.Tensor(tensor_metadata=self.metadata, byte_data=self.data),)


class AgentClient:
    """The client for one model, shared by the threads of all streams.

    Args:
        socket: path of the agent's Unix socket.
        model_name: the name to load it under.
        folder: the folder with the model, in the agent's file system.
        stop: cancels waiting.
        users: to whom the socket may belong, beside the own user and root; by name or number.

    Raises:
        ValueError: one of the users does not exist.
    """

    def __init__(
        self, socket: str, model_name: str, folder: Path, stop: threading.Event, users: Sequence[str] = ()
    ) -> None:
        self._socket, self._name, self._folder, self._stop = socket, model_name, folder, stop
        self._users = allowed_users(users)
        # Of the socket that was checked. gRPC connects again by itself, to whatever is at the path then.
        self._checked: tuple[int, int, int] | None = None
        # gRPC parses it as a URL: `%`, `#` and `?` in the path must be quoted.
        address = f"unix:{quote(os.fsencode(Path(socket).absolute()))}"
        self._channel = grpc.insecure_channel(address, options=_CHANNEL)
        self._stub = AgentStub(self._channel)
        self._transport = TensorTransport()
        self._lock = threading.Lock()
        self._model: ModelSpec | None = None
        self.loads = 0
        """How often the agent has loaded the model for this client."""
        self._ours = self._closed = False
        # Guards `_ours` and `_closed`; `close` must not wait for `_lock`.
        self._state = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()
        self._doubted: ModelSpec | None = None
        self._doubts, self._doubt_due = Backoff(*_DOUBT), 0.0

    def ensure_loaded(self) -> ModelSpec:
        """The loaded model; waits until the agent can be reached and has enough memory.

        Raises:
            EdgeProblem: the agent refuses the model, or the model does not take one image.
            LoadStopped: `stop` was set.
        """
        # One thread loads; the others wait here.
        with self._lock:
            if self._stop.is_set():
                raise LoadStopped
            if self._model is None:
                self._model = self._load_when_there()
            return self._model

    @property
    def stub(self) -> AgentStub:
        """The gRPC stub, for calls that this class does not wrap."""
        return self._stub

    @property
    def loaded_model(self) -> ModelSpec | None:
        """The model, if it is loaded; None while waiting for it."""
        return self._model

    def predict(self, model: ModelSpec, data: bytes) -> Prediction:
        """Run the model once. data: the bytes of its input tensor.

        Raises:
            AgentGone: the agent went away, or came back without the model.
            PredictFailed: the agent reports an error of its own.
            ModelMismatch: the agent finds the tensor wrong.
        """
        spec = model.input
        metadata = m.TensorMetadata(name=spec.name, data_type=m.DataType[spec.dtype.upper()], shape=spec.shape)
        begin = time.perf_counter()
        outputs = self._predict(model, metadata, data)
        milliseconds = (time.perf_counter() - begin) * 1000
        if not outputs:
            raise PredictFailed("the response has no tensor")
        return Prediction(metadata, data, outputs, milliseconds)

    def _predict(self, model: ModelSpec, metadata: m.TensorMetadata, data: bytes) -> Sequence[m.Tensor]:
        if self._is_replaced():
            self._forget(model, "has another socket")
            raise AgentGone
        tensor = self._transport.tensor(metadata, data)
        try:
            request = m.PredictRequest(name=model.name, tensors=[tensor])
            outputs: Sequence[m.Tensor] = self._stub.Predict(request, timeout=_PREDICT_TIMEOUT).tensors
        except ValueError as error:
            # The channel was closed in the meantime.
            raise AgentGone from error
        except grpc.RpcError as error:
            code = error.code()
            if code in _AWAY or code is grpc.StatusCode.NOT_FOUND:
                self._transport.discard_buffer()
                self._forget(model, "has lost the model" if code is grpc.StatusCode.NOT_FOUND else "cannot be reached")
                raise AgentGone from error
            if code is grpc.StatusCode.INVALID_ARGUMENT:
                if self._transport.disable_shared_memory(tensor, error.details() or ""):
                    return self._predict(model, metadata, data)
                raise ModelMismatch(f"the agent refuses the input of model {self._name}: {error.details()}") from error
            raise PredictFailed(f"{code.name}: {_reason(error)}") from error
        return outputs

    def _warn_of_others(self) -> None:
        mode = Path(self._socket).stat().st_mode
        if mode & stat.S_IWOTH:
            log.warning(
                "agent: every user of this device who reaches %s may replace its models: mode %04o",
                *(self._socket, stat.S_IMODE(mode)),
            )

    def _is_replaced(self) -> bool:
        """Whether another socket is at the path than the one that was checked. Without one, gRPC cannot connect."""
        try:
            return identity(Path(self._socket).stat()) != self._checked
        except OSError:
            return False

    def recheck(self, model: ModelSpec) -> bool:
        """Make `ensure_loaded` ask the agent for the model again; False when the delay in `_DOUBT` has not passed."""
        with self._lock:
            now = time.monotonic()
            if self._model is model:
                if now < self._doubt_due:
                    return False
                self._doubted, self._model = model, None
                self._doubt_due = now + self._doubts.delay()
            return True

    def confirm(self) -> None:
        """An output matched the model: reset the delay of `recheck`."""
        self._doubts.reset()

    def close(self) -> None:
        """Unload the model if it was loaded here, and disconnect. Cancels waiting threads.

        The agent finishes a running load even if the client disconnects. So if the load does not end within a moment,
        the loading thread unloads the model and disconnects when it has the answer.
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
                log.warning("agent at %s %s; it is loaded again when possible", self._socket, what)
                self._model, self._ours = None, False

    def _load_when_there(self) -> ModelSpec:
        absent, full = Backoff(*_ABSENT), Backoff(*_FULL)
        logged_reason = ""
        while True:
            model = self._load()
            if isinstance(model, ModelSpec):
                break
            if logged_reason != model:
                logged_reason = model
                log.warning("agent at %s %s", self._socket, model)
            if self._stop.wait((full if model.startswith(_FULL_WORDS) else absent).delay()):
                raise LoadStopped
        doubted, self._doubted = self._doubted, None
        if model == doubted:
            return model
        log.info(
            "agent: model %s %s; input %s, output %s",
            *(self._name, "loaded" if self._ours else "was already loaded"),
            *(model.input, ", ".join(map(str, model.outputs))),
        )
        return model

    def _load(self) -> ModelSpec | str:
        """Load the model, or use it if it is loaded; a text with the reason while neither is possible."""
        try:
            found = check_socket(Path(self._socket), self._users)
            if found != self._checked:
                self._checked = found
                self._warn_of_others()
        except UnsafeSocket as problem:
            return f"is not used: {problem}; agentUsers (edge.agent.users in a workflow) names users that may"
        except PermissionError as error:
            return _NO_PERMISSION_WORDS.format(
                place=error.filename or self._socket, why=error.strerror, user=_own_name()
            )
        except OSError:
            return _AWAY_WORDS
        try:
            return self._load_or_describe()
        except grpc.RpcError as error:
            if error.code() in _AWAY:
                return _AWAY_WORDS
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE not in (error.details() or ""):
                return f"{_FULL_WORDS} for model {self._name}; waiting for it: {error.details()}"
            raise EdgeProblem(self._refusal(error)) from error
        except ValueError as error:
            # The channel was closed in the meantime.
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
                return "has unloaded the model in the meantime; loading it again"
            if described.model.url and Path(described.model.url) != self._folder:
                log.warning("agent: model %s was loaded from %s, not %s", self._name, described.model.url, url)
            model = self._spec(described.model)
            self._ours = self._ours and model == self._doubted
            return model
        return self._spec(loaded.model)

    def _spec(self, model: m.Model) -> ModelSpec:
        """Raises: EdgeProblem: this component cannot use the model, or it cannot be one."""
        tensors = (*model.input_tensor_metadatas, *model.output_tensor_metadatas)
        if len(tensors) > _MAX_TENSORS or any(len(tensor.shape) > _MAX_DIMENSIONS for tensor in tensors):
            raise EdgeProblem(
                f"model {self._name}: the agent describes more than {_MAX_TENSORS} tensors, or more than "
                f"{_MAX_DIMENSIONS} dimensions of one"
            )
        spec = model_from_metadata(self._name, model)
        size = spec.input.size * np.dtype(spec.input.dtype).itemsize
        if size > _MAX_INPUT_BYTES:
            raise EdgeProblem(
                f"model {self._name}: its input {spec.input} takes {size} bytes, more than the {_MAX_INPUT_BYTES} that "
                "this component prepares for an image"
            )
        return spec

    def _load_model(self, request: m.LoadModelRequest) -> m.LoadModelResponse:
        with self._state:
            if self._closed:
                raise LoadStopped
            self._idle.clear()
        try:
            loaded: m.LoadModelResponse = self._stub.LoadModel(request, timeout=_LOAD_TIMEOUT)
            self._ours = True
            self.loads += 1
        finally:
            if self._closed:
                self._let_go()
            # Last: `close` disconnects when this is set.
            self._idle.set()
        if self._closed:
            raise LoadStopped
        return loaded

    def _describe(self) -> m.DescribeModelResponse | None:
        """The description of the model by the agent; None when it is not loaded."""
        try:
            return self._stub.DescribeModel(m.DescribeModelRequest(name=self._name), timeout=_PREDICT_TIMEOUT)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    def _refusal(self, error: grpc.RpcError) -> str:
        why = {
            grpc.StatusCode.NOT_FOUND: f"finds no model at {self._folder}",
            grpc.StatusCode.FAILED_PRECONDITION: f"cannot load what is in {self._folder}",
            grpc.StatusCode.INVALID_ARGUMENT: "refuses it",
        }
        return f"model {self._name}: the agent {why.get(error.code(), 'failed')}: {_reason(error)}"


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _reason(error: grpc.RpcError) -> str:
    """Why a call failed, where the answer is what is wrong too."""
    details = error.details() or ""
    if _UNREADABLE in details:
        return f"its answer is no message of the interface, or has more than {MAX_PARTS} parts"
    if _TOO_LARGE in details:
        return f"its answer or the request has more than {MAX_MESSAGE_BYTES} bytes ({details})"
    return str(details)
