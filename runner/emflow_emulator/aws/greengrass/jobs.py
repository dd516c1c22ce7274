"""The IoT jobs of deployments to thing groups: how many devices are in which state, and which ones.

AWS IoT counts the states of a job's devices, so that a fleet is seen with one call:
https://docs.aws.amazon.com/iot/latest/apireference/API_DescribeJob.html.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.errors import ApiError
from emflow_emulator.aws.greengrass.cores import Cores
from emflow_emulator.aws.greengrass.deployments import Deployment, Deployments
from emflow_emulator.aws.paging import page
from emflow_emulator.aws.protocol import Handler, Params

_COUNTED = {
    "CANCELED": "numberOfCanceledThings",
    "SUCCEEDED": "numberOfSucceededThings",
    "FAILED": "numberOfFailedThings",
    "REJECTED": "numberOfRejectedThings",
    "QUEUED": "numberOfQueuedThings",
    "IN_PROGRESS": "numberOfInProgressThings",
    "REMOVED": "numberOfRemovedThings",
    "TIMED_OUT": "numberOfTimedOutThings",
}


class Jobs:
    """The jobs of one region's deployments."""

    def __init__(self, account_region: AccountRegion, deployments: Deployments, cores: Cores) -> None:
        self._account_region = account_region
        self._deployments = deployments
        self._cores = cores

    @property
    def handlers(self) -> dict[str, Handler]:
        """Operations of IoT, for jobs that `knows` knows."""
        return {"DescribeJob": self._describe, "ListJobExecutionsForJob": self._executions}

    def knows(self, job: str) -> bool:
        """Whether a job is that of a deployment."""
        deployment = self._deployments.find(job)
        return deployment is not None and not deployment.to_thing

    def _describe(self, params: Params) -> dict[str, Any]:
        deployment = self._at(params)
        counts = Counter(self._states(deployment).values())
        job = {
            **deployment.job,
            "jobId": deployment.id,
            "jobArn": self._account_region.arn("iot", f"job/{deployment.id}"),
            "targetSelection": "CONTINUOUS",
            "status": "IN_PROGRESS" if deployment.status == "ACTIVE" else "CANCELED",
            "targets": [deployment.target],
            "createdAt": deployment.created,
            "jobProcessDetails": {member: counts[state] for state, member in _COUNTED.items()},
        }
        return {"job": job}

    def _executions(self, params: Params) -> dict[str, Any]:
        states = self._states(self._at(params))
        found = [(thing, state) for thing, state in sorted(states.items()) if params.get("status") in (None, state)]
        listed, token = page(found, params)
        return {
            "executionSummaries": [
                {
                    "thingArn": self._account_region.arn("iot", f"thing/{thing}"),
                    "jobExecutionSummary": {"status": state},
                }
                for thing, state in listed
            ],
            "nextToken": token,
        }

    def _states(self, deployment: Deployment) -> dict[str, str]:
        """The state of each device of the deployment's group, in the words of jobs."""
        reported = self._cores.executions(deployment)
        return {thing: "SUCCEEDED" if state == "COMPLETED" else state for thing, state in reported.items()}

    def _at(self, params: Params) -> Deployment:
        deployment = self._deployments.find(params["jobId"])
        if deployment is None:  # deleted since `knows`
            raise ApiError("ResourceNotFoundException", f"Job {params['jobId']} cannot be found.")
        return deployment
