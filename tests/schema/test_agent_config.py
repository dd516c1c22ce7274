"""The agent's settings: what a workflow may say is what the agent reads, and every bound and word is the same."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from emflow_agent.settings.config import Layer, read
from emflow_agent.settings.names import COMPONENT_NAMES, FILE_NAMES, WITHOUT_MEANING
from emflow_agent.settings.reading import BadSetting
from emflow_schema.agent_config import (
    SECTIONS,
    SETTINGS,
    Capture,
    InvalidSetting,
    OpenAgent,
    read_section,
    write_settings,
)
from emflow_schema.key import Field, fields
from emflow_schema.units import ByteSize, Duration

FIELDS = [(section, field) for section in SECTIONS for field in fields(section) if field.shape.key.agent]
IDS = [field.shape.key.agent for _, field in FIELDS]
NUMBERS = [(section, field) for section, field in FIELDS if field.shape.kind is int]


def in_a_workflow(value: Any, field: Field) -> Any:
    """An example, as the class of its key has it."""
    if isinstance(value, list):
        return tuple(value)
    return field.shape.kind(value) if isinstance(value, str) and isinstance(field.shape.kind, type) else value


@pytest.mark.parametrize(("section", "field"), FIELDS, ids=IDS)
def test_what_the_host_writes_is_what_the_agent_reads(section: type, field: Field) -> None:
    for example in field.shape.key.examples:
        made = section(**{field.name: in_a_workflow(example, field)})
        texts = {name: text for name, text in write_settings(made).items() if text}
        again = getattr(read_section(section, texts), field.name)
        written = getattr(made, field.name)
        if isinstance(written, Duration):
            assert again.seconds == written.seconds
        else:
            assert again == written


@pytest.mark.parametrize(("section", "field"), FIELDS, ids=IDS)
def test_a_default_that_is_sent_means_the_same_as_none(section: type, field: Field) -> None:
    texts = {name: text for name, text in write_settings(section()).items() if text}
    again, default = getattr(read_section(section, texts), field.name), getattr(section(), field.name)
    assert getattr(again, "seconds", again) == getattr(default, "seconds", default)


@pytest.mark.parametrize(("section", "field"), NUMBERS, ids=[field.name for _, field in NUMBERS])
def test_a_number_has_the_same_bounds_in_a_workflow_and_for_the_agent(section: type, field: Field) -> None:
    key = field.shape.key
    assert key.low is not None
    assert key.high is not None
    for number in (key.low, key.high):
        assert getattr(read_section(section, {key.agent: str(int(number))}), field.name) == number
    for number in (key.low - 1, key.high + 1, key.low + 0.5):
        with pytest.raises(InvalidSetting, match=key.agent):
            read_section(section, {key.agent: str(number)})


def test_every_setting_of_the_sections_reaches_the_agent_under_one_name() -> None:
    assert set(COMPONENT_NAMES) | {"DbEnable", "DeploymentEnable"} == set(SETTINGS) == set(IDS)
    assert len(IDS) == len(set(IDS))
    assert not set(FILE_NAMES) & {*COMPONENT_NAMES, *WITHOUT_MEANING}


@pytest.mark.parametrize(
    ("prefix", "fits"),
    [
        *((prefix, True) for prefix in ("sme-capture", "a/b", "/a/", "//a", "a.b/..c", ".a/b.", "a/b//")),
        *((prefix, False) for prefix in ("a//b", "./a", "a/.", "..", "a/../b", "/", "//", "/./a", "a/..//")),
    ],
)
def test_a_folder_prefix_is_judged_as_the_agent_judges_it(prefix: str, fits: bool) -> None:
    (field,) = (field for field in fields(Capture) if field.shape.key.agent == "FolderPrefix")
    assert bool(re.fullmatch(field.shape.key.pattern, prefix)) == fits
    if fits:
        read([Layer("the test", {"FolderPrefix": prefix})])
    else:
        with pytest.raises(BadSetting, match="FolderPrefix"):
            read([Layer("the test", {"FolderPrefix": prefix})])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("DLRBackendOptions", text) for text in ("LD_PRELOAD=/x.so", "path=/x", "A B=1", "A=1;A=2", "novalue", "=1")),
        ("DelegateOptions", "a b=1"),
        ("MemoryLimit", "9999999 TB"),
        ("MetricsPeriodSeconds", "-1"),
        ("CaptureDataPushPeriodSeconds", "0"),
        ("CaptureDataPushPeriodSeconds", "31622401"),
    ],
)
def test_an_invalid_text_is_refused_by_the_name_of_its_setting(name: str, text: str) -> None:
    (section,) = (section for section, field in FIELDS if field.shape.key.agent == name)
    with pytest.raises(InvalidSetting, match=name):
        read_section(section, {name: text})


def test_options_are_pairs_as_the_original_agent_took_them() -> None:
    text = "TVM_TENSORRT_CACHE_DIR=/data/trt/cache; TVM_TENSORRT_CACHE_DISK_SIZE_MB=800"
    dlr = read([Layer("the test", {"DLRBackendOptions": text, "DelegateOptions": " a = b=c ;; d= "})]).runtime
    assert dlr.dlr_options == {"TVM_TENSORRT_CACHE_DIR": "/data/trt/cache", "TVM_TENSORRT_CACHE_DISK_SIZE_MB": "800"}
    assert dlr.delegate_options == {"a": "b=c", "d": ""}


@pytest.mark.parametrize(("text", "size"), [("512 MiB", 512 << 20), ("1.5 GB", 1_500_000_000), ("1048576", 1 << 20)])
def test_a_size_is_its_number_of_bytes(text: str, size: int) -> None:
    assert ByteSize(text).bytes == size
    assert read_section(OpenAgent, {"MemoryLimit": text}).memory_limit == text


def test_a_buffer_that_holds_no_more_than_a_batch_is_a_fault() -> None:
    assert not list(Capture().faults())
    (fault,) = dataclasses.replace(Capture(), batch=30).faults()
    assert (fault.key, fault.message) == (
        "batch",
        "a batch of 30 does not fit into a buffer of 30, which has to be larger",
    )
