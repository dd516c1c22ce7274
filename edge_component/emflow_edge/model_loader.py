"""Keeps one model loaded in the agent, and adapts it to the current settings."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import socket
import threading
from typing import Callable

from emflow_edge.inference.agent_client import AgentClient, LoadStopped
from emflow_edge.model_adapter import ModelAdapter, adapt_model
from emflow_edge.model_spec import ModelSpec
from emflow_edge.settings.config import Settings
from emflow_edge.vision.learned import LearnedProperties
from emflow_schema.edge_config import ModelIO
from emflow_schema.errors import EdgeProblem
from emflow_schema.model_facts import file_identity

log = logging.getLogger(__name__)


class ModelLoader:
    """A thread that loads the model when the agent can be reached, and again when it was lost.

    Args:
        ready: called with agent, model adapter and settings, whenever one of them is new.
        refused: called with the problem and the settings, when the model cannot be loaded or they do not fit it.
        gives_up: whether to go on waiting for the agent is pointless, after so many seconds in which it could not be
            used, or had no memory (True); `refused` is called then.
    """

    def __init__(
        self,
        settings: Settings,
        ready: Callable[[AgentClient, ModelAdapter, Settings], object],
        refused: Callable[[EdgeProblem, Settings], object],
        gives_up: Callable[[float, bool], bool] = lambda _seconds, _no_memory: False,
    ) -> None:
        self._settings, self._ready, self._refused = settings, ready, refused
        self._known: object = None
        self._learned = LearnedProperties()
        self._stop, self._wanted = threading.Event(), threading.Event()
        self.agent = AgentClient(
            *(settings.agent_socket, settings.model_name, settings.model_folder, self._stop, settings.agent_users),
            gives_up,
        )
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)

    def start(self) -> None:
        self._wanted.set()
        self._thread.start()

    def is_for(self, settings: Settings) -> bool:
        """Whether the settings name the same agent and model, whose files are the same too."""
        return settings.model == self._settings.model

    def check(self, settings: Settings) -> None:
        """Check settings against the model, if it is loaded.

        Raises:
            EdgeProblem: they do not fit.
        """
        model = self.agent.loaded_model
        # Settings that come with another model in the same folder are for that one.
        same = self.is_for(settings) and settings.model_content == self._settings.model_content
        if model is not None and same and not _same_adapter(settings, self._settings):
            adapt_model(model, settings)

    def use_settings(self, settings: Settings) -> None:
        """Adapt the model to other settings."""
        self._settings = settings
        self._wanted.set()

    def reload(self) -> None:
        """Check that the model is loaded; load it again if not."""
        self._wanted.set()

    def close(self) -> None:
        """Unload the model and disconnect."""
        self._stop.set()
        self._wanted.set()
        self.agent.close()

    def join(self, timeout: float) -> bool:
        """Wait for the thread, which may still be loading; whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        adapter, adapted = None, self._settings
        # Those for which the folder is known to hold the loaded model.
        checked: Settings | None = None
        while True:
            self._wanted.wait()
            self._wanted.clear()
            settings = self._settings
            try:
                # Other settings may come with another model in the same folder, as a new version of it does.
                model = self.agent.ensure_loaded(check_folder=checked is not None and settings != checked)
                checked = settings
                # Also for a model that equals the previous one: its file may be another one with the same tensors. And
                # a lost model is reported with its object, so that the loss of the previous one does not count.
                if adapter is None or adapter.model is not model or not _same_adapter(settings, adapted):
                    adapter, adapted = adapt_model(model, settings, self._learned_of(model, settings)), settings
            except LoadStopped:
                return
            except EdgeProblem as problem:
                self._refused(problem, settings)
                continue
            except Exception as error:
                # Whatever an agent's answer brings about, it is the model that does not work.
                log.debug("unexpected error", exc_info=True)
                why = f"model {settings.model_name}: unexpected error: {type(error).__name__}: {error}"
                self._refused(EdgeProblem(why), settings)
                continue
            self._ready(self.agent, adapter, settings)

    def _learned_of(self, model: ModelSpec, settings: Settings) -> LearnedProperties:
        """What is known about this model: kept over other settings and a restart of the agent, as long as its file is
        the same, and what goes into it and what is read from its outputs."""
        if model.content is not None:
            file: object = (model.input, model.outputs, model.content.digests)
        else:
            file = (model, file_identity(settings.model_folder) or self.agent.loads)
        known = (file, _reading(settings.model_io), len(settings.label_lines or ()))
        if known != self._known:
            self._known, self._learned = known, LearnedProperties()
        return self._learned


def is_listening(path: str) -> bool:
    """Whether a program listens on a Unix socket."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        client.connect(path)
        return True
    return False


def _same_adapter(one: Settings, other: Settings) -> bool:
    return _adapting(one) == _adapting(other)


def _adapting(settings: Settings) -> tuple[object, ...]:
    return settings.model_io, settings.label_lines, settings.quantized


def _reading(model_io: ModelIO) -> ModelIO:
    """What decides which values a model's outputs have, and what they are taken for."""
    plain = ModelIO()
    return dataclasses.replace(model_io, labels=plain.labels, top_k=plain.top_k, threshold=plain.threshold)
