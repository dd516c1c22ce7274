"""Uploads captured data to S3. boto3 takes credentials, region and endpoint from the environment.

On a Greengrass core, the token exchange service provides them. boto3 is imported at the first upload: an agent that
does not upload does not need it, and the import takes seconds on a board.
"""

from __future__ import annotations

import logging
from typing import Any

from emflow_agent.capture.jsonl import Batch

log = logging.getLogger(__name__)

# Error codes of S3 after which a retry helps, besides server errors.
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
    """No network, or a temporary error of S3: try again later."""


class UploadRejected(Exception):
    """S3 refuses the upload, or boto3 cannot send it; a person has to fix the cause."""


class UploadNotConfigured(UploadRejected):
    """The cause affects every batch, not only this one."""


class CaptureBucket:
    """An S3 bucket.

    Args:
        name: of the bucket.
        connect_timeout, read_timeout: seconds. There is one attempt for each call; the caller retries.
    """

    def __init__(self, name: str, connect_timeout: float = 5.0, read_timeout: float = 60.0) -> None:
        self.name = name
        self._timeouts = connect_timeout, read_timeout
        self._client: Any = None

    def store(self, batch: Batch) -> None:
        """Upload all objects of a batch, the JSON lines last, so that everything that they refer to exists.

        Raises:
            S3Unreachable: try again later.
            UploadRejected: the cause has to be fixed; UploadNotConfigured where it affects every batch.
        """
        try:
            import botocore.exceptions as exceptions
        except ImportError as error:
            raise UploadNotConfigured(f"{error}; uploads need boto3: pip install boto3") from None
        bucket_url = f"s3://{self.name}"
        try:
            client = self._get_client()
            for key, data in (*batch.raw, (batch.key, batch.lines)):
                client.put_object(Bucket=self.name, Key=key, Body=data)
        except exceptions.ClientError as error:
            details, status = error.response.get("Error", {}), error.response["ResponseMetadata"]["HTTPStatusCode"]
            text = f"{bucket_url}: {details.get('Code', status)}: {details.get('Message', '')}"
            raise (S3Unreachable if details.get("Code") in TRANSIENT_CODES or status >= 500 else UploadRejected)(
                text
            ) from None
        except exceptions.NoCredentialsError:
            self._client = None  # it would not look for credentials again
            raise UploadNotConfigured(
                f"{bucket_url}: no AWS credentials; on a Greengrass core, deploy aws.greengrass.TokenExchangeService"
            ) from None
        except exceptions.NoRegionError as error:
            raise UploadNotConfigured(f"{bucket_url}: {error}") from None
        except exceptions.ParamValidationError as error:
            raise UploadRejected(f"{bucket_url}: {error}") from None
        except (exceptions.BotoCoreError, OSError, ValueError) as error:
            # Connection errors, timeouts, credentials that are not available now, login pages of a Wi-Fi.
            raise S3Unreachable(f"{bucket_url}: {error}") from None

    def _get_client(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            connect, read = self._timeouts
            config = Config(retries={"total_max_attempts": 1}, connect_timeout=connect, read_timeout=read)
            # A separate session: the default one is not thread-safe.
            self._client = boto3.session.Session().client("s3", config=config)
        return self._client
