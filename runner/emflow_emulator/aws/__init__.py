"""The embedded AWS: the services that a workflow uses, in this process, on loopback, for any SDK.

S3, IAM, STS, IoT, KMS and Secrets Manager are moto's. Greengrass V2 and SageMaker's Neo and Edge Manager are written
here: their requests are parsed and checked against botocore's service models, and their jobs read and write the objects
in S3. All state is in memory and is lost when the process ends.
"""

from __future__ import annotations

from emflow_emulator.aws.account_region import ACCOUNT, REGION
from emflow_emulator.aws.gateway.server import EmbeddedAws

__all__ = ["ACCOUNT", "REGION", "EmbeddedAws"]
