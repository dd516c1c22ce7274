"""Client of the agent: keeps one model loaded, also when the agent restarts, and calls Predict.

A result has to belong to the model that it names. An agent with emflow's own service keeps the very model loaded that
is in the folder, for as long as it is used here, and predictions name this load of it by its handle. AWS's own agent
says no more than where a model of this name was loaded from: one that was loaded before is loaded anew, unless it was
loaded here and the folder has not changed since.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import pwd
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import numpy as np

from emflow_edge.inference.model_use import ModelUse, begin_use
from emflow_edge.inference.tensor_transport import TensorTransport
from emflow_edge.model_spec import ModelMismatch, ModelSpec, model_from_details, model_from_metadata
from emflow_proto import messages as m
from emflow_proto.limits import MAX_MESSAGE_BYTES, MAX_PARTS
from emflow_proto.models import ModelsStub
from emflow_proto.service import AgentStub
from emflow_schema.agent_socket import UnsafeSocket, allowed_users, check_socket, identity
from emflow_schema.backoff import Backoff
from emflow_schema.errors import EdgeProblem
from emflow_schema.model_facts import folder_identity

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
# What another model under the name is waited for: longer than an agent needs to find that nobody calls it any more.
_TAKEN_WORDS, _TAKEN_SECONDS = "has another model under this name; waiting for it to go", 60.0
_WAITING_WORDS = "; waiting for it( to go)?"
# Permissions do not change by themselves, as an absent agent comes back: the message says how to mend it.
_NO_PERMISSION_WORDS = (
    "cannot be reached as user {user}: {place}: {why}; run this component and the agent as the same user, or give both "
    "a socket outside the agent's work folder (agentSocket; edge.agent.socket in a workflow) and name the users "
    "(agentUsers; edge.agent.users in a workflow); waiting for it"
)


class LoadStopped(Exception):
    """The run ended while waiting."""


class GaveUp(EdgeProblem):
    """The agent could not be used for too long."""


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
        gives_up: whether to go on waiting is pointless, after so many seconds in which the agent could not be used, or
            had no memory (True).

    Raises:
        ValueError: one of the users does not exist.
    """

    def __init__(
        self,
        socket: str,
        model_name: str,
        folder: Path,
        stop: threading.Event,
        users: Sequence[str] = (),
        gives_up: Callable[[float, bool], bool] = lambda _seconds, _no_memory: False,
    ) -> None:
        self._gives_up = gives_up
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
        self._models = ModelsStub(self._channel)
        # With emflow's own service: the use of the model, and the call that begins one.
        self._use: ModelUse | None = None
        self._beginning: Any = None
        # Without: the agent that has loaded the model for this client and has not lost it since, by its socket; what
        # was in the folder then, and what the model was.
        self._loaded_at: tuple[int, int, int] | None = None
        self._loaded_content: tuple[object, ...] = ()
        self._loaded_spec: ModelSpec | None = None
        self._closed = False
        # Guards `_use`, `_loaded_at` and `_closed`; `close` must not wait for `_lock`.
        self._state = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()
        self._doubted: ModelSpec | None = None
        self._doubts, self._doubt_due = Backoff(*_DOUBT), 0.0

    def ensure_loaded(self, check_folder: bool = False) -> ModelSpec:
        """The loaded model; waits until the agent can be reached and has enough memory.

        Args:
            check_folder: whether the folder may hold another model than the loaded one, which is then loaded.

        Raises:
            EdgeProblem: the agent refuses the model, or the model does not take one image; GaveUp: `gives_up` says so.
            LoadStopped: `stop` was set.
        """
        # One thread loads; the others wait here.
        with self._lock:
            if self._stop.is_set():
                raise LoadStopped
            if check_folder and self._model is not None and self._folder_has_changed():
                log.info("agent: the folder of model %s holds another one now, which is loaded", self._name)
                self._model = None
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

    def files_of(self, model: ModelSpec) -> str:
        """What tells the files of a loaded model from all others, also in another process.

        The digests of its files; with AWS's agent, what changes when anything in its folder does. Empty where that
        cannot be known.
        """
        if model.content is not None:
            return " ".join(sorted(model.content.digests))
        folder = self._loaded_content
        return hashlib.sha256(repr(folder).encode("utf-8", "surrogateescape")).hexdigest() if folder else ""

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
            # By the handle where there is one: the name may be another model's by now.
            name = "" if model.handle else model.name
            request = m.PredictRequest(name=name, handle=model.handle, tensors=[tensor])
            outputs: Sequence[m.Tensor] = self._stub.Predict(request, timeout=_PREDICT_TIMEOUT).tensors
        except ValueError as error:
            # The channel was closed in the meantime.
            raise AgentGone from error
        except grpc.RpcError as error:
            code = error.code()
            if code in _AWAY or code is grpc.StatusCode.NOT_FOUND:
                self._transport.discard_buffer()
                if code is grpc.StatusCode.NOT_FOUND:
                    self._loaded_at = None
                self._forget(model, "has lost the model" if code is grpc.StatusCode.NOT_FOUND else "cannot be reached")
                raise AgentGone from error
            if code is grpc.StatusCode.INVALID_ARGUMENT:
                if self._transport.disable_shared_memory(tensor, error.details() or ""):
                    return self._predict(model, metadata, data)
                raise ModelMismatch(f"the agent refuses the input of model {self._name}: {error.details()}") from error
            raise PredictFailed(f"{code.name}: {_reason(error)}") from error
        return outputs

    def _socket_identity(self) -> tuple[int, int, int] | None:
        """Of the socket that is at the path now."""
        try:
            return identity(Path(self._socket).stat())
        except OSError:
            return None

    def _warn_of_others(self) -> None:
        mode = Path(self._socket).stat().st_mode
        if mode & stat.S_IWOTH:
            log.warning(
                "agent: every user of this device who reaches %s may replace its models: mode %04o",
                *(self._socket, stat.S_IMODE(mode)),
            )

    def _is_replaced(self) -> bool:
        """Whether another socket is at the path than the one that was checked. Without one, gRPC cannot connect."""
        found = self._socket_identity()
        return found is not None and found != self._checked

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
        """Unload the model if it was loaded here and nobody else uses it, and disconnect. Cancels waiting threads.

        The agent finishes a running load even if the client disconnects, and only one with emflow's own service unloads
        the model then. So if the load does not end within a moment, the loading thread unloads the model and
        disconnects when it has the answer.
        """
        with self._state:
            self._closed = True
        if self._idle.wait(_LOAD_GRACE):
            self._let_go()
        elif (beginning := self._beginning) is not None:
            beginning.cancel()

    def _let_go(self) -> None:
        with self._state:
            (use, self._use), (loaded_at, self._loaded_at) = (self._use, None), (self._loaded_at, None)
        if use is not None:
            log.info("agent: model %s %s", self._name, use.release(_UNLOAD_TIMEOUT))
        elif loaded_at is not None and loaded_at == self._socket_identity():
            try:
                self._unload()
                log.info("agent: model %s unloaded", self._name)
            except grpc.RpcError as error:
                log.warning("agent: model %s was not unloaded: %s", self._name, error.code().name)
        self._channel.close()

    def _unload(self) -> None:
        """Unload the model, whoever has loaded it. Raises: grpc.RpcError: the agent does not answer."""
        try:
            self._stub.UnLoadModel(m.UnLoadModelRequest(name=self._name), timeout=_UNLOAD_TIMEOUT)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise

    def _forget(self, model: ModelSpec, what: str) -> None:
        with self._lock:
            if self._model is model:
                log.warning("agent at %s %s; it is loaded again when possible", self._socket, what)
                self._model = None

    def _load_when_there(self) -> ModelSpec:
        absent, full, loads = Backoff(*_ABSENT), Backoff(*_FULL), self.loads
        logged_reason, taken_since = "", math.inf
        no_memory, since = False, time.monotonic()
        while True:
            model = self._load()
            if isinstance(model, ModelSpec):
                break
            if logged_reason != model:
                logged_reason = model
                log.warning("agent at %s %s", self._socket, model)
            taken_since = min(taken_since, time.monotonic()) if model.startswith(_TAKEN_WORDS) else math.inf
            if time.monotonic() - taken_since > _TAKEN_SECONDS:
                raise EdgeProblem(f"model {self._name}: the agent {model}")
            if no_memory is not model.startswith(_FULL_WORDS):
                no_memory, since = not no_memory, time.monotonic()
            if self._gives_up(time.monotonic() - since, no_memory):
                raise GaveUp(f"agent at {self._socket} {re.sub(_WAITING_WORDS, '', model)}")
            if self._stop.wait((full if no_memory else absent).delay()):
                raise LoadStopped
        doubted, self._doubted = self._doubted, None
        if model == doubted:
            return model
        version = f" (version {model.content.version})" if model.content and model.content.version else ""
        log.info(
            "agent: model %s%s %s; input %s, output %s",
            *(self._name, version, "loaded" if self.loads > loads else "was already loaded"),
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
        try:
            if self._use is not None and self._use.is_loaded(_PREDICT_TIMEOUT):
                return self._spec_of_use(self._use)
            return self._spec_of_use(self._begin_use())
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                return f"{_TAKEN_WORDS}: {error.details()}"
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
        return self._load_without_use()

    def _begin_use(self) -> ModelUse:
        """Raises: grpc.RpcError, EdgeProblem, LoadStopped, ValueError."""
        with self._loading():
            use = begin_use(self._models, self._name, self._folder, _LOAD_TIMEOUT, self._set_beginning)
            with self._state:
                self._use = use
            self.loads += use.was_loaded
        return use

    def _set_beginning(self, call: Any) -> None:
        self._beginning = call

    def _load_without_use(self) -> ModelSpec | str:
        """With an agent that has AWS's interface only."""
        url, content = str(self._folder), folder_identity(self._folder)
        try:
            return self._load_model(content)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
        described = self._describe()
        if described is None:
            return "has unloaded the model in the meantime; loading it again"
        found = described.model.url
        if found and Path(found) != self._folder:
            return (
                f"{_TAKEN_WORDS}: model {self._name!r} is loaded from {found}, not from {url}; unload that one, or "
                "give this one a name of its own"
            )
        model = self._spec(described.model)
        is_same = content and content == self._loaded_content and model == self._loaded_spec
        if is_same or model == self._doubted:
            return model
        log.info("agent: model %s was loaded before, maybe from other files; it is loaded anew", self._name)
        was_loaded_here = self._loaded_at == self._checked
        self._unload()
        try:
            return self._load_model(content, is_ours=was_loaded_here)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                return "has the model loaded again by another client in the meantime"
            raise

    def _folder_has_changed(self) -> bool:
        """Whether the folder holds another model than the loaded one; False while the agent cannot be asked.

        Raises:
            EdgeProblem: the agent cannot load what it holds.
        """
        use = self._use
        if use is None:
            return folder_identity(self._folder) != self._loaded_content
        try:
            try:
                same = use.is_content_of(self._folder, _LOAD_TIMEOUT)
            except grpc.RpcError as error:
                refused = error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)
                if refused and use.is_loaded(_PREDICT_TIMEOUT):
                    raise EdgeProblem(self._refusal(error)) from error
                return False
        except (grpc.RpcError, ValueError):
            return False  # the next prediction finds out what is wrong with the agent
        if same:
            return False
        with self._state:
            self._use = None
        use.release(_PREDICT_TIMEOUT)
        return True

    def _spec_of_use(self, use: ModelUse) -> ModelSpec:
        """Raises: EdgeProblem: this component cannot use the model, or it cannot be one."""
        self._check_size((*use.model.inputs, *use.model.outputs))
        return self._checked_input(model_from_details(self._name, use.model))

    def _spec(self, model: m.Model) -> ModelSpec:
        """Raises: EdgeProblem: this component cannot use the model, or it cannot be one."""
        self._check_size((*model.input_tensor_metadatas, *model.output_tensor_metadatas))
        return self._checked_input(model_from_metadata(self._name, model))

    def _check_size(self, tensors: Sequence[Any]) -> None:
        if len(tensors) > _MAX_TENSORS or any(len(tensor.shape) > _MAX_DIMENSIONS for tensor in tensors):
            raise EdgeProblem(
                f"model {self._name}: the agent describes more than {_MAX_TENSORS} tensors, or more than "
                f"{_MAX_DIMENSIONS} dimensions of one"
            )

    def _checked_input(self, spec: ModelSpec) -> ModelSpec:
        size = spec.input.size * np.dtype(spec.input.dtype).itemsize
        if size > _MAX_INPUT_BYTES:
            raise EdgeProblem(
                f"model {self._name}: its input {spec.input} takes {size} bytes, more than the {_MAX_INPUT_BYTES} that "
                "this component prepares for an image"
            )
        return spec

    def _load_model(self, content: tuple[object, ...], is_ours: bool = True) -> ModelSpec:
        """Load the model with AWS's interface.

        Args:
            content: what is in its folder now.
            is_ours: whether to unload it at the end.
        """
        request = m.LoadModelRequest(url=str(self._folder), name=self._name)
        with self._loading():
            loaded: m.LoadModelResponse = self._stub.LoadModel(request, timeout=_LOAD_TIMEOUT)
            with self._state:
                self._loaded_at = self._checked if is_ours else None
            self._loaded_content = content
            self.loads += 1
        self._loaded_spec = self._spec(loaded.model)
        return self._loaded_spec

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """While a model is loaded: `close` waits for it a moment only. Raises: LoadStopped: the client is closed."""
        with self._state:
            if self._closed:
                raise LoadStopped
            self._idle.clear()
        try:
            yield
        except grpc.RpcError:
            if not self._closed:
                raise
        finally:
            self._beginning = None
            if self._closed:
                self._let_go()
            # Last: `close` disconnects when this is set.
            self._idle.set()
        if self._closed:
            raise LoadStopped

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
