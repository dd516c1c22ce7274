"""Rules for the files beside a workflow: the model is one, and what the workflow says of it; so are the labels.

A file that is not there yet is a warning: CI checks workflows without their models, and `apply` misses it in time.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from emflow.problems import Problem
from emflow.unpacking import BROKEN, TooLarge, files_in_tar_gz
from emflow.workflow.files_beside import is_beside, named_files
from emflow.workflow.model import Workflow
from emflow.workflow.rules.violation import Violation
from emflow.workflow.source.positions import KeyPath, format_path
from emflow.workflow.source.safe_open import open_regular, read_regular
from emflow.workflow.suggestions import did_you_mean
from emflow_schema import tflite
from emflow_schema.labels import class_values, label_counts, read_labels
from emflow_schema.model_facts import ModelFacts, TensorFacts
from emflow_schema.model_files import is_archive, is_left_by_macos, is_tflite

# The files beside a workflow: the model (a .tflite, or an archive that holds exactly one) and its labels.


_MEND = "put exactly one .tflite into the archive"

MOST_BYTES = 512 * 1024 * 1024
"""Of a model, or of all that an archive unpacks to: far more than a board's NPU can hold, and no archive's way to eat
the memory of whoever checks it."""

MOST_LABEL_BYTES = 16 * 1024 * 1024


def check_model(path: Path) -> ModelFacts:
    """Look into a model file that exists: its inputs and outputs.

    Raises:
        Problem: it is no TFLite model and no .tar.gz that holds exactly one, or it cannot be read.
    """
    try:
        if is_archive(path.name):
            return _in_archive(path)
        return _facts(read_regular(path, MOST_BYTES), str(path))
    except TooLarge as error:
        raise Problem(str(error), where=str(path), mend=_MEND) from None
    except BROKEN:  # some of their messages quote the file
        raise Problem("no .tar.gz archive", where=str(path), mend="make it with: tar -czf … model.tflite") from None
    except OSError as error:
        raise Problem(f"cannot be read: {error.strerror or error}", where=str(path)) from None


def check_labels(path: Path) -> tuple[str, ...]:
    """Look into a labels file that exists: its labels, as the device reads them.

    Raises:
        Problem: it is empty, not UTF-8, or cannot be read.
    """
    try:
        found = read_labels(read_regular(path, MOST_LABEL_BYTES))
    except UnicodeDecodeError:
        raise Problem("not UTF-8 text", where=str(path), mend="one label a line, in UTF-8") from None
    except OSError as error:
        raise Problem(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    if not found:
        raise Problem("no label in it", where=str(path), mend="one label a line, in the order of the model's outputs")
    return found


def _in_archive(path: Path) -> ModelFacts:
    found: dict[str, ModelFacts] = {}
    passed_over = []
    with open_regular(path, MOST_BYTES) as file:
        for member, content in files_in_tar_gz(file, MOST_BYTES):
            if is_left_by_macos(member.name):
                passed_over.append(member.name)
            elif is_tflite(member.name):
                found[member.name] = _facts(content.read(), f"{path}: {member.name}")
    if len(found) != 1:
        holds = f"{len(found)} .tflite files ({', '.join(found)})" if found else "no .tflite file"
        beside = f", but for what macOS added: {passed_over[0]}" if passed_over and not found else ""
        raise Problem(f"holds {holds}{beside}", where=str(path), mend=_MEND)
    return next(iter(found.values()))


def without_files_of_macos(data: bytes) -> tuple[str, bytes] | None:
    """Name and content of the model in an archive that was checked, where macOS added files to it; None where not.

    An archive of AWS's own Neo holds one .tflite, and nobody knows whether it passes over these.
    """
    added, model = False, None
    for member, content in files_in_tar_gz(io.BytesIO(data), MOST_BYTES):
        added = added or is_left_by_macos(member.name)
        if is_tflite(member.name):
            model = (member.name.rpartition("/")[2], content.read())
    return model if added else None


def _facts(data: bytes, where: str) -> ModelFacts:
    try:
        return tflite.read(data)
    except ValueError as error:
        raise Problem(str(error), where=where, mend="give the .tflite that the converter wrote") from None


ARTIFACT: KeyPath = ("cloud", "model", "artifact")
INPUTS: KeyPath = ("cloud", "model", "inputs")
TYPES: KeyPath = ("cloud", "model", "input_types")
LABELS: KeyPath = ("edge", "model_io", "labels")

Content = TypeVar("Content")


def artifact(workflow: Workflow) -> Iterator[Violation]:
    name = workflow.cloud.model.artifact
    if "://" in name:
        yield Violation(
            ARTIFACT, "a model is not fetched from an address in this version", "download it, and give its path"
        )
    elif is_left_by_macos(name):
        mend = f"give the file that it stands beside: {name.rpartition('/')[2].removeprefix('._')}"
        yield Violation(ARTIFACT, f"{name!r} is no model: macOS stores a file's attributes there", mend)
    elif not (is_archive(name) or is_tflite(name)):
        mend = "give the model or an archive of it"
        yield Violation(ARTIFACT, f"{name!r} is neither a .tflite nor a .tar.gz or .tgz", mend)
    else:
        found = model_in_file(workflow)
        if isinstance(found, Problem):
            yield Violation(ARTIFACT, f"{found.where}: {found.what}", found.mend)


def labels(workflow: Workflow) -> Iterator[Violation]:
    found = _labels(workflow)
    if isinstance(found, Problem):
        yield Violation(LABELS, f"{found.where}: {found.what}", found.mend)


def missing(workflow: Workflow) -> Iterator[Violation]:
    for place, name in named_files(workflow):
        if not is_beside(workflow, name):
            continue  # `outside` reports it
        path = Path(workflow.folder, name)
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            yield Violation(
                place, f"{path} is not there, so what it holds was not checked", "put it there before apply"
            )
        except (OSError, ValueError) as error:
            if place not in (ARTIFACT, LABELS):  # those are refused for it
                yield Violation(place, f"{path} {_unreadable(error)}", "change the path")


def inputs(workflow: Workflow) -> Iterator[Violation]:
    facts = model_in_file(workflow)
    if not isinstance(facts, ModelFacts):
        return
    has = {tensor.name: tensor for tensor in facts.inputs}
    inputs = ", ".join(f"{_spell(tensor)} of type {tensor.dtype}" for tensor in facts.inputs) or "no inputs"
    declared = workflow.cloud.model.inputs
    for name, shape in declared.items():
        if name not in has:
            yield Violation(
                (*INPUTS, name),
                f"the model has no input {name!r}",
                did_you_mean(name, has) or f"the model has {inputs}",
            )
        elif min(shape, default=0) > 0 and not _fits(shape, has[name].shape):
            message = f"the model's input {_spell(has[name])} is declared as {list(shape)}"
            yield Violation((*INPUTS, name), message, f"write {list(has[name].shape)}")
    # A misspelt one has been reported above.
    if len(declared) < len(has):
        for name in has.keys() - declared.keys():
            yield Violation(INPUTS, f"the model's input {name!r} is not declared", f"the model has {inputs}")


def input_types(workflow: Workflow) -> Iterator[Violation]:
    given, declared = workflow.cloud.model.input_types, workflow.cloud.model.inputs
    facts = model_in_file(workflow)
    has = {tensor.name: tensor for tensor in facts.inputs} if isinstance(facts, ModelFacts) else {}
    for name, kind in given.items():
        if name not in declared:
            mend = did_you_mean(name, declared) or f"cloud.model.inputs has: {', '.join(declared)}"
            yield Violation(
                (*TYPES, name), f"{format_path(TYPES)} names {name!r}, which cloud.model.inputs does not", mend
            )
        elif name in has and has[name].dtype != kind:
            message = f"the model's input {name!r} is {has[name].dtype}, declared as {kind}"
            yield Violation((*TYPES, name), message, f"write {has[name].dtype}, or take the model that was meant")


def labels_of_classes(workflow: Workflow) -> Iterator[Violation]:
    """As the edge component counts: one label a class, or one a class after the offset.

    How many classes a detector has is not always in its outputs' shapes, so it takes the labels as they are.
    """
    if workflow.edge.model_io.task == "detection":
        return
    facts, found, offset = model_in_file(workflow), _labels(workflow), workflow.edge.model_io.class_offset
    if not isinstance(facts, ModelFacts) or len(facts.outputs) != 1:
        return
    classes = class_values(facts.outputs[0].shape)
    if classes is None:
        return
    if offset >= max(classes, 2):
        place: KeyPath = ("edge", "model_io", "class_offset")
        yield Violation(place, f"an offset of {offset} leaves none of the model's {max(classes, 2)} classes")
    elif isinstance(found, tuple) and len(found) not in label_counts(classes, offset):
        mend = "one line for each class" + (f", or for each after the first {offset}" if offset else "")
        yield Violation(LABELS, f"{len(found)} labels for a model with {max(classes, 2)} classes", mend)


def _fits(declared: tuple[int, ...], has: tuple[int, ...]) -> bool:
    """A size that the model leaves open (-1) can be declared as any."""
    return len(declared) == len(has) and all(there in (-1, size) for size, there in zip(declared, has, strict=True))


def _spell(tensor: TensorFacts) -> str:
    return f"{tensor.name!r} {list(tensor.shape)}"


def model_in_file(workflow: Workflow) -> ModelFacts | Problem | None:
    """What the model file holds, or what is wrong with it; None where it is not there, or not to be read."""
    name = workflow.cloud.model.artifact
    readable = "://" not in name and (is_archive(name) or is_tflite(name)) and is_beside(workflow, name)
    return _once(check_model, Path(workflow.folder, name)) if readable else None


def _labels(workflow: Workflow) -> tuple[str, ...] | Problem | None:
    name = workflow.edge.model_io.labels
    return None if name is None or not is_beside(workflow, name) else _once(check_labels, Path(workflow.folder, name))


def _once(read: Callable[[Path], Content], path: Path) -> Content | Problem | None:
    """What a file holds, or what is wrong with it; None where there is no file. Several rules want to know."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        return Problem(_unreadable(error), where=str(path), mend="change the path")
    found: Content | Problem = _kept(read, path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return found


def _unreadable(error: OSError | ValueError) -> str:
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


@functools.lru_cache(maxsize=16)
def _kept(read: Callable[[Path], Content], path: Path, _: tuple[int, ...]) -> Content | Problem:
    try:
        return read(path)
    except Problem as problem:
        return problem
