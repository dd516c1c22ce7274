"""SageMaker of one region: its operations put together."""

from __future__ import annotations

import threading

from emflow_emulator.aws.account_region import Place
from emflow_emulator.aws.internal_clients import Neighbours
from emflow_emulator.aws.protocol import Handler
from emflow_emulator.aws.sagemaker.compilation import Compilations
from emflow_emulator.aws.sagemaker.fleets import Fleets
from emflow_emulator.aws.sagemaker.packaging import CreateComponent, Packagings
from emflow_emulator.aws.sagemaker.tags import Tags


class SageMaker:
    """SageMaker's edge half.

    Args:
        place: the account and the region.
        neighbours: how it reaches S3, IAM and IoT.
        create_component: makes a Greengrass component version from a recipe and tags.
        job_seconds: how long a job takes at least.
    """

    def __init__(
        self, place: Place, neighbours: Neighbours, create_component: CreateComponent, job_seconds: float
    ) -> None:
        self.lock = threading.RLock()
        tags = self._tags = Tags()
        self._compilations = Compilations(place, neighbours, tags, job_seconds)
        self._packagings = Packagings(place, neighbours, tags, self._compilations, create_component, job_seconds)
        self.handlers: dict[str, Handler] = {
            **Fleets(place, neighbours, tags).handlers,
            **self._compilations.handlers,
            **self._packagings.handlers,
            **tags.handlers,
        }

    def tagged(self) -> dict[str, dict[str, str]]:
        """The tags of fleets, devices and jobs, by ARN."""
        with self.lock:
            return self._tags.tagged()

    def stop(self) -> None:
        """End all jobs, and wait for them."""
        with self.lock:
            self._compilations.stop()
            self._packagings.stop()
