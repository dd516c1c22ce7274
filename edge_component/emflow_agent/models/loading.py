"""From a folder to a model that runs: checked, tried out apart, opened by the runtime that it is for, warmed up."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from emflow_agent.errors import CannotLoad, CannotRun, NotEnoughMemory
from emflow_agent.models.folder import opened_folder
from emflow_agent.models.integrity import Trust, unseal
from emflow_agent.models.probe import Crashed, try_out
from emflow_agent.runtimes import Options, Placement, Runtime, RuntimeModel, accelerator_of, choose, ready_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """A model that has run once.

    Args:
        file_bytes: of the files that were read for it.
        peak_bytes: memory that its trial took at most; None without a trial.
        tried_in, opened_in, warmed_up_in: seconds.
    """

    model: RuntimeModel
    file_bytes: int
    peak_bytes: int | None
    tried_in: float
    opened_in: float
    warmed_up_in: float

    @property
    def placement(self) -> Placement:
        """Where it really runs."""
        return self.model.placement


def open_folder(
    url: str,
    options: Options,
    trust: Trust | None = None,
    trial: bool = True,
    check_files: Callable[[int], None] = lambda _: None,
    check_peak: Callable[[int], None] = lambda _: None,
) -> Opened:
    """Open the model in the folder `url` and run it once.

    Args:
        trust: keys that packages have to be signed with.
        trial: whether it runs in a process of its own first.
        check_files: asked before files of this many bytes are read; raises NotEnoughMemory.
        check_peak: asked after the trial took this many bytes; raises NotEnoughMemory.

    Raises:
        NoSuchModel: there is nothing at `url`.
        CannotLoad: there is something, and it is not one model that runs here, or not what was signed.
        NotEnoughMemory: it does not fit.
    """
    with opened_folder(url) as folder:
        try:
            sealed = unseal(folder, trust or Trust())
            runtime, names = choose(sealed.names(folder), options.runtime)
            sizes = {name: sealed.size(folder, name) for name in names}
            check_files(sum(sizes.values()))
            files = {name: sealed.read(folder, name, size) for name, size in sizes.items()}
        except MemoryError:
            raise NotEnoughMemory(f"there is not enough memory to read {url!r}") from None
        except CannotLoad as problem:
            raise CannotLoad(f"{url!r} cannot be loaded: {problem}") from None
    for name, content in files.items():
        log.info("%s/%s: %d bytes, sha256 %s", url, name, len(content), hashlib.sha256(content).hexdigest())
    log.info("%s: %s", url, sealed)
    try:
        return _ready(runtime, files, options, trial, check_peak)
    except MemoryError:
        raise NotEnoughMemory(f"there is not enough memory for {url!r}") from None
    except (CannotLoad, CannotRun) as problem:
        what = f"{url}/{names[0]}" if len(names) == 1 else url
        raise CannotLoad(f"{what!r} cannot be run: {problem}") from None


def _ready(
    runtime: Runtime, files: Mapping[str, bytes], options: Options, trial: bool, check_peak: Callable[[int], None]
) -> Opened:
    started = time.monotonic()
    peak = None
    if trial:
        try:
            peak = try_out(runtime, files, options)
        except Crashed as crash:
            # An accelerator's driver may be what crashes; then the model still runs where it does not.
            given_up = accelerator_of(runtime, options)
            if not given_up or options.accelerator_required:
                raise
            log.warning("with %s %s; trying once more on the CPU, which is slower", given_up, crash)
            options = replace(options, delegate="", providers=(), given_up=given_up)
            peak = try_out(runtime, files, options)
        if peak is not None:
            check_peak(peak)
    tried_in = time.monotonic() - started
    ready = ready_model(runtime, files, options)
    opened = Opened(ready.model, sum(map(len, files.values())), peak, tried_in, ready.opened_in, ready.warmed_up_in)
    log.info(
        "%s, %d threads; tried in %.1f ms, opened in %.1f ms, warmed up in %.1f ms%s",
        opened.placement,
        options.threads,
        tried_in * 1000,
        opened.opened_in * 1000,
        opened.warmed_up_in * 1000,
        f", {peak / 1e6:.1f} MB at its peak" if peak is not None else "",
    )
    return opened
