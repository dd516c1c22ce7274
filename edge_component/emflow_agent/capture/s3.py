"""S3 as the place of captured data. boto3 finds credentials, region and endpoint in the environment by itself.

On a Greengrass core, that is the token exchange service's environment. boto3 is imported at the first upload: an agent
that uploads nothing needs none of it, and its import takes a board seconds.
"""

from __future__ import annotations

import logging
from typing import Any

from emflow_agent.capture.jsonl import Batch

log = logging.getLogger(__name__)

# What S3 answers when asking again will help, beside server errors.
TRANSIENT_CODES = frozenset(
    (
        "ExpiredToken",
        "RequestTimeout",
        "RequestTimeTooSkewed",
        "SlowDown",
        "ThrottlingException",
        "TooManyRequestsException",
    )
)


class S3Unreachable(Exception):
    """There is no network, or S3 is in trouble: worth trying again."""


class UploadRejected(Exception):
    """S3 does not take it, or boto3 cannot send it, and somebody has to mend that."""


class UploadNotConfigured(UploadRejected):
    """What is missing is missing for every batch."""


class CaptureBucket:
    """One bucket.

    Args:
        name: the bucket's.
        connect_timeout, read_timeout: seconds; with one try a call, because whoever calls tries again in his own time.
    """

    def __init__(self, name: str, connect_timeout: float = 5.0, read_timeout: float = 60.0) -> None:
        self.name = name
        self._timeouts = connect_timeout, read_timeout
        self._client: Any = None

    def store(self, batch: Batch) -> None:
        """Put all objects of a batch, its lines last; whoever reads those finds everything that they refer to.

        Raises:
            Unreachable: try again.
            UploadRejected: with what has to be mended; UploadNotConfigured where that is not this batch's.
        """
        try:
            import botocore.exceptions as wrong
        except ImportError as error:
            raise UploadNotConfigured(f"{error}; uploads need it: pip install boto3") from None
        place = f"s3://{self.name}"
        try:
            client = self._connected()
            for key, data in (*batch.raw, (batch.key, batch.lines)):
                client.put_object(Bucket=self.name, Key=key, Body=data)
        except wrong.ClientError as error:
            said, status = error.response.get("Error", {}), error.response["ResponseMetadata"]["HTTPStatusCode"]
            text = f"{place}: {said.get('Code', status)}: {said.get('Message', '')}"
            raise (S3Unreachable if said.get("Code") in TRANSIENT_CODES or status >= 500 else UploadRejected)(
                text
            ) from None
        except wrong.NoCredentialsError:
            self._client = None  # it would never look for them again
            raise UploadNotConfigured(
                f"{place}: there are no AWS credentials; on a core, deploy aws.greengrass.TokenExchangeService"
            ) from None
        except wrong.NoRegionError as error:
            raise UploadNotConfigured(f"{place}: {error}") from None
        except wrong.ParamValidationError as error:
            raise UploadRejected(f"{place}: {error}") from None
        except (wrong.BotoCoreError, OSError, ValueError) as error:
            # Connections, timeouts, credentials that cannot be had for the moment, pages of a hotel's Wi-Fi.
            raise S3Unreachable(f"{place}: {error}") from None

    def _connected(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            connect, read = self._timeouts
            config = Config(retries={"total_max_attempts": 1}, connect_timeout=connect, read_timeout=read)
            # A session of its own: the default one is not made for threads.
            self._client = boto3.session.Session().client("s3", config=config)
        return self._client
