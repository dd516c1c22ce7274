"""The settings of a bucket: what each is, what it should be, and how it is written.

Each setting has a reader, a desired value and a writer. What others put into a policy or a lifecycle stays: the
workflow's own entries are found by their names (`Sid`, `ID`), and only those are written. What others set, and emflow
leaves, is shown as notes: a lifecycle rule may remove captures, a policy may let others read them, and a key may keep
devices from writing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.errors import http_status
from emflow.json_text import from_json, to_json
from emflow.resources.iam.policy_documents import as_list
from emflow.resources.ownership import tags_as_list, tags_as_mapping
from emflow.resources.s3.bucket_users import EXPIRY_RULE

PRIVATE = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
KMS = "aws:kms"
ENCRYPTED = {"algorithm": "AES256"}

AT_LEAST_ENCRYPTED = ("AES256", KMS, "aws:kms:dsse")


@dataclass(frozen=True)
class Expiry:
    """Objects under a prefix go after so many days; where there are versions, the old ones a day later."""

    prefix: str
    days: int


def notes(have: Mapping[str, Any], kms_key: str | None) -> tuple[str, ...]:
    """Notes on a bucket as it is observed. `kms_key`: the workflow's, None where it names none."""
    return (
        *_lifecycle(have.get("lifecycle")),
        *_policy(have.get("policy")),
        *_encryption(have.get("encryption"), kms_key),
    )


def _lifecycle(rules: list[dict[str, Any]] | None) -> Iterator[str]:
    for rule in rules or ():
        name, days = rule.get("ID") or "without a name", _removes(rule)
        if days and rule.get("Status") == "Enabled" and not str(name).startswith(EXPIRY_RULE):
            yield f"lifecycle rule {name}, not made by emflow, removes {_objects(rule)} {days}"


def _removes(rule: Mapping[str, Any]) -> str:
    """When a rule removes objects; empty when it does not. Old versions alone are no loss of what is there."""
    expiration = rule.get("Expiration", {})
    if "Days" in expiration:
        return f"after {expiration['Days']} d"
    return f"on {expiration['Date']:%Y-%m-%d}" if "Date" in expiration else ""


def _objects(rule: Mapping[str, Any]) -> str:
    chosen = rule.get("Filter") or {}
    chosen = chosen.get("And", chosen)
    prefix = chosen.get("Prefix") or rule.get("Prefix", "")
    which = "some objects" if chosen.keys() - {"Prefix"} else "all objects"
    return f"{which} under {prefix}" if prefix else which


def _policy(policy: Mapping[str, Any] | None) -> Iterator[str]:
    for statement in as_list((policy or {}).get("Statement")):
        if statement.get("Effect") == "Allow":
            name = statement.get("Sid") or "without a name"
            actions = ", ".join(map(str, as_list(statement.get("Action")))) or "all actions but some"
            to = ", ".join(_principals(statement.get("Principal"))) or "everybody but some"
            under = " under conditions" if statement.get("Condition") else ""
            yield f"policy statement {name}, not made by emflow, allows {actions} to {to}{under}"


def _principals(principal: Any) -> list[str]:
    if isinstance(principal, Mapping):
        return [str(each) for group in principal.values() for each in as_list(group)]
    return [str(each) for each in as_list(principal)]


def _encryption(have: Mapping[str, Any] | None, kms_key: str | None) -> Iterator[str]:
    if have and not kms_key and have["algorithm"] != ENCRYPTED["algorithm"]:
        key = have.get("key")
        # All users of S3 in the account may use the account's own key for S3, but not another key.
        rights = f", with the key {key}; the workflow does not name it, and gives devices and jobs no right to use it"
        yield f"encryption is {have['algorithm']}, not set by emflow{rights if key else ''}"


def encryption(have: Mapping[str, Any] | None, kms_key: str | None) -> dict[str, Any]:
    """With the workflow's key where it names one; else as it is, if that is encryption at all."""
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
    """Lifecycle rules with the workflow's own, or without it when nothing expires; other rules stay as they are."""
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
    """A policy with a statement of ours in it; other statements stay as they are."""
    if policy is None:
        return {"Version": "2012-10-17", "Statement": [statement]}
    there = as_list(policy.get("Statement"))
    if statement in there:
        return dict(policy)
    others = [each for each in there if each.get("Sid") != statement["Sid"]]
    return {**policy, "Statement": [*others, statement]}


def _none_if_404(read: Callable[[], Any]) -> Any:
    """S3 answers 404 for a setting that was never made: then None."""
    try:
        return read()
    except ClientError as error:
        if http_status(error) == 404:
            return None
        raise


def _read_encryption(s3: Any, bucket: str) -> dict[str, Any] | None:
    answer = _none_if_404(lambda: s3.get_bucket_encryption(Bucket=bucket))
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
    "tags": lambda s3, b: _none_if_404(lambda: tags_as_mapping(s3.get_bucket_tagging(Bucket=b)["TagSet"])) or {},
    "public_access": lambda s3, b: _none_if_404(
        lambda: s3.get_public_access_block(Bucket=b)["PublicAccessBlockConfiguration"]
    ),
    "ownership": lambda s3, b: _none_if_404(
        lambda: s3.get_bucket_ownership_controls(Bucket=b)["OwnershipControls"]["Rules"][0]["ObjectOwnership"]
    ),
    "encryption": _read_encryption,
    "policy": lambda s3, b: _none_if_404(lambda: from_json(s3.get_bucket_policy(Bucket=b)["Policy"])),
    "versioning": lambda s3, b: _none_if_404(lambda: s3.get_bucket_versioning(Bucket=b).get("Status")),
    "lifecycle": lambda s3, b: _none_if_404(lambda: s3.get_bucket_lifecycle_configuration(Bucket=b)["Rules"]),
}

WRITERS: dict[str, Callable[[Any, str, Any], Any]] = {
    # All tags of a bucket are written at once; what others put is among the new ones.
    "tags": lambda s3, b, v: s3.put_bucket_tagging(Bucket=b, Tagging={"TagSet": tags_as_list(v)}),
    "public_access": lambda s3, b, v: s3.put_public_access_block(Bucket=b, PublicAccessBlockConfiguration=v),
    "ownership": lambda s3, b, v: s3.put_bucket_ownership_controls(
        Bucket=b, OwnershipControls={"Rules": [{"ObjectOwnership": v}]}
    ),
    "encryption": _write_encryption,
    "policy": lambda s3, b, v: s3.put_bucket_policy(Bucket=b, Policy=to_json(v)),
    "versioning": lambda s3, b, v: s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": v}),
    "lifecycle": _write_lifecycle,
}
