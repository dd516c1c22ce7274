"""The models that are loaded: from a folder to something that runs, and back.

Loading takes its time (an NPU compiles the graph at the first inference), so a model only counts as loaded after it has
run once. Different models run at the same time; calls of one model wait for each other, as its runtime wants it.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from emflow_agent.memory import check_room
from emflow_agent.problems import AlreadyLoaded, BadRequest, CannotLoad, CannotRun, NoSuchModel, NotEnoughMemory
from emflow_agent.runtimes import RUNTIMES, Runtime, RuntimeModel, ready_model
from emflow_agent.shared_memory import attached
from emflow_agent.tensors import TensorSpec, as_array, inputs_in_order, open_data
from emflow_agent.trial import try_out
from emflow_proto import messages as m

if TYPE_CHECKING:
    from emflow_agent.tensors import Array

log = logging.getLogger(__name__)

# The interface's own rule for model names.
MODEL_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
LONGEST_NAME = 256

# A refusal says what is loaded as long as that is of help.
LISTED = 10


# What the system says of a path that cannot be anywhere.
NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


@dataclass(frozen=True)
class LoadedModel:
    """A model that has been warmed up, and the lock that its callers take turns on."""

    name: str
    url: str
    runtime: RuntimeModel
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.runtime.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.runtime.outputs

    def predict(self, sent: Sequence[m.Tensor]) -> list[Array]:
        """Run once with a client's tensors.

        Raises:
            BadRequest: the tensors are not what the model takes.
            CannotRun: the runtime failed.
        """
        tensors = inputs_in_order(self.inputs, sent)
        with ExitStack() as opened:
            arrays = []
            for known, tensor in zip(self.inputs, tensors):
                arrays.append(as_array(known, tensor, opened.enter_context(open_data(known, tensor, attached))))
            with self.turn:
                return self.runtime.run(arrays)


class ModelStore:
    """All loaded models by name. Safe to use from any thread.

    Args:
        threads: CPU threads for one inference.
        trial: whether a model runs in a process of its own before it may run in this one.
    """

    def __init__(self, threads: int, trial: bool = False) -> None:
        self._threads, self._trial = threads, trial
        self._models: dict[str, LoadedModel] = {}
        # One load at a time: two would need the memory of both while they are prepared, and whoever asks twice for the
        # same model must hear ALREADY_EXISTS only when it can really be used.
        self._loading = threading.Lock()

    def load(self, name: str, url: str) -> LoadedModel:
        """Load the one model file in the folder `url` and warm it up.

        Raises:
            BadRequest: the name is not allowed.
            AlreadyLoaded: the name is taken.
            NoSuchModel: there is nothing at `url`.
            CannotLoad: there is something, and it is not one model that runs here.
            NotEnoughMemory: it does not fit.
        """
        if not MODEL_NAME.fullmatch(name):
            raise BadRequest(f"model name {name[:100]!r} is not allowed; it has to match ^{MODEL_NAME.pattern}$")
        if len(name) > LONGEST_NAME:
            raise BadRequest(f"model name {name[:100]!r}… has {len(name)} characters, more than {LONGEST_NAME}")
        with self._loading:
            if name in self._models:
                raise AlreadyLoaded(f"model {name!r} is already loaded from {self._models[name].url}")
            file, runtime = find_model(url)
            model = self._models[name] = LoadedModel(name, url, _open(file, runtime, self._threads, self._trial))
        return model

    def unload(self, name: str) -> None:
        """Forget a model, at once. A prediction that is under way still finishes, and then its memory is free.

        Raises:
            NoSuchModel: it is not loaded.
        """
        if self._models.pop(name, None) is None:
            raise self._unknown(name)

    def get(self, name: str) -> LoadedModel:
        """
        Raises:
            NoSuchModel: it is not loaded.
        """
        model = self._models.get(name)
        if model is None:
            raise self._unknown(name)
        return model

    def all(self) -> list[LoadedModel]:
        """The loaded models, in the order in which they were loaded."""
        return list(self._models.values())

    def _unknown(self, name: str) -> NoSuchModel:
        names = sorted(self._models)
        listed = ", ".join(names[:LISTED]) or "none"
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        return NoSuchModel(f"no model named {name[:100]!r} is loaded; loaded: {listed}{more}")


def find_model(url: str) -> tuple[Path, Runtime]:
    """The one model file in a folder, and the runtime for its kind.

    Raises:
        NoSuchModel: there is nothing at `url`.
        CannotLoad: it is no folder, cannot be read, or holds no model file or several.
    """
    if not url or "\0" in url:
        raise NoSuchModel(f"there is nothing at {url!r}")
    folder = Path(url)
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        if error.errno in NOTHING_THERE:
            raise NoSuchModel(f"there is nothing at {url!r}") from None
        raise CannotLoad(f"{url!r} cannot be read: {error.strerror}") from None
    if not stat.S_ISDIR(mode):
        raise CannotLoad(f"{url!r} is a file; the url names the folder that holds the model file")
    suffixes = {runtime.SUFFIX: runtime for runtime in RUNTIMES}
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in suffixes and file.is_file())
    except OSError as error:
        raise CannotLoad(f"{url!r} cannot be read: {error.strerror}") from None
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise CannotLoad(f"{url!r} has to hold exactly one model file (*{', *'.join(suffixes)}); found: {found}")
    return files[0], suffixes[files[0].suffix]


def _open(file: Path, runtime: Runtime, threads: int, trial: bool) -> RuntimeModel:
    """Read, prepare and warm up; see ModelStore.load for what it raises."""
    started = time.monotonic()
    try:
        check_room(file.stat().st_size)
        # Read, not mapped: a deployment may put a new file in the place of this one while the model runs.
        content = file.read_bytes()
        if trial:
            try_out(runtime, content, threads)
        model = ready_model(runtime, content, threads)
    except MemoryError:
        raise NotEnoughMemory(f"there is not enough memory for {str(file)!r}") from None
    except OSError as error:
        raise CannotLoad(f"{str(file)!r} cannot be read: {error.strerror}") from None
    except (CannotLoad, CannotRun) as error:
        raise CannotLoad(f"{str(file)!r} cannot be run: {error}") from None
    log.info("%s: %d bytes, sha256 %s", file, len(content), hashlib.sha256(content).hexdigest())
    took = time.monotonic() - started
    log.info("%s, %d threads, loaded and warmed up in %.1f ms", runtime.NAME, threads, took * 1000)
    return model
