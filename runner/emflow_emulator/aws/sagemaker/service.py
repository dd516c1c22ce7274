"""SageMaker of one region: all its operations."""

from __future__ import annotations

import threading

from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.internal_clients import InternalClients
from emflow_emulator.aws.protocol import Handler
from emflow_emulator.aws.sagemaker.compilation import CompilationJobs
from emflow_emulator.aws.sagemaker.fleets import Fleets
from emflow_emulator.aws.sagemaker.packaging import CreateComponent, PackagingJobs
from emflow_emulator.aws.sagemaker.tags import Tags


class SageMaker:
    """The operations of SageMaker for edge devices.

    Args:
        account_region: the account and the region.
        clients: clients for S3, IAM and IoT.
        create_component: makes a Greengrass component version from a recipe and tags.
        job_seconds: minimum duration of a job.
    """

    def __init__(
        self,
        account_region: AccountRegion,
        clients: InternalClients,
        create_component: CreateComponent,
        job_seconds: float,
    ) -> None:
        self.lock = threading.RLock()
        tags = self._tags = Tags()
        self._compilation_jobs = CompilationJobs(account_region, clients, tags, job_seconds)
        self._packaging_jobs = PackagingJobs(
            account_region, clients, tags, self._compilation_jobs, create_component, job_seconds
        )
        fleets = Fleets(account_region, clients, tags)
        self.edge_handlers = fleets.edge_handlers
        self.handlers: dict[str, Handler] = {
            **fleets.handlers,
            **self._compilation_jobs.handlers,
            **self._packaging_jobs.handlers,
            **tags.handlers,
        }

    def tagged(self) -> dict[str, dict[str, str]]:
        """The tags of fleets, devices and jobs, by ARN."""
        with self.lock:
            return self._tags.tagged()

    def stop(self) -> None:
        """Stop all jobs, and wait for their end."""
        with self.lock:
            self._compilation_jobs.stop()
            self._packaging_jobs.stop()
