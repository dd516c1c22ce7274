"""The kind `bucket`: S3 buckets that are private, owner-enforced, encrypted, and refuse plain HTTP.

Semantics: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html. In us-east-1 a bucket is created
without a location constraint, elsewhere with one; BucketAlreadyOwnedByYou means that an earlier run got this far.

Its settings are in `bucket_settings`, and who else uses it is in `bucket_users`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from emflow.resources.iam.role import role_name, role_user
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.orphans import Orphan, Orphans
from emflow.resources.ownership import (
    HOLDS_DATA,
    NOT_OWNED,
    TAGS_LABEL,
    Ownership,
    refuse_unowned_change,
    tags_as_mapping,
)
from emflow.resources.s3.bucket_settings import (
    PRIVATE,
    READERS,
    WRITERS,
    Expiry,
    encryption,
    notes,
    tls_only,
    versioning,
    with_expiry,
    with_statement,
)
from emflow.resources.s3.bucket_users import BucketUser
from emflow.resources.second_look import is_still_removable
from emflow.resources.tag_search import PERMISSION, find_owned
from emflow_schema.units import seconds

COMPONENTS_BUCKET = "bucket/components"
RESULTS_BUCKET = "bucket/inference_results"
OLD_BUCKETS = "orphan/buckets"

UNTAGGED = (
    "It has no tags. Where the endpoint ignores tags at CreateBucket, emflow writes them with a second call: when a "
    "run of emflow ended between the two, the bucket is the workflow's own, and --adopt is right"
)

ATTEMPTS = 10
"""How often a call is made while S3 is busy with an earlier change of the bucket."""


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
                f"bucket {self.name}",
                self.ownership,
                have["tags"],
                diff.changes,
                adopted=self.adopted,
                without_tags=UNTAGGED,
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
        if is_still_removable(self, clients):
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
        bucket = replace(self.current[0], name=name.removeprefix("bucket "))
        RemovableBucket(bucket, self.user).delete(clients, run)


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


def _versions(page: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a page of versions lists, as it is named to be deleted."""
    listed = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
    return [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed]
