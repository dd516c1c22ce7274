"""The loaded models: load, run, unload.

An NPU compiles the graph at the first inference, so a model counts as loaded only after it has run once. Different
models run in parallel; calls of one model run one at a time, as the runtimes require.

A model that LoadModel loaded stays until UnLoadModel, whoever calls it. One that `use` loaded stays as long as it has
uses. A use is refused where another model has the name, so it is always of the model that its folder holds.
"""

from __future__ import annotations

import itertools
import re
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from emflow_agent.errors import AlreadyLoaded, BadRequest, CannotLoad, ModelInUse, ModelNotFound, Refused
from emflow_agent.models.call_stats import CallStats
from emflow_agent.models.caller import Caller, LocalCaller, check_not_gone
from emflow_agent.models.fair_queue import FairQueue
from emflow_agent.models.integrity import TrustedKeys, check_version
from emflow_agent.models.loading import ModelContent, folder_content, load_folder
from emflow_agent.models.memory import MemoryCheck, freeze_garbage_collector, release_unused_memory
from emflow_agent.runtimes import RuntimeModel, RuntimeOptions
from emflow_agent.tensors.shared_memory import attached_segment
from emflow_agent.tensors.spec import input_array, inputs_in_order, open_data
from emflow_proto import messages as m
from emflow_schema.model_manifest import ModelManifest

if TYPE_CHECKING:
    from emflow_agent.tensors.spec import Array

# The rule of the interface for model names.
MODEL_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
MAX_NAME_LENGTH = 256

# The handles that the agent gives begin here: clients that choose theirs choose small ones.
FIRST_HANDLE = 1 << 30
HANDLES = 1 << 29
"""Of so many, each agent begins with any, so that none means another model to a client of the agent before."""

FORGOTTEN_SECONDS = 30.0
"""A model that LoadModel loaded, and nobody has called for so long, may be replaced by what its folder holds now."""

# Loads that may wait for the current one.
MAX_WAITING_LOADS = 32

LOCAL_CALLER = LocalCaller()

# An error message lists at most this many loaded models.
MAX_NAMES_LISTED = 10


class LoadedModel:
    """A loaded model, its queue and its call statistics.

    Args:
        handle: its number, by which some clients name it; never 0.
        content: what it was loaded from.
        by_load_model: whether it stays loaded until UnLoadModel.
        queue_size: calls that may wait for it.
        freed: called when the runtime's memory is free.
    """

    def __init__(
        self,
        name: str,
        handle: int,
        url: str,
        runtime: RuntimeModel,
        content: ModelContent,
        by_load_model: bool,
        queue_size: int,
        freed: Callable[[], object],
    ) -> None:
        self.name, self.handle, self.url = name, handle, url
        self.content, self.by_load_model = content, by_load_model
        self.uses = 0
        """How many uses it has; guarded by the store's lock."""
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


