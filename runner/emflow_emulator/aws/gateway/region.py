"""A region of the embedded AWS: its Greengrass and its SageMaker, each with one call at a time."""

from __future__ import annotations

import re
from typing import Any

from emflow_emulator.aws import protocol
from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.greengrass.service import Greengrass
from emflow_emulator.aws.internal_clients import InternalClients
from emflow_emulator.aws.protocol import Answer
from emflow_emulator.aws.sagemaker.service import SageMaker
from emflow_emulator.aws.tagging import Tagged, Tagging

TAGGING = "resourcegroupstaggingapi"
"""Botocore's name of the tagging API; the name in its signatures is `tagging`."""

_JOB = re.compile(r"/jobs/(?P<id>[^/]+)(/things)?")


class Region:
    """Greengrass, SageMaker and the tagging API of one region, with their state.

    Args:
        account_region: the account and the region.
        clients: clients for S3, IAM and IoT.
        job_seconds: minimum duration of a job.
    """

    def __init__(self, account_region: AccountRegion, clients: InternalClients, job_seconds: float) -> None:
        self._clients = clients
        self.greengrass = Greengrass(account_region, clients, settle_seconds=job_seconds / 5)
        self.sagemaker = SageMaker(account_region, clients, self.greengrass.create_component, job_seconds)

    def answer(self, service: str, environ: dict[str, Any]) -> Answer:
        owner = self.greengrass if service == "greengrassv2" else self.sagemaker
        handlers = self.sagemaker.edge_handlers if service == "sagemaker-edge" else owner.handlers
        with owner.lock:
            return protocol.answer(service, environ, handlers)

    def answer_job(self, environ: dict[str, Any]) -> Answer | None:
        """Answer a request to IoT about the job of a deployment; None for any other request."""
        job = _JOB.fullmatch(environ["PATH_INFO"])
        if environ["REQUEST_METHOD"] != "GET" or not job:
            return None
        with self.greengrass.lock:
            jobs = self.greengrass.jobs
            return protocol.answer("iot", environ, jobs.handlers) if jobs.knows(job["id"]) else None

    def answer_tagging(self, environ: dict[str, Any], iot: Tagged, s3: Tagged) -> Answer:
        """Answer a request to the tagging API. `iot`: the tags of all regions; `s3`: those of this one."""
        here = f"arn:aws:iot:{self._clients.account_region.region}:"
        tagging = Tagging(
            {
                "greengrass": self.greengrass.tagged,
                "sagemaker": self.sagemaker.tagged,
                "iot": lambda: {arn: tags for arn, tags in iot.items() if arn.startswith(here)},
                "s3": lambda: s3,
            }
        )
        return protocol.answer(TAGGING, environ, tagging.handlers)

    def knows(self, thing: str) -> bool:
        """Whether this region's IoT has a thing of this name."""
        iot = self._clients("iot")
        try:
            iot.describe_thing(thingName=thing)
        except iot.exceptions.ResourceNotFoundException:
            return False
        return True

    def report(self, thing: str, document: Any) -> None:
        """Store a core device's status report.

        Raises:
            ApiError: the report is not valid.
        """
        self.greengrass.report(thing, document)

    def stop(self) -> None:
        """Stop the running jobs."""
        self.sagemaker.stop()
