"""The account and the region of a call, and ARNs in them."""

from __future__ import annotations

from dataclasses import dataclass

ACCOUNT = "123456789012"
"""The only account of the embedded AWS; it is moto's default, so moto's services use the same."""

REGION = "us-east-1"
"""The region of calls without a region."""


@dataclass(frozen=True)
class AccountRegion:
    """One account in one region."""

    region: str = REGION
    account: str = ACCOUNT

    def arn(self, service: str, resource: str, account: str | None = None) -> str:
        return f"arn:aws:{service}:{self.region}:{account or self.account}:{resource}"
