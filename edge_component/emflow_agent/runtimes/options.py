"""How models are run on this device: threads, accelerators and their options, the same for all models of an agent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from emflow_agent.errors import BadOption, CannotLoad

# Names of the environment that a compiled model's runtime reads, such as TVM_TENSORRT_CACHE_DIR. The loader's own
# (LD_PRELOAD and its kin) are none of a model's business.
_VARIABLE = re.compile(r"(?!LD_)[A-Z][A-Z0-9_]*")


@dataclass(frozen=True)
class Provider:
    """An ONNX Runtime execution provider, such as VSINPUExecutionProvider, and its own options."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RuntimeOptions:
    """What the settings say about running models.

    Args:
        threads: CPU threads for one inference.
        runtime: key of the runtime for folders that hold models of several kinds; empty: the first that fits.
        delegate: LiteRT's accelerator: a name in `delegates.LIBRARIES`, `xnnpack`, `none`, or a library's path; empty:
            what LiteRT takes by itself, which is XNNPACK.
        delegate_options: handed to the delegate as they are.
        accelerator_required: refuse a model that the delegate or execution provider does not take, in place of running
            it on the CPU with a warning.
        graph_cache: folder where the VX delegate keeps compiled graphs over restarts; empty: nowhere.
        providers: execution providers in the order in which ONNX Runtime is to try them; the CPU's comes last anyway.
        dlr_options: environment for the runtime of Neo-compiled models.
        given_up: an accelerator that was tried before and is not among these options any more.
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
    def of_json(cls, said: Mapping[str, Any]) -> RuntimeOptions:
        return cls(**{**said, "providers": tuple(Provider(**provider) for provider in said["providers"])})


def read_pairs(setting: str, text: str) -> dict[str, str]:
    """`key=value; key=value`, the way in which the original agent took DLRBackendOptions.

    Raises:
        BadOption: a part has no key, or a key comes twice.
    """
    pairs: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key:
            raise BadOption(f"{setting}: {part!r} is not key=value; several are separated by ;")
        if key in pairs:
            raise BadOption(f"{setting}: {key} is there twice")
        pairs[key] = value
    return pairs


def read_environment(setting: str, text: str) -> dict[str, str]:
    """Pairs that go into the environment.

    Raises:
        BadOption: a name that is none of a runtime's.
    """
    pairs = read_pairs(setting, text)
    for name in pairs:
        if not _VARIABLE.fullmatch(name):
            raise BadOption(f"{setting}: {name!r} is not the name of a runtime flag, such as TVM_TENSORRT_CACHE_DIR")
    return pairs


def read_providers(setting: str, text: str) -> tuple[Provider, ...]:
    """`Name key=value key=value; Name`: execution providers in their order.

    Raises:
        BadOption: an option is not key=value, or a provider comes twice.
    """
    providers: list[Provider] = []
    for part in filter(None, map(str.strip, text.split(";"))):
        name, *words = part.split()
        if "=" in name:
            raise BadOption(f"{setting}: {part!r} does not begin with the name of an execution provider")
        if any(name == provider.name for provider in providers):
            raise BadOption(f"{setting}: {name} is there twice")
        providers.append(Provider(name, read_pairs(f"{setting}: {name}", ";".join(words))))
    return tuple(providers)


# What the runtimes' refusals have in common.


def one_line(error: object) -> str:
    """A runtime's own words without their line breaks."""
    return " ".join(str(error).split())


def open_sizes_message(name: str, sizes: Sequence[str]) -> str:
    """Why a model cannot be loaded one of whose inputs may have any size; `?` is an open one."""
    return f"input '{name}' leaves sizes open: [{', '.join(sizes)}]; export the model with fixed ones"


def single_file(names: Sequence[str], wanted: str) -> list[str]:
    """The one model file of its kind, or nothing.

    Raises:
        CannotLoad: there are several, and nothing says which is meant.
    """
    if len(names) > 1:
        raise CannotLoad(f"it has to hold {wanted}; found: {', '.join(sorted(names))}")
    return list(names)
