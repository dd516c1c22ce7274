"""The kind `bucket`: S3 buckets that are private, owner-enforced, encrypted, and refuse plain HTTP.

Semantics: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html. In us-east-1 a bucket is created
without a location constraint, elsewhere with one; BucketAlreadyOwnedByYou means that an earlier run got this far.

Each setting of a bucket has a reader, a desired value and a writer. What others put into a policy or a lifecycle stays:
the workflow's own entries are found by their names (`Sid`, `ID`), and only those are written. What others set, and
emflow leaves, is shown as notes: a lifecycle rule may remove captures, a policy may let others read them, and a key may
keep devices from writing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import error_code, http_status
from emflow.engine.resource import (
    REMOVABLE,
    Diff,
    FieldLabel,
    Inputs,
    Observed,
    Outputs,
    Retention,
    RunContext,
)
from emflow.engine.scheduler import read_parallel
from emflow.problems import Problem
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.iam.policy_documents import as_list
from emflow.resources.iam.role import role_name, role_user
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.orphans import Orphan, Orphans
from emflow.resources.ownership import (
    HOLDS_DATA,
    NOT_OWNED,
    TAGS_LABEL,
    Ownership,
    refuse_unowned_change,
    tags_as_list,
    tags_as_mapping,
)
from emflow.resources.s3.bucket_users import EXPIRY_RULE, BucketUser
from emflow.resources.tag_search import PERMISSION, find_owned
from emflow_schema.units import seconds

COMPONENTS_BUCKET = "bucket/components"
RESULTS_BUCKET = "bucket/inference_results"
OLD_BUCKETS = "orphan/buckets"

ATTEMPTS = 10
"""How often a call is made while S3 is busy with an earlier change of the bucket."""

PRIVATE = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
KMS = "aws:kms"
ENCRYPTED = {"algorithm": "AES256"}

AT_LEAST_ENCRYPTED = ("AES256", KMS, "aws:kms:dsse")


@dataclass(frozen=True)
class Expiry:
    """Objects under a prefix go after so many days; where there are versions, the old ones a day later."""

    prefix: str
    days: int


@dataclass(frozen=True)
class Bucket:
    """An S3 bucket as the workflow wants it.

    Args:
        adopted: it may be changed although the workflow did not make it.
        kms_key: ARN or alias of the key that encrypts its objects; None for S3's own.
        versioning: on, suspended, or as it is.
        expiry: which objects S3 removes after some days; None for none.
    """

    name: str
    region: str
    partition: str
    ownership: Ownership
    adopted: bool = False
    kms_key: str | None = None
    versioning: bool | None = None
    expiry: Expiry | None = None

    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "tags": TAGS_LABEL,
        "public_access": FieldLabel("the block of public access", named_items=True),
        "ownership": FieldLabel("the object ownership"),
        "encryption": FieldLabel("the default encryption"),
        "policy": FieldLabel("the policy"),
        "versioning": FieldLabel("the versioning"),
        "lifecycle": FieldLabel("the list of lifecycle rules"),
    }
    needs: ClassVar[frozenset[str]] = frozenset()
    releases: ClassVar[frozenset[str]] = frozenset()

    @property
    def id(self) -> str:
        return self.ownership.resource

    @property
    def arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.name}"

    def observe(self, clients: Clients) -> Observed | None:
        s3 = clients("s3")
        reads: dict[str, Callable[[], Any]] = {"exists": partial(self._exists, s3)}
        reads |= {name: partial(read, s3, self.name) for name, read in READERS.items()}
        found = read_parallel(reads)
        return found if found.pop("exists") else None

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        have = observed or {}
        want = {
            "tags": self.ownership.merged_with(have.get("tags")),
            "public_access": PRIVATE,
            "ownership": "BucketOwnerEnforced",
            "encryption": encryption(have.get("encryption"), self.kms_key),
            "policy": with_statement(have.get("policy"), tls_only(self.arn)),
            "versioning": versioning(have.get("versioning"), self.versioning),
            "lifecycle": with_expiry(have.get("lifecycle"), self.ownership.workflow, self.expiry),
        }
        outputs = {"name": self.name, "arn": self.arn}
        diff = Diff.between(want, observed, outputs=outputs, notes=notes(have, self.kms_key))
        if observed is not None:
            refuse_unowned_change(
                f"bucket {self.name}", self.ownership, have["tags"], diff.changes, adopted=self.adopted
            )
        return diff

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        s3 = clients("s3")
        made = self._create(s3, run)
        for change in diff.changes:
            # A bucket that has just been made has its tags already.
            if change.field != "tags" or not made:
                WRITERS[change.field](s3, self.name, change.new)
        return diff.outputs

    def delete(self, clients: Clients, run: RunContext) -> None:
        """Remove it and everything in it, every version. It is emptied again where devices still write to it."""
        s3 = clients("s3")
        for attempt in range(ATTEMPTS):
            none_if_missing(lambda: self._empty(s3, run))
            try:
                none_if_missing(lambda: s3.delete_bucket(Bucket=self.name))
                return
            except ClientError as error:
                if error_code(error) != "BucketNotEmpty" or attempt == ATTEMPTS - 1:
                    raise
                run.pause(1.0)

    def _empty(self, s3: Any, run: RunContext) -> None:
        removed = 0
        # Always the first page of what is left. Without versions, objects are listed there too, as version "null".
        while listed := _versions(s3.list_object_versions(Bucket=self.name)):
            refused = s3.delete_objects(Bucket=self.name, Delete={"Objects": listed, "Quiet": True}).get("Errors")
            if refused:
                first = refused[0]
                raise Problem(
                    f"{len(refused)} objects cannot be deleted, {first['Key']} first: {first.get('Message', '')}",
                    where="s3:DeleteObjects",
                    mend="Allow it, or remove what protects them (object lock, bucket policy), and run it again.",
                )
            removed += len(listed)
            run.waiting("emptying", f"{removed} objects removed")
            run.pause(0)

    def _exists(self, s3: Any) -> bool:
        try:
            region = s3.head_bucket(Bucket=self.name).get("BucketRegion", self.region)
        except ClientError as error:
            match http_status(error):
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

    def _create(self, s3: Any, run: RunContext) -> bool:
        """Create it unless it is there, with its tags in the same call; whether that was needed."""
        if none_if_missing(lambda: s3.head_bucket(Bucket=self.name)) is not None:
            return False
        place = {} if self.region == "us-east-1" else {"LocationConstraint": self.region}
        for attempt in range(ATTEMPTS):
            try:
                s3.create_bucket(
                    Bucket=self.name, CreateBucketConfiguration={**place, "Tags": self.ownership.tag_list()}
                )
                self._write_ignored_tags(s3, READERS["tags"](s3, self.name))
                return True
            except (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists, BotoCoreError) as error:
                self._accept_own_attempt(s3, error)
                return True
            except ClientError as error:
                # S3 is still busy with an earlier change of this name, often its deletion.
                if error_code(error) != "OperationAborted" or attempt == ATTEMPTS - 1:
                    raise
                run.waiting("busy", "S3 has another change of this bucket under way")
                run.pause(6.0)
        return False

    def _accept_own_attempt(self, s3: Any, error: BotoCoreError | ClientError) -> None:
        """After an error of CreateBucket: accept a bucket that an earlier attempt made whose answer was lost.

        Another client of this account may have made it just now, too. With the workflow's tags it is the workflow's.
        Without any tags it is only when an attempt has got no answer: then the endpoint has ignored the tags.

        Raises:
            Problem: it belongs to another account.
            BotoCoreError, ClientError: the error, when the bucket is not the workflow's.
        """
        unanswered = isinstance(error, BotoCoreError)
        if isinstance(error, ClientError):
            unanswered = (error.response["ResponseMetadata"].get("RetryAttempts") or 0) > 0
            if error_code(error) == "BucketAlreadyExists" and not unanswered:
                raise self._taken() from error
        try:
            exists = none_if_missing(lambda: s3.head_bucket(Bucket=self.name)) is not None
            tags: Mapping[str, str] = READERS["tags"](s3, self.name) if exists else {}
        except BotoCoreError:
            raise error from None  # the endpoint is out of reach, which the first error says
        except ClientError as refusal:
            raise (self._taken() if http_status(refusal) == 403 else refusal) from error
        if not exists or not (self.ownership.owns(tags) or (unanswered and not tags)):
            raise error
        self._write_ignored_tags(s3, tags)

    def _write_ignored_tags(self, s3: Any, tags: Mapping[str, str]) -> None:
        """Write the tags of a bucket that was just made, if the endpoint has ignored them: else nothing removes it."""
        if not tags:
            WRITERS["tags"](s3, self.name, self.ownership.tags())

    def _taken(self) -> Problem:
        return Problem(
            f"bucket {self.name} belongs to another AWS account; bucket names are global",
            where="s3:HeadBucket",
            mend="Choose another prefix, for instance with --var prefix=…",
        )


@dataclass(frozen=True)
class RemovableBucket:
    """A bucket with all that is in it. One that others use too, or may use, stays."""

    bucket: Bucket
    user: BucketUser

    needs: ClassVar[frozenset[str]] = frozenset()
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {}

    @property
    def id(self) -> str:
        return self.bucket.id

    @property
    def name(self) -> str:
        return self.bucket.name

    def observe(self, clients: Clients) -> Observed | None:
        s3 = clients("s3")
        try:
            region = s3.head_bucket(Bucket=self.name).get("BucketRegion", self.bucket.region)
        except ClientError as error:
            match http_status(error):
                case 404:
                    return None
                case 403:
                    return {"away": "it belongs to another AWS account, or may not be read"}
                case _:
                    raise
        if region != self.bucket.region:
            return {"away": f"it is in {region}"}
        tags = none_if_missing(lambda: tags_as_mapping(s3.get_bucket_tagging(Bucket=self.name)["TagSet"])) or {}
        ours = self.bucket.ownership.owns(tags)
        return {"away": "", "ours": ours, "others": self.user.others(clients, self.name) if ours else []}

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        if observed["away"]:
            return Retention.because(observed["away"])
        if not observed["ours"]:
            return Retention.because(NOT_OWNED)
        if not delete_data:
            return Retention.because(HOLDS_DATA)
        return (
            Retention.because(f"others may use it: {'; '.join(observed['others'])}")
            if observed["others"]
            else REMOVABLE
        )

    def delete(self, clients: Clients, run: RunContext) -> None:
        self.bucket.delete(clients, run)


@dataclass(frozen=True)
class OldBuckets:
    """Finds the workflow's buckets that it no longer names. `current`: those that it names."""

    current: tuple[Bucket, ...]
    user: BucketUser
    permission: ClassVar[str] = PERMISSION

    def find(self, clients: Clients) -> Mapping[str, Orphan]:
        arns = find_owned(clients, "s3", self.current[0].ownership, [COMPONENTS_BUCKET, RESULTS_BUCKET])
        names = {arn.rpartition(":")[2] for arn in arns} - {bucket.name for bucket in self.current}
        found = read_parallel({name: partial(self._orphan, clients, name) for name in sorted(names)})
        return {f"bucket {name}": orphan for name, orphan in found.items() if orphan}

    def _orphan(self, clients: Clients, name: str) -> Orphan | None:
        bucket = RemovableBucket(replace(self.current[0], name=name), self.user)
        found = bucket.observe(clients)
        if not found or found["away"] or not found["ours"]:
            return None
        return Orphan("the bucket", retention=bucket.retention(found, delete_data=True))

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        replace(self.current[0], name=name.removeprefix("bucket ")).delete(clients, run)