class ModelUse:
    """A client's use of a model.

    Args:
        is_first: whether the model was loaded for it.
        on_end: called, in any thread, when the use has ended: released, or its model unloaded.
    """

    def __init__(self, model: LoadedModel, is_first: bool, on_end: Callable[[], object]) -> None:
        # Not a number that a client of the agent before may still have.
        self.number = secrets.randbits(63)
        self.model, self.is_first, self.on_end = model, is_first, on_end


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
        self._uses: dict[int, ModelUse] = {}
        # Held while a model or a use comes or goes, for a moment each time.
        self._lock = threading.Lock()
        self._next_handle = itertools.count(FIRST_HANDLE + secrets.randbelow(HANDLES))
        # One load at a time: two would need the memory of both, and a client that loads a model twice must get
        # ALREADY_EXISTS only when the model can be used. Few may wait: each keeps a thread of the server, for minutes
        # when a driver hangs.
        self._loading = FairQueue("a load to end", MAX_WAITING_LOADS)

    def load(
        self, name: str, url: str, caller: Caller = LOCAL_CALLER, handle: int = 0, version: str = ""
    ) -> LoadedModel:
        """Load the model in the folder `url` and warm it up.

        Args:
            handle: chosen by the client; 0 to have one given. Without a name, the model's name is made of it.
            version: which version a signed package has to be of; empty for any.

        Raises:
            BadRequest: the name is invalid.
            AlreadyLoaded: a model with this name or handle is loaded.
            ModelNotFound: there is nothing at `url`.
            CannotLoad: it is not exactly one model that runs on this device, or of another version, also where it is
                loaded.
            NotEnoughMemory: it does not fit.
            TooManyCalls: too many loads are waiting.
            CallerGone: the caller was gone before its load began, or while the files were read.
        """
        name = _checked_name(name or (f"handle-{handle}" if handle else ""))
        with self._loading.slot(caller):
            loaded = self._models.get(name)
            if loaded is not None:
                try:
                    check_version(loaded.content.manifest, version)
                except CannotLoad as problem:
                    what = f"model {name!r} is already loaded from {loaded.url}, and {problem}"
                    raise CannotLoad(f"{what}; unload it, then load it again") from None
                raise AlreadyLoaded(f"model {name!r} is already loaded from {loaded.url}{self._since(loaded, caller)}")
            if handle and (other := self._with_handle(handle)):
                raise AlreadyLoaded(f"handle {handle} is that of model {other.name!r}")
            model = self._load(name, url, caller, handle, version, by_load_model=True)
        if self._tunes_process:
            freeze_garbage_collector()
        return model

    def use(
        self, name: str, url: str, on_end: Callable[[], object], caller: Caller = LOCAL_CALLER, version: str = ""
    ) -> ModelUse:
        """Use the model in the folder `url`: load it, unless a model of this name has the folder's content. It stays
        loaded until `release` is called for each use of it.

        Args:
            on_end: called, in any thread, when the use has ended: released, or its model unloaded.
            version: which version a signed package has to be of; empty for any.

        Raises:
            ModelInUse: another model has this name, and others use it.
            BadRequest, ModelNotFound, CannotLoad, NotEnoughMemory, TooManyCalls, CallerGone: see `load`.
        """
        name = _checked_name(name)
        with self._loading.slot(caller):
            while True:
                loaded = self._models.get(name)
                if loaded is not None and not self._is_content_of(loaded, url, caller, version):
                    self._make_way(loaded, url)
                    loaded = None
                model = loaded or self._load(name, url, caller, 0, version, by_load_model=False)
                use = ModelUse(model, loaded is None, on_end)
                with self._lock:
                    if self._models.get(name) is model:  # nobody has unloaded it in between
                        model.uses += 1
                        self._uses[use.number] = use
                        break
        if self._tunes_process:
            freeze_garbage_collector()
        return use

    def release(self, number: int) -> LoadedModel | None:
        """End a use. A model without any is unloaded, as by `unload`, unless LoadModel loaded it.

        Returns:
            The model if it was unloaded.

        Raises:
            ModelNotFound: there is no such use.
        """
        with self._lock:
            use = self._uses.pop(number, None)
            if use is None:
                raise ModelNotFound("there is no such use of a model")
            use.model.uses -= 1
            unwanted = not use.model.uses and not use.model.by_load_model
            if unwanted:
                del self._models[use.model.name]
        if unwanted:
            use.model.close()
        use.on_end()
        return use.model if unwanted else None

    def unload(self, name: str, handle: int = 0) -> LoadedModel:
        """Unload a model, and end its uses. Waiting calls are refused; a running one still finishes, then the memory is
        released.

        Raises:
            ModelNotFound: it is not loaded.
        """
        with self._lock:
            model = self._models.pop(self.get(name, handle).name, None)
            ended = [use for use in self._uses.values() if use.model is model]
            for use in ended:
                del self._uses[use.number]
        if model is None:  # another call was faster
            raise self._unknown(name, handle)
        model.close()
        for use in ended:
            use.on_end()
        return model

    def is_content_of(self, model: LoadedModel, url: str, caller: Caller = LOCAL_CALLER) -> bool:
        """Whether the folder `url` holds what a model was loaded from: the same files, and the same manifest.

        Raises:
            ModelNotFound, CannotLoad, NotEnoughMemory, TooManyCalls, CallerGone: see `load`.
        """
        with self._loading.slot(caller):
            return self._is_content_of(model, url, caller)

    def confirm(self, name: str, handle: int = 0) -> str:
        """A loaded model works on this device: the floor of its signed package counts from now on.

        Returns:
            The floor of this model, the lowest version that is loaded from now on; empty for none.

        Raises:
            ModelNotFound: it is not loaded.
            CannotLoad: the floor cannot be stored.
        """
        manifest = self.get(name, handle).content.manifest
        # Without keys, nothing shows who wrote the manifest. Packages of an edge packaging job have no floor.
        if not self._trust.signature_required or not isinstance(manifest, ModelManifest):
            return ""
        return self._trust.state.confirm(manifest)

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

    def _load(
        self, name: str, url: str, caller: Caller, handle: int, version: str, *, by_load_model: bool
    ) -> LoadedModel:
        """With the slot of `_loading`."""
        room = MemoryCheck(self._memory_limit)
        opened = load_folder(
            *(url, self._options, self._trust, self._probe, room.check_files, room.check_peak),
            check_wanted=lambda: check_not_gone(caller),
            name=name,
            version=version,
        )
        freed = release_unused_memory if self._tunes_process else lambda: None
        given = handle or self._free_handle()
        model = LoadedModel(name, given, url, opened.model, opened.content, by_load_model, self._queue_size, freed)
        with self._lock:
            self._models[name] = model
        return model

    def _is_content_of(self, model: LoadedModel, url: str, caller: Caller, version: str = "") -> bool:
        """With the slot of `_loading`: what reads files takes its turn with what loads them."""
        content = folder_content(
            *(url, self._options, self._trust, lambda: check_not_gone(caller)), name=model.name, version=version
        )
        return content == model.content

    def _since(self, model: LoadedModel, caller: Caller) -> str:
        """What has become of the folder of a loaded model, for messages; empty where it holds the same."""
        try:
            same = self._is_content_of(model, model.url, caller)
        except Refused:
            return ""  # it holds no model now
        return "" if same else ", which holds another model now: unload it, then load it again"

    def _make_way(self, model: LoadedModel, url: str) -> None:
        """Unload a model that is not the one in the folder `url`.

        Raises:
            ModelInUse: others use it.
        """
        with self._lock:
            forgotten = Path(model.url) == Path(url) and model.call_stats.idle_seconds >= FORGOTTEN_SECONDS
            if model.uses or (model.by_load_model and not forgotten):
                raise ModelInUse(
                    f"model {model.name!r} is loaded from {model.url} and used by others, and what {url} holds is "
                    "another model; unload that one, or give this one a name of its own"
                )
            if self._models.get(model.name) is model:
                del self._models[model.name]
        model.close()

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


def _checked_name(name: str) -> str:
    """Raises: BadRequest: a model cannot have this name."""
    # Length first: the match needs 150 bytes of memory for each character.
    if len(name) > MAX_NAME_LENGTH:
        raise BadRequest(f"model name {name[:100]!r}… has {len(name)} characters, more than {MAX_NAME_LENGTH}")
    if not MODEL_NAME.fullmatch(name):
        raise BadRequest(f"model name {name[:100]!r} is not allowed; it must match ^{MODEL_NAME.pattern}$")
    return name
