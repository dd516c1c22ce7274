"""S3 buckets: private, owner-enforced, encrypted, TLS only.

Semantics: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html. In us-east-1 a bucket is created
without a location constraint, elsewhere with one; BucketAlreadyOwnedByYou means that an earlier run got this far. What
a bucket is set to, piece by piece, is in `bucket_settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import code, status
from emflow.engine.resource import Diff, Inputs, Observed, Outputs, Run
from emflow.engine.work import together
from emflow.problems import Problem
from emflow.resources import bucket_settings as settings
from emflow.resources.answers import unless_missing
from emflow.resources.bucket_notes import notes
from emflow.resources.ownership import DATA, NOT_OURS, Mark, by_key, refuse_foreign

TRIES = 10
"""How often something that S3 is still busy with is tried."""


@dataclass(frozen=True)
class Bucket:
    """An S3 bucket as the workflow wants it.

    Args:
        kms_key: ARN or alias of the key that encrypts its objects; None for S3's own.
        versioning: on, suspended, or as it is.
        expiry: which objects S3 removes after a while; None for none.
    """

    name: str
    region: str
    partition: str
    mark: Mark
    adopted: bool = False
    kms_key: str | None = None
    versioning: bool | None = None
    expiry: settings.Expiry | None = None

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
        reads |= {name: partial(read, s3, self.name) for name, read in settings.READERS.items()}
        found = together(reads)
        return found if found.pop("exists") else None

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        have = observed or {}
        want = {
            "tags": self.mark.over(have.get("tags")),
            "public_access": settings.PRIVATE,
            "ownership": "BucketOwnerEnforced",
            "encryption": settings.encryption(have.get("encryption"), self.kms_key),
            "policy": settings.with_statement(have.get("policy"), settings.tls_only(self.arn)),
            "versioning": settings.versioning(have.get("versioning"), self.versioning),
            "lifecycle": settings.with_expiry(have.get("lifecycle"), self.mark.workflow, self.expiry),
        }
        told = notes(have, self.kms_key)
        diff = Diff.between(want, observed, outputs={"name": self.name, "arn": self.arn}, notes=told)
        if observed is not None:
            refuse_foreign(f"bucket {self.name}", self.mark, have["tags"], diff.changes, adopted=self.adopted)
        return diff

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: Run) -> Outputs:
        s3 = clients("s3")
        made = self._create(s3, run)
        for change in diff.changes:
            # What was made just now has its tags already.
            if change.field != "tags" or not made:
                settings.WRITERS[change.field](s3, self.name, change.new)
        return diff.outputs

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        if not self.mark.is_on(observed["tags"]):
            return NOT_OURS
        return None if delete_data else DATA

    def delete(self, clients: Clients, run: Run) -> None:
        """Remove it and everything in it, every version. Devices may go on writing meanwhile: empty it again then."""
        s3 = clients("s3")
        for attempt in range(TRIES):
            unless_missing(lambda: self._empty(s3, run))
            try:
                unless_missing(lambda: s3.delete_bucket(Bucket=self.name))
                return
            except ClientError as error:
                if code(error) != "BucketNotEmpty" or attempt == TRIES - 1:
                    raise
                run.pause(1.0)

    def _empty(self, s3: Any, run: Run) -> None:
        gone = 0
        # Always the first page of what is left. Without versions, objects are listed there too, as version "null".
        while listed := _versions(s3.list_object_versions(Bucket=self.name)):
            refused = s3.delete_objects(Bucket=self.name, Delete={"Objects": listed, "Quiet": True}).get("Errors")
            if refused:
                first = refused[0]
                raise Problem(
                    f"{len(refused)} objects cannot be deleted, {first['Key']} first: {first.get('Message', '')}",
                    where="s3:DeleteObjects",
                    mend="Allow it, or release what holds them (object lock, bucket policy), and run it again.",
                )
            gone += len(listed)
            run.waiting("emptying", f"{gone} objects removed")
            run.pause(0)

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
        """Create it unless it is there, with its tags in the same call; whether that was needed."""
        if unless_missing(lambda: s3.head_bucket(Bucket=self.name)) is not None:
            return False
        place = {} if self.region == "us-east-1" else {"LocationConstraint": self.region}
        for attempt in range(TRIES):
            try:
                s3.create_bucket(Bucket=self.name, CreateBucketConfiguration={**place, "Tags": self.mark.tag_list()})
                return True
            except (s3.exceptions.BucketAlreadyOwnedByYou, BotoCoreError):
                # By an earlier try whose answer was lost; or by somebody else of this account, this very moment.
                tags = unless_missing(lambda: by_key(s3.get_bucket_tagging(Bucket=self.name)["TagSet"]))
                if tags is None or not self.mark.is_on(tags):
                    raise
                return True
            except s3.exceptions.BucketAlreadyExists as error:
                raise self._taken() from error
            except ClientError as error:
                # S3 is still busy with an earlier change of this name, often its deletion.
                if code(error) != "OperationAborted" or attempt == TRIES - 1:
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


def _versions(page: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a page of versions lists, as it is named to be deleted."""
    listed = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
    return [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed]