def _buckets(context: BuildContext) -> tuple[Bucket, ...]:
    workflow = context.workflow
    buckets, fleet, prefix = workflow.cloud.buckets, workflow.cloud.fleet.name, workflow.edge.capture.prefix
    days = buckets.inference_results.expire_captures
    # Captures lie under <prefix>/<fleet>/<model>/, so each of several fleets that share a bucket has its own rule.
    expiry = Expiry(f"{prefix.strip('/')}/{fleet}/", round(seconds(days) / 86400)) if days else None
    return tuple(
        Bucket(
            name=bucket.name,
            region=workflow.aws.region,
            partition=context.partition,
            ownership=context.ownership(resource),
            adopted=resource in context.adopted,
            kms_key=bucket.encryption.kms_key,
            versioning=bucket.versioning,
            expiry=expiry if bucket is buckets.inference_results else None,
        )
        for resource, bucket in (
            (RESULTS_BUCKET, buckets.inference_results),
            (COMPONENTS_BUCKET, buckets.components),
        )
    )


def _user(context: BuildContext) -> BucketUser:
    fleet = context.workflow.cloud.fleet.name
    return BucketUser(context.ownership(OLD_BUCKETS), fleet, role_name(context), role_user(context))


def _removable(context: BuildContext) -> tuple[RemovableBucket, ...]:
    return tuple(RemovableBucket(bucket, _user(context)) for bucket in _buckets(context))


def _orphans(context: BuildContext) -> tuple[Orphans, ...]:
    return (Orphans(OLD_BUCKETS, "earlier buckets", OldBuckets(_buckets(context), _user(context)), data=True),)


KIND = ResourceKind(
    desired=_buckets, removable=_removable, orphans=_orphans, adoptable=(COMPONENTS_BUCKET, RESULTS_BUCKET)
)


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
    "policy": lambda s3, b: _none_if_404(lambda: json.loads(s3.get_bucket_policy(Bucket=b)["Policy"])),
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
    "policy": lambda s3, b, v: s3.put_bucket_policy(Bucket=b, Policy=json.dumps(v)),
    "versioning": lambda s3, b, v: s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": v}),
    "lifecycle": _write_lifecycle,
}


def _versions(page: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a page of versions lists, as it is named to be deleted."""
    listed = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
    return [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed]
