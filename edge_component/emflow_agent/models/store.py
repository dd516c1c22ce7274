"""The loaded models: load, run, unload.

An NPU compiles the graph at the first inference, so a model counts as loaded only after it has run once. Different
models run in parallel; calls of one model run one at a time, as the runtimes require.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from emflow_agent.errors import AlreadyLoaded, BadRequest, ModelNotFound
from emflow_agent.models.call_stats import CallStats
from emflow_agent.models.caller import Caller, LocalCaller, check_not_gone
from emflow_agent.models.fair_queue import FairQueue
from emflow_agent.models.integrity import TrustedKeys
from emflow_agent.models.loading import load_folder
from emflow_agent.models.memory import MemoryCheck, freeze_garbage_collector, release_unused_memory
from emflow_agent.runtimes import RuntimeModel, RuntimeOptions
from emflow_agent.tensors.shared_memory import attached_segment
from emflow_agent.tensors.spec import input_array, inputs_in_order, open_data
from emflow_proto import messages as m

if TYPE_CHECKING:
    from emflow_agent.tensors.spec import Array

# The rule of the interface for model names.
MODEL_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
MAX_NAME_LENGTH = 256

# The handles that the agent gives begin here: clients that choose theirs choose small ones.
FIRST_HANDLE = 1 << 30

# Loads that may wait for the current one.
MAX_WAITING_LOADS = 32

LOCAL_CALLER = LocalCaller()

# An error message lists at most this many loaded models.
MAX_NAMES_LISTED = 10


class LoadedModel:
    """A loaded model, its queue and its call statistics.

    Args:
        handle: its number, by which some clients name it; never 0.
        queue_size: calls that may wait for it.
        freed: called when the runtime's memory is free.
    """

    def __init__(
        self, name: str, handle: int, url: str, runtime: RuntimeModel, queue_size: int, freed: Callable[[], object]
    ) -> None:
        self.name, self.handle, self.url = name, handle, url
        self.inputs, self.outputs, self.placement = runtime.inputs, runtime.outputs, runtime.placement
        self.output_metadata = [spec.metadata for spec in self.outputs]
        self.queue = FairQueue(f"model {name!r}", queue_size)
        self.call_stats = CallStats()
        self._runtime: RuntimeModel | None = runtime
        self._freed = freed

    def predict(self, tensors: Sequence[m.Tensor], caller: Caller) -> list[Array]:
        """Run the model once on the tensors of a client, when it is the caller's turn.

        Raises:
            BadRequest: the tensors do not match the inputs of the model.
            TooManyCalls, CallerGone, ModelNotFound: the call was not executed; see FairQueue.slot.
            InferenceFailed: the runtime failed.
        """
        with self.call_stats.measured(), ExitStack() as loaded_files:
            tensors = inputs_in_order(self.inputs, tensors)
            arrays = [
                input_array(spec, tensor, loaded_files.enter_context(open_data(spec, tensor, attached_segment)))
                for spec, tensor in zip(self.inputs, tensors)
            ]
            return self.queue.run(caller, lambda: self._run(arrays))

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        assert self._runtime is not None  # it is removed only after the last call
        return self._runtime.run(arrays)

    def close(self) -> None:
        """Refuse waiting calls; release the memory when a running prediction has finished."""
        self.queue.close(self._free)

    def _free(self) -> None:
        self._runtime = None
        self._freed()


class ModelStore:
    """All loaded models by name. Thread-safe.

    Where a name is empty, a handle other than 0 names the model.

    Args:
        threads: CPU threads for one inference, when no options are given.
        options: how models are run.
        trust: keys that packages must be signed with.
        probe: whether a model is run in a separate process before it is loaded.
        memory_limit: bytes that this process may use with all models; 0 for no limit of its own.
        queue_size: how many calls of one model may wait.
        tunes_process: whether loading and unloading tune the garbage collector and the heap of this process, which must
            then be the agent's own.
    """

    def __init__(
        self,
        threads: int = 1,
        probe: bool = False,
        options: RuntimeOptions | None = None,
        trust: TrustedKeys | None = None,
        memory_limit: int = 0,
        queue_size: int = 64,
        tunes_process: bool = False,
    ) -> None:
        self._options, self._trust, self._probe = (
            options or RuntimeOptions(threads=threads),
            trust or TrustedKeys(),
            probe,
        )
        self._memory_limit, self._queue_size, self._tunes_process = memory_limit, queue_size, tunes_process
        self._models: dict[str, LoadedModel] = {}
        self._next_handle = itertools.count(FIRST_HANDLE)
        # One load at a time: two would need the memory of both, and a client that loads a model twice must get
        # ALREADY_EXISTS only when the model can be used. Few may wait: each keeps a thread of the server, for minutes
        # when a driver hangs.
        self._loading = FairQueue("a load to end", MAX_WAITING_LOADS)

    def load(self, name: str, url: str, caller: Caller = LOCAL_CALLER, handle: int = 0) -> LoadedModel:
        """Load the model in the folder `url` and warm it up.

        Args:
            handle: chosen by the client; 0 to have one given. Without a name, the model's name is made of it.

        Raises:
            BadRequest: the name is invalid.
            AlreadyLoaded: a model with this name or handle is loaded.
            ModelNotFound: there is nothing at `url`.
            CannotLoad: it is not exactly one model that runs on this device.
            NotEnoughMemory: it does not fit.
            TooManyCalls: too many loads are waiting.
            CallerGone: the caller was gone before its load began, or while the files were read.
        """
        name = name or (f"handle-{handle}" if handle else "")
        # Length first: the match needs 150 bytes of memory for each character.
        if len(name) > MAX_NAME_LENGTH:
            raise BadRequest(f"model name {name[:100]!r}… has {len(name)} characters, more than {MAX_NAME_LENGTH}")
        if not MODEL_NAME.fullmatch(name):
            raise BadRequest(f"model name {name[:100]!r} is not allowed; it must match ^{MODEL_NAME.pattern}$")
        with self._loading.slot(caller):
            loaded = self._models.get(name)
            if loaded is not None:
                raise AlreadyLoaded(f"model {name!r} is already loaded from {loaded.url}")
            if handle and (other := self._with_handle(handle)):
                raise AlreadyLoaded(f"handle {handle} is that of model {other.name!r}")
            room = MemoryCheck(self._memory_limit)
            opened = load_folder(
                *(url, self._options, self._trust, self._probe, room.check_files, room.check_peak),
                check_wanted=lambda: check_not_gone(caller),
            )
            freed = release_unused_memory if self._tunes_process else lambda: None
            model = LoadedModel(name, handle or self._free_handle(), url, opened.model, self._queue_size, freed)
            self._models[name] = model
        if self._tunes_process:
            freeze_garbage_collector()
        return model

    def unload(self, name: str, handle: int = 0) -> LoadedModel:
        """Unload a model. Waiting calls are refused; a running one still finishes, then the memory is released.

        Raises:
            ModelNotFound: it is not loaded.
        """
        model = self._models.pop(self.get(name, handle).name, None)
        if model is None:  # another call was faster
            raise self._unknown(name, handle)
        model.close()
        return model

    def get(self, name: str, handle: int = 0) -> LoadedModel:
        """
        Raises:
            ModelNotFound: it is not loaded.
        """
        model = self._with_handle(handle) if handle and not name else self._models.get(name)
        if model is None:
            raise self._unknown(name, handle)
        return model

    def all(self) -> list[LoadedModel]:
        """The loaded models, in the order in which they were loaded."""
        return list(self._models.values())

    def _with_handle(self, handle: int) -> LoadedModel | None:
        return next((model for model in self.all() if model.handle == handle), None)

    def _free_handle(self) -> int:
        return next(handle for handle in self._next_handle if self._with_handle(handle) is None)

    def _unknown(self, name: str, handle: int) -> ModelNotFound:
        names = sorted(self._models)
        listed = ", ".join(names[:MAX_NAMES_LISTED]) or "none"
        more = f" and {len(names) - MAX_NAMES_LISTED} more" if len(names) > MAX_NAMES_LISTED else ""
        what = f"with handle {handle}" if handle and not name else f"named {name[:100]!r}"
        return ModelNotFound(f"no model {what} is loaded; loaded: {listed}{more}")
