"""The embedded AWS: the services that a workflow uses, in this process, on loopback, reached by any SDK.

S3, IAM, STS, IoT, KMS and Secrets Manager are moto's. Greengrass V2 and SageMaker's Neo and Edge Manager are ours:
their requests are parsed and checked against botocore's own service models, and their jobs really do their work on
what lies in S3. Everything is kept in memory and gone at the end.
"""

from __future__ import annotations

from emflow_emulator.aws.account_region import ACCOUNT, REGION
from emflow_emulator.aws.gateway.server import EmbeddedAws

__all__ = ["ACCOUNT", "REGION", "EmbeddedAws"]
