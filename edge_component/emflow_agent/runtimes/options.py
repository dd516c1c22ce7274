"""Options for running models: threads, accelerators and their own options. They apply to all models of the agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from emflow_agent.errors import BadOption, CannotLoad


@dataclass(frozen=True)
class Provider:
    """An ONNX Runtime execution provider, such as VSINPUExecutionProvider, and its own options."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RuntimeOptions:
    """How models are run.

    Args:
        threads: CPU threads for one inference.
        runtime: key of the runtime, for folders with models of several kinds; empty: the first that fits.
        delegate: LiteRT's accelerator: a name in `delegates.LIBRARIES`, `xnnpack`, `none`, or a library's path; empty:
            LiteRT's default, XNNPACK.
        delegate_options: passed to the delegate unchanged.
        accelerator_required: refuse a model that the delegate or execution provider cannot run, instead of running it
            on the CPU with a warning.
        graph_cache: folder where the VX delegate stores compiled graphs across restarts; empty: no cache.
        providers: ONNX Runtime execution providers in order of preference; the CPU is always the last.
        dlr_options: environment for the runtime of Neo-compiled models.
        failed_accelerator: the accelerator that crashed in the probe and was removed from these options.
    """

    threads: int = 1
    runtime: str = ""
    delegate: str = ""
    delegate_options: Mapping[str, str] = field(default_factory=dict)
    accelerator_required: bool = False
    graph_cache: str = ""
    providers: tuple[Provider, ...] = ()
    dlr_options: Mapping[str, str] = field(default_factory=dict)
    failed_accelerator: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, reason: Mapping[str, Any]) -> RuntimeOptions:
        return cls(**{**reason, "providers": tuple(Provider(**provider) for provider in reason["providers"])})


def read_providers(setting: str, given: Sequence[str]) -> tuple[Provider, ...]:
    """Parse execution providers, each `Name key=value key=value`, in order of preference.

    Raises:
        BadOption: an option is not key=value, or a provider is given twice.
    """
    providers: list[Provider] = []
    for text in given:
        name, *words = text.split()
        if "=" in name:
            raise BadOption(f"{setting}: {text!r} must begin with the name of an execution provider")
        if any(name == provider.name for provider in providers):
            raise BadOption(f"{setting}: {name} is given twice")
        options = dict(word.partition("=")[::2] for word in words)
        wrong = next((word for word in words if "=" not in word), None)
        if wrong is not None or len(options) < len(words):
            raise BadOption(f"{setting}: {text!r} must have options as key=value, each key once")
        providers.append(Provider(name, options))
    return tuple(providers)


def one_line(error: object) -> str:
    """An error message of a runtime without line breaks."""
    return " ".join(str(error).split())


def open_sizes_message(name: str, sizes: Sequence[str]) -> str:
    """The error message for an input with open sizes, which are shown as `?`."""
    return f"input '{name}' has open sizes: [{', '.join(sizes)}]; export the model with fixed sizes"


def single_file(names: Sequence[str], wanted: str) -> list[str]:
    """The only model file of a kind; empty when there is none.

    Raises:
        CannotLoad: there are several.
    """
    if len(names) > 1:
        raise CannotLoad(f"it must hold {wanted}; found: {', '.join(sorted(names))}")
    return list(names)
