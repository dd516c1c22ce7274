"""One region of the embedded AWS: its Greengrass and its SageMaker, each with one call at a time."""

from __future__ import annotations

from typing import Any

from emflow_emulator.aws import protocol
from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.greengrass.service import Greengrass
from emflow_emulator.aws.internal_clients import InternalClients
from emflow_emulator.aws.protocol import Answer
from emflow_emulator.aws.sagemaker.service import SageMaker
from emflow_emulator.aws.tagging import Tagged, Tagging

TAGGING = "resourcegroupstaggingapi"
"""Botocore's name of the service; requests are signed for `tagging`."""


class Region:
    """The services of ours in one region, with the state they keep there.

    Args:
        account_region: the account and the region.
        clients: how they reach S3, IAM and IoT.
        job_seconds: how long a job takes at least.
    """

    def __init__(self, account_region: AccountRegion, clients: InternalClients, job_seconds: float) -> None:
        self._clients = clients
        self.greengrass = Greengrass(account_region, clients, settle_seconds=job_seconds / 5)
        self.sagemaker = SageMaker(account_region, clients, self.greengrass.create_component, job_seconds)

    def answer(self, service: str, environ: dict[str, Any]) -> Answer:
        owner = self.greengrass if service == "greengrassv2" else self.sagemaker
        with owner.lock:
            return protocol.answer(service, environ, owner.handlers)

    def answer_tagging(self, environ: dict[str, Any], iot: Tagged, s3: Tagged) -> Answer:
        """Answer a request to the tagging API. `iot` and `s3`: the tags of all that they have, in whatever region."""
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
        """Whether IoT has a thing of this name here."""
        iot = self._clients("iot")
        try:
            iot.describe_thing(thingName=thing)
        except iot.exceptions.ResourceNotFoundException:
            return False
        return True

    def report(self, thing: str, document: Any) -> None:
        """Take in what a core device says about itself.

        Raises:
            ApiError: the report makes no sense.
        """
        self.greengrass.report(thing, document)

    def stop(self) -> None:
        """End the jobs that run."""
        self.sagemaker.stop()
