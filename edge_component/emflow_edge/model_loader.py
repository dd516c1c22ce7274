"""One model of one agent, kept loaded for as long as it is wanted, and fitted to the settings."""

from __future__ import annotations

import dataclasses
import threading
from typing import Callable

from emflow_edge.inference.agent_client import AgentClient, LoadStopped
from emflow_edge.model_adapter import ModelAdapter, adapt_model
from emflow_edge.settings.config import Settings
from emflow_schema.errors import EdgeProblem


class ModelLoader:
    """The thread that loads the model, waits for its agent, and loads it again when somebody says that it has gone.

    Args:
        ready: called with the agent, what fits its model, and the settings, whenever one of them is new.
        refused: called with why, and with the settings, when the model cannot be loaded or they do not fit it.
    """

    def __init__(
        self,
        settings: Settings,
        ready: Callable[[AgentClient, ModelAdapter, Settings], object],
        refused: Callable[[EdgeProblem, Settings], object],
    ) -> None:
        self._settings, self._ready, self._refused = settings, ready, refused
        self._stop, self._wanted = threading.Event(), threading.Event()
        self.agent = AgentClient(settings.agent_socket, settings.model_name, settings.model_folder, self._stop)
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)

    def start(self) -> None:
        self._wanted.set()
        self._thread.start()

    def is_for(self, settings: Settings) -> bool:
        """Whether settings name this agent and this model."""
        return _model(settings) == _model(self._settings)

    def check(self, settings: Settings) -> None:
        """Whether settings fit the model, as far as that can be told before it is loaded.

        Raises:
            EdgeProblem: what does not fit.
        """
        model = self.agent.loaded_model
        if model is not None and self.is_for(settings) and not _fits_alike(settings, self._settings):
            adapt_model(model, settings)

    def use(self, settings: Settings) -> None:
        """Fit the model for other settings."""
        self._settings = settings
        self._wanted.set()

    def for_another_thread(self) -> None:
        """Look whether the model is loaded."""
        self._wanted.set()

    def close(self) -> None:
        """Unload, and hang up."""
        self._stop.set()
        self._wanted.set()
        self.agent.close()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end, which may be loading yet; whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        fitting, fitted = None, self._settings
        while True:
            self._wanted.wait()
            self._wanted.clear()
            settings = self._settings
            try:
                model = self.agent.ensure_loaded()
                if fitting is None or fitting.model != model or not _fits_alike(settings, fitted):
                    fitting, fitted = adapt_model(model, settings), settings
                # The very model of this load, though it be equal to that of the last: whoever finds it gone says so by
                # it, and one that is gone already must not take the next one along.
                if fitting.model is not model:
                    fitting = dataclasses.replace(fitting, model=model)
            except LoadStopped:
                return
            except EdgeProblem as problem:
                self._refused(problem, settings)
                continue
            self._ready(self.agent, fitting, settings)


def _model(settings: Settings) -> tuple[object, ...]:
    return settings.agent_socket, settings.model_name, settings.model_folder


def _fits_alike(one: Settings, other: Settings) -> bool:
    return (one.model_io, one.quantized) == (other.model_io, other.quantized)
