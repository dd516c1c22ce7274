"""Loads a model folder: verify it, probe the model in another process, open it with its runtime, warm it up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from emflow_agent.errors import CannotLoad, InferenceFailed, NotEnoughMemory
from emflow_agent.models.folder import MAX_FILE_BYTES, CheckWanted, ModelFolder, open_model_folder, still_wanted
from emflow_agent.models.integrity import PackageManifest, TrustedKeys, VerifiedPackage, verify_package
from emflow_agent.models.probe import ProbeCrashed, run_probe
from emflow_agent.runtimes import (
    Placement,
    Runtime,
    RuntimeModel,
    RuntimeOptions,
    choose_runtime,
    open_and_warm_up,
    requested_accelerator,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelContent:
    """What a model is, wherever its folder is: models with the same files give the same answers. One that was packaged
    as another version is another model, also with the same files.

    Args:
        files: SHA-256 of each file, in hexadecimal, by its name within the folder.
        manifest: what its package says of it, also where nothing shows who made the package; None without one.
    """

    files: Mapping[str, str]
    manifest: PackageManifest | None = None


@dataclass(frozen=True)
class LoadedFiles:
    """A loaded model that has run once.

    Args:
        content: the digests of the files that were read, and the manifest.
        file_bytes: size of the files that were read.
        peak_bytes: peak memory of the probe; None without one.
        probe_seconds, open_seconds, warm_up_seconds: how long each step took.
    """

    model: RuntimeModel
    content: ModelContent
    file_bytes: int
    peak_bytes: int | None
    probe_seconds: float
    open_seconds: float
    warm_up_seconds: float

    @property
    def placement(self) -> Placement:
        """Where it actually runs."""
        return self.model.placement


def load_folder(
    url: str,
    options: RuntimeOptions,
    trust: TrustedKeys | None = None,
    probe: bool = True,
    check_files: Callable[[int], None] = lambda _: None,
    check_peak: Callable[[int], None] = lambda _: None,
    check_wanted: CheckWanted = still_wanted,
    name: str = "",
    version: str = "",
) -> LoadedFiles:
    """Load the model in the folder `url` and run it once.

    Args:
        trust: keys that packages must be signed with.
        probe: whether the model is first run in a process of its own.
        check_files: called with the total size in bytes before files are read; may raise NotEnoughMemory.
        check_peak: called with the peak memory of the probe in bytes; may raise NotEnoughMemory.
        check_wanted: called while files are read and handed to the probe; may raise CallerGone. Not after that: an
            accelerator may compile the model for minutes, and a client whose deadline is shorter tries again until it
            is loaded.
        name: what the model is loaded as; a signed package has to be of this model.
        version: which version the signed package has to be of; empty for any.

    Raises:
        ModelNotFound: nothing exists at `url`.
        CannotLoad: it is not exactly one model that runs on this device, or it differs from what was signed.
        NotEnoughMemory: it does not fit.
        CallerGone: `check_wanted` raised it.
    """
    with _opened_package(url, options, trust, check_wanted, name, version) as opened:
        sizes = opened.sizes()
        check_files(sum(sizes.values()))
        _check_sizes(sizes)
        opened.package.check_sizes(opened.folder)
        read = {file: opened.package.read(opened.folder, file, size) for file, size in sizes.items()}
        opened.package.check_others(opened.folder, read.keys())
    for file, (content, digest) in read.items():
        log.info("%s/%s: %d bytes, sha256 %s", url, file, len(content), digest)
    files = {file: content for file, (content, _) in read.items()}
    log.info("%s: %s", url, opened.package)
    model_content = ModelContent({file: digest for file, (_, digest) in read.items()}, opened.package.manifest)
    try:
        return _probe_and_open(opened.runtime, files, model_content, options, probe, check_peak, check_wanted)
    except MemoryError:
        raise NotEnoughMemory(f"there is not enough memory for {url!r}") from None
    except (CannotLoad, InferenceFailed) as problem:
        what = f"{url}/{opened.names[0]}" if len(opened.names) == 1 else url
        raise CannotLoad(f"{what!r} cannot be run: {problem}") from None


def folder_content(
    url: str,
    options: RuntimeOptions,
    trust: TrustedKeys | None = None,
    check_wanted: CheckWanted = still_wanted,
    name: str = "",
    version: str = "",
) -> ModelContent:
    """What `load_folder` would load from a folder, without loading it; it is refused as there. Keeps one file at a time
    in memory.

    Raises:
        ModelNotFound, CannotLoad, NotEnoughMemory, CallerGone: see `load_folder`.
    """
    with _opened_package(url, options, trust, check_wanted, name, version) as opened:
        sizes = opened.sizes()
        _check_sizes(sizes)
        opened.package.check_sizes(opened.folder)
        digests = {file: opened.package.read(opened.folder, file, size).sha256 for file, size in sizes.items()}
        opened.package.check_others(opened.folder, digests.keys())
    return ModelContent(digests, opened.package.manifest)


@dataclass(frozen=True)
class _OpenedPackage:
    """A folder that was verified, and what of it the runtime needs."""

    folder: ModelFolder
    package: VerifiedPackage
    runtime: Runtime
    names: Sequence[str]

    def sizes(self) -> dict[str, int]:
        """Of the files, in bytes."""
        return {file: self.folder.size(file) for file in self.names}


@contextmanager
def _opened_package(
    url: str, options: RuntimeOptions, trust: TrustedKeys | None, check_wanted: CheckWanted, name: str, version: str
) -> Iterator[_OpenedPackage]:
    """The package in a folder, whose files can be read inside the `with`. Raises: see `load_folder`."""
    with open_model_folder(url, check_wanted) as folder:
        try:
            package = verify_package(folder, trust or TrustedKeys(), name, version)
            runtime, names = choose_runtime(package.names(folder), options.runtime)
            yield _OpenedPackage(folder, package, runtime, names)
        except MemoryError:
            raise NotEnoughMemory(f"there is not enough memory to read {url!r}") from None
        except CannotLoad as problem:
            raise CannotLoad(f"{url!r} cannot be loaded: {problem}") from None


def _check_sizes(sizes: Mapping[str, int]) -> None:
    """Raises: CannotLoad: a file is larger than any model file can be."""
    for name, size in sizes.items():
        if size > MAX_FILE_BYTES:
            raise CannotLoad(f"{name!r} has {size} bytes; a model file has at most {MAX_FILE_BYTES}")


def _probe_and_open(
    runtime: Runtime,
    files: Mapping[str, bytes],
    content: ModelContent,
    options: RuntimeOptions,
    probe: bool,
    check_peak: Callable[[int], None],
    check_wanted: CheckWanted,
) -> LoadedFiles:
    started = time.monotonic()
    peak = None
    if probe:
        try:
            peak = run_probe(runtime, files, options, check_wanted=check_wanted)
        except ProbeCrashed as crash:
            # The driver of an accelerator may be what crashes; then the model still runs on the CPU.
            failed_accelerator = requested_accelerator(runtime, options)
            if not failed_accelerator or options.accelerator_required:
                raise
            log.warning("with %s %s; trying again on the CPU, which is slower", failed_accelerator, crash)
            options = replace(options, delegate="", providers=(), failed_accelerator=failed_accelerator)
            peak = run_probe(runtime, files, options, check_wanted=check_wanted)
        if peak is not None:
            check_peak(peak)
    probe_seconds = time.monotonic() - started
    ready = open_and_warm_up(runtime, files, options)
    opened = LoadedFiles(
        ready.model,
        content,
        sum(map(len, files.values())),
        peak,
        probe_seconds,
        ready.open_seconds,
        ready.warm_up_seconds,
    )
    log.info(
        "%s, %d threads; probe %.1f ms, open %.1f ms, warm-up %.1f ms%s",
        opened.placement,
        options.threads,
        probe_seconds * 1000,
        opened.open_seconds * 1000,
        opened.warm_up_seconds * 1000,
        f", {peak / 1e6:.1f} MB peak memory" if peak is not None else "",
    )
    return opened
