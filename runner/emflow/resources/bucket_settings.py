"""What a bucket can be set to: how each setting is read, what it should be, how it is written.

Whoever else put something into a policy or a lifecycle keeps it: ours are found by their names (`Sid`, `ID`), and only
those are written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.errors import status
from emflow.resources.iam.policy_documents import as_list
from emflow.resources.ownership import by_key, listed

PRIVATE = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
KMS = "aws:kms"
ENCRYPTED = {"algorithm": "AES256"}
EXPIRY_RULE = "emflow-captures-"
"""Begins the name of the rule that lets captures expire; the workflow's name follows."""

AT_LEAST_ENCRYPTED = ("AES256", KMS, "aws:kms:dsse")


@dataclass(frozen=True)
class Expiry:
    """Objects under a prefix go after so many days; where there are versions, the old ones a day later."""

    prefix: str
    days: int


def encryption(have: Mapping[str, Any] | None, kms_key: str | None) -> dict[str, Any]:
    """With our key, when there is one; else whatever is there, if that is encryption at all."""
    if kms_key:
        return {"algorithm": KMS, "key": kms_key}
    return dict(have) if have and have["algorithm"] in AT_LEAST_ENCRYPTED else ENCRYPTED


def versioning(have: str | None, want: bool | None) -> str | None:
    """`Enabled` or `Suspended`; a bucket that never had versions has None, and needs no suspending."""
    match want:
        case None:
            return have
        case True:
            return "Enabled"
        case False:
            return "Suspended" if have else None


def with_expiry(
    rules: list[dict[str, Any]] | None, workflow: str, expiry: Expiry | None
) -> list[dict[str, Any]] | None:
    """Lifecycle rules with ours among them, or without when nothing expires; everybody else's as they were."""
    ours = f"{EXPIRY_RULE}{workflow}"
    others = [rule for rule in rules or () if rule.get("ID") != ours]
    if expiry is None:
        return others or None
    rule = {
        "ID": ours,
        "Filter": {"Prefix": expiry.prefix},
        "Status": "Enabled",
        "Expiration": {"Days": expiry.days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }
    return list(rules) if rules and rule in rules else [*others, rule]


def tls_only(arn: str) -> dict[str, Any]:
    """The statement that refuses plain HTTP, as S3 stores it."""
    return {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def with_statement(policy: Mapping[str, Any] | None, statement: Mapping[str, Any]) -> dict[str, Any]:
    """A policy with our statement in it, and with everybody else's as they were."""
    if policy is None:
        return {"Version": "2012-10-17", "Statement": [statement]}
    there = as_list(policy.get("Statement"))
    if statement in there:
        return dict(policy)
    others = [each for each in there if each.get("Sid") != statement["Sid"]]
    return {**policy, "Statement": [*others, statement]}


def _unless_missing(read: Callable[[], Any]) -> Any:
    """S3 answers 404 for a setting that was never made; that is None, not an error."""
    try:
        return read()
    except ClientError as error:
        if status(error) == 404:
            return None
        raise


def _read_encryption(s3: Any, bucket: str) -> dict[str, Any] | None:
    answer = _unless_missing(lambda: s3.get_bucket_encryption(Bucket=bucket))
    if answer is None:
        return None
    default = answer["ServerSideEncryptionConfiguration"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    key = default.get("KMSMasterKeyID")
    return {"algorithm": default["SSEAlgorithm"], **({"key": key} if key else {})}


def _write_encryption(s3: Any, bucket: str, value: Mapping[str, Any]) -> None:
    default = {"SSEAlgorithm": value["algorithm"]}
    rule: dict[str, Any] = {"ApplyServerSideEncryptionByDefault": default}
    if "key" in value:
        default["KMSMasterKeyID"] = value["key"]
        rule["BucketKeyEnabled"] = True  # one call to KMS for many objects: as safe, and far cheaper
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


def _write_lifecycle(s3: Any, bucket: str, rules: list[dict[str, Any]] | None) -> None:
    if rules:
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    else:
        s3.delete_bucket_lifecycle(Bucket=bucket)


READERS: dict[str, Callable[[Any, str], Any]] = {
    "tags": lambda s3, b: _unless_missing(lambda: by_key(s3.get_bucket_tagging(Bucket=b)["TagSet"])) or {},
    "public_access": lambda s3, b: _unless_missing(
        lambda: s3.get_public_access_block(Bucket=b)["PublicAccessBlockConfiguration"]
    ),
    "ownership": lambda s3, b: _unless_missing(
        lambda: s3.get_bucket_ownership_controls(Bucket=b)["OwnershipControls"]["Rules"][0]["ObjectOwnership"]
    ),
    "encryption": _read_encryption,
    "policy": lambda s3, b: _unless_missing(lambda: json.loads(s3.get_bucket_policy(Bucket=b)["Policy"])),
    "versioning": lambda s3, b: _unless_missing(lambda: s3.get_bucket_versioning(Bucket=b).get("Status")),
    "lifecycle": lambda s3, b: _unless_missing(lambda: s3.get_bucket_lifecycle_configuration(Bucket=b)["Rules"]),
}

WRITERS: dict[str, Callable[[Any, str, Any], Any]] = {
    # All tags of a bucket are written at once; what others put is among the new ones.
    "tags": lambda s3, b, v: s3.put_bucket_tagging(Bucket=b, Tagging={"TagSet": listed(v)}),
    "public_access": lambda s3, b, v: s3.put_public_access_block(Bucket=b, PublicAccessBlockConfiguration=v),
    "ownership": lambda s3, b, v: s3.put_bucket_ownership_controls(
        Bucket=b, OwnershipControls={"Rules": [{"ObjectOwnership": v}]}
    ),
    "encryption": _write_encryption,
    "policy": lambda s3, b, v: s3.put_bucket_policy(Bucket=b, Policy=json.dumps(v)),
    "versioning": lambda s3, b, v: s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": v}),
    "lifecycle": _write_lifecycle,
}
