"""S3 buckets: private, owner-enforced, encrypted, TLS only.

Semantics: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html. In us-east-1 a bucket is created
without a location constraint, elsewhere with one; BucketAlreadyOwnedByYou means that an earlier run got this far.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import code, status
from emflow.engine.resource import Diff, Inputs, Observed, Outputs, Run
from emflow.engine.work import together
from emflow.problems import Problem
from emflow.resources.marks import NOT_OURS, Mark, by_key, refuse_foreign

PRIVATE = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
ENCRYPTED = "AES256"
AT_LEAST_ENCRYPTED = (ENCRYPTED, "aws:kms", "aws:kms:dsse")


@dataclass(frozen=True)
class Bucket:
    """An S3 bucket as the workflow wants it."""

    name: str
    region: str
    partition: str
    mark: Mark
    adopted: bool = False

    @property
    def id(self) -> str:
        return self.mark.resource

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    @property
    def arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.name}"

    def observe(self, clients: Clients) -> Observed | None:
        s3 = clients("s3")
        reads: dict[str, Callable[[], Any]] = {"exists": partial(self._exists, s3)}
        reads |= {name: partial(read, s3, self.name) for name, read in READERS.items()}
        found = together(reads)
        return found if found.pop("exists") else None

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        have = observed or {}
        encryption = have.get("encryption")
        want = {
            "public_access": PRIVATE,
            "ownership": "BucketOwnerEnforced",
            "encryption": encryption if encryption in AT_LEAST_ENCRYPTED else ENCRYPTED,
            "policy": with_statement(have.get("policy"), tls_only(self.arn)),
        }
        diff = Diff.between(want, observed, outputs={"name": self.name, "arn": self.arn})
        if observed is not None:
            refuse_foreign(f"bucket {self.name}", self.mark, have["tags"], diff.changes, adopted=self.adopted)
        return diff

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: Run) -> Outputs:
        s3 = clients("s3")
        if self._create(s3, run):
            # First of all, so that a bucket of ours is known as ours wherever this is interrupted.
            s3.put_bucket_tagging(Bucket=self.name, Tagging={"TagSet": self.mark.tag_list()})
        for change in diff.changes:
            WRITERS[change.field](s3, self.name, change.new)
        return diff.outputs

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        if not self.mark.is_on(observed["tags"]):
            return NOT_OURS
        return None if delete_data else "it holds data; --delete-data removes it and everything in it"

    def delete(self, clients: Clients, run: Run) -> None:
        s3 = clients("s3")
        run.waiting("emptying")
        # A bucket without versions lists its objects there too, with the version "null".
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=self.name):
            listed = page.get("Versions", []) + page.get("DeleteMarkers", [])
            if listed:
                keys = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed]
                s3.delete_objects(Bucket=self.name, Delete={"Objects": keys, "Quiet": True})
        s3.delete_bucket(Bucket=self.name)

    def _exists(self, s3: Any) -> bool:
        try:
            region = s3.head_bucket(Bucket=self.name).get("BucketRegion", self.region)
        except ClientError as error:
            match status(error):
                case 404:
                    return False
                case 403:
                    raise self._taken() from error
                case _:
                    raise
        if region != self.region:
            raise Problem(
                f"bucket {self.name} is in {region}, the workflow in {self.region}; jobs need it in their own region",
                where="s3:HeadBucket",
                mend="Change aws.region, or choose another bucket name.",
            )
        return True

    def _create(self, s3: Any, run: Run) -> bool:
        """Create it unless it is there; whether that was needed."""
        try:
            s3.head_bucket(Bucket=self.name)
            return False
        except ClientError as error:
            if status(error) != 404:
                raise
        place = {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        for attempt in range(10):
            try:
                s3.create_bucket(Bucket=self.name, **place)
                return True
            except s3.exceptions.BucketAlreadyOwnedByYou:
                return True
            except s3.exceptions.BucketAlreadyExists as error:
                raise self._taken() from error
            except ClientError as error:
                # S3 is still busy with an earlier change of this name, often its deletion.
                if code(error) != "OperationAborted" or attempt == 9:
                    raise
                run.waiting("busy", "S3 has another change of this bucket under way")
                run.pause(6.0)
        return False

    def _taken(self) -> Problem:
        return Problem(
            f"bucket {self.name} belongs to another AWS account; bucket names are global",
            where="s3:HeadBucket",
            mend="Choose another prefix, for instance with --var prefix=…",
        )


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
    if statement in policy["Statement"]:
        return dict(policy)
    others = [each for each in policy["Statement"] if each.get("Sid") != statement["Sid"]]
    return {**policy, "Statement": [*others, statement]}


def _unless_missing(read: Callable[[], Any]) -> Any:
    """S3 answers 404 for a setting that was never made; that is None, not an error."""
    try:
        return read()
    except ClientError as error:
        if status(error) == 404:
            return None
        raise


def _read_encryption(s3: Any, bucket: str) -> str | None:
    answer = _unless_missing(lambda: s3.get_bucket_encryption(Bucket=bucket))
    if answer is None:
        return None
    rule = answer["ServerSideEncryptionConfiguration"]["Rules"][0]
    return str(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"])


READERS: dict[str, Callable[[Any, str], Any]] = {
    "public_access": lambda s3, b: _unless_missing(
        lambda: s3.get_public_access_block(Bucket=b)["PublicAccessBlockConfiguration"]
    ),
    "ownership": lambda s3, b: _unless_missing(
        lambda: s3.get_bucket_ownership_controls(Bucket=b)["OwnershipControls"]["Rules"][0]["ObjectOwnership"]
    ),
    "encryption": _read_encryption,
    "policy": lambda s3, b: _unless_missing(lambda: json.loads(s3.get_bucket_policy(Bucket=b)["Policy"])),
    "tags": lambda s3, b: _unless_missing(lambda: by_key(s3.get_bucket_tagging(Bucket=b)["TagSet"])) or {},
}

WRITERS: dict[str, Callable[[Any, str, Any], Any]] = {
    "public_access": lambda s3, b, v: s3.put_public_access_block(Bucket=b, PublicAccessBlockConfiguration=v),
    "ownership": lambda s3, b, v: s3.put_bucket_ownership_controls(
        Bucket=b, OwnershipControls={"Rules": [{"ObjectOwnership": v}]}
    ),
    "encryption": lambda s3, b, v: s3.put_bucket_encryption(
        Bucket=b,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": v}}]},
    ),
    "policy": lambda s3, b, v: s3.put_bucket_policy(Bucket=b, Policy=json.dumps(v)),
}
