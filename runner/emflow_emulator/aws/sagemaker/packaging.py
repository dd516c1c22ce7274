"""Edge packaging jobs: they sign the compiled model and store it in S3 and as a Greengrass component.

Semantics: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEdgePackagingJob.html and
…/API_EdgeOutputConfig.html for PresetDeploymentConfig. The name of a job cannot be used again. A package contains a
signed manifest of its files' digests; the key is made when the embedded AWS starts.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import yaml
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from emflow.json_text import from_json, to_json
from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.errors import ApiError, invalid
from emflow_emulator.aws.greengrass.components import Component
from emflow_emulator.aws.internal_clients import InternalClients, S3Object, folder
from emflow_emulator.aws.paging import page
from emflow_emulator.aws.protocol import Handler, Params
from emflow_emulator.aws.sagemaker import archives
from emflow_emulator.aws.sagemaker.compilation import CompilationJobs
from emflow_emulator.aws.sagemaker.jobs import ENDED, Job, JobFailed, pick, sort
from emflow_emulator.aws.sagemaker.tags import Tags

MANIFEST, SIGNATURE, CERTIFICATE = "manifest.json", "manifest.sig", "certificate.pem"


@dataclass(frozen=True)
class Signed:
    """A manifest, its signature and the certificate to check it with, as they are stored in a package.

    The signature of the manifest's bytes is ECDSA over P-256 with SHA-256, in base64 of DER.
    """

    manifest: bytes
    signature: bytes
    certificate: bytes

    @property
    def files(self) -> dict[str, bytes]:
        return {MANIFEST: self.manifest, SIGNATURE: self.signature, CERTIFICATE: self.certificate}


class Signer:
    """A key and its self-signed certificate, made at the first signature and stored in memory only."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emflow embedded Edge packaging")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
            .sign(self._key, hashes.SHA256())
        )
        self._certificate = certificate.public_bytes(serialization.Encoding.PEM)

    def sign(self, facts: Mapping[str, str], files: Mapping[str, bytes]) -> Signed:
        """Sign the digests of `files` together with `facts` about them."""
        digests = {name: sha256(data).hexdigest() for name, data in sorted(files.items())}
        manifest = to_json({**facts, "algorithm": "SHA-256", "files": digests}, indent=2).encode() + b"\n"
        signature = self._key.sign(manifest, ec.ECDSA(hashes.SHA256()))
        return Signed(manifest, base64.b64encode(signature) + b"\n", self._certificate)


GREENGRASS = "GreengrassV2Component"

CreateComponent = Callable[[bytes, Mapping[str, str]], Component]


@dataclass
class PackagingJob:
    """One packaging: its request, its state and its result."""

    arn: str
    request: Params
    job: Job | None = None
    artifact: str | None = None
    signature: str | None = None
    preset: dict[str, str] | None = None

    @property
    def name(self) -> str:
        return str(self.request["EdgePackagingJobName"])

    @property
    def run(self) -> Job:
        assert self.job is not None
        return self.job


class PackagingJobs:
    """The packaging jobs of one region."""

    def __init__(
        self,
        account_region: AccountRegion,
        clients: InternalClients,
        tags: Tags,
        compilations: CompilationJobs,
        create_component: CreateComponent,
        job_seconds: float,
    ) -> None:
        self._account_region = account_region
        self._clients = clients
        self._tags = tags
        self._compilation_jobs = compilations
        self._create_component = create_component
        self._seconds = job_seconds
        self._signer: Signer | None = None
        self._all: dict[str, PackagingJob] = {}

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateEdgePackagingJob": self._create,
            "DescribeEdgePackagingJob": self._describe,
            "ListEdgePackagingJobs": self._list,
            "StopEdgePackagingJob": self._stop,
        }

    def stop(self) -> None:
        """Stop all jobs, and wait for their end."""
        for each in self._all.values():
            each.run.stop()
        for each in self._all.values():
            each.run.join()

    def _create(self, params: Params) -> None:
        name, compilation = params["EdgePackagingJobName"], self._compilation_jobs.find(params["CompilationJobName"])
        arn = self._account_region.arn("sagemaker", f"edge-packaging-job/{name}")
        if name in self._all:
            raise ApiError(
                "ResourceInUse",
                "Edge packaging job names must be unique within an AWS account and region, and an edge packaging job "
                f"with this name already exists ({arn})",
            )
        if compilation is None:
            raise ApiError("ResourceNotFound", f"Could not find compilation job {params['CompilationJobName']}.")
        if compilation.run.status != "COMPLETED":
            raise invalid(
                f"Compilation job {compilation.name} is {compilation.run.status}; "
                "a model is packaged from a COMPLETED one."
            )
        _preset(params)
        folder(params["OutputConfig"])
        self._clients.check_role(params["RoleArn"])
        self._signer = self._signer or Signer()
        packaging = self._all[name] = PackagingJob(arn, params)
        self._tags.new(arn, params)
        source = S3Object.at(compilation.artifact)
        packaging.job = Job(name, self._seconds, lambda: self._package(packaging, source))

    def _package(self, packaging: PackagingJob, source: S3Object) -> None:
        request = packaging.request
        output = request["OutputConfig"]
        model, version = request["ModelName"], request["ModelVersion"]
        try:
            files = archives.unpack(self._clients.read(source))
        except (ClientError, ValueError) as error:
            raise JobFailed(f"ClientError: cannot read the compiled model {source}: {error}") from error
        facts = {"model_name": model, "model_version": version, "compilation_job": request["CompilationJobName"]}
        assert self._signer is not None
        signed = self._signer.sign(facts, files)
        result = folder(output).child(f"{model}-{version}.tar.gz")
        try:
            self._clients.write(result, archives.pack({**files, **signed.files}))
        except ClientError as error:
            raise JobFailed(f"ClientError: cannot write {result}: {error}") from error
        packaging.artifact = str(result)
        packaging.signature = to_json(
            {"manifest": signed.manifest.decode(), "signature": signed.signature.decode().strip()}
        )
        if output.get("PresetDeploymentType") == GREENGRASS:
            packaging.preset = self._deployable(packaging, result)
            if packaging.preset["Status"] == "FAILED":
                raise JobFailed(
                    f"ClientError: the Greengrass component was not made: {packaging.preset['StatusMessage']}"
                )

    def _deployable(self, packaging: PackagingJob, package: S3Object) -> dict[str, str]:
        preset = _preset(packaging.request)
        try:
            component = self._create_component(recipe(preset, package), {})
        except ApiError as error:
            return {"Type": GREENGRASS, "Status": "FAILED", "StatusMessage": error.message}
        made = f"Component {component.recipe.name} {component.recipe.version} was created."
        return {"Type": GREENGRASS, "Artifact": component.arn, "Status": "COMPLETED", "StatusMessage": made}

    def _describe(self, params: Params) -> dict[str, Any]:
        packaging = self._at(params)
        run = packaging.run
        same = (
            "EdgePackagingJobName",
            "CompilationJobName",
            "ModelName",
            "ModelVersion",
            "RoleArn",
            "OutputConfig",
            "ResourceKey",
        )
        return {
            **{key: packaging.request.get(key) for key in same},
            "EdgePackagingJobArn": packaging.arn,
            "EdgePackagingJobStatus": run.status,
            "EdgePackagingJobStatusMessage": run.reason or None,
            "CreationTime": run.created,
            "LastModifiedTime": run.modified,
            "ModelArtifact": packaging.artifact if run.status in ENDED else None,
            "ModelSignature": packaging.signature if run.status in ENDED else None,
            "PresetDeploymentOutput": packaging.preset if run.status in ENDED else None,
        }

    def _list(self, params: Params) -> dict[str, Any]:
        summaries = [
            {
                "EdgePackagingJobArn": each.arn,
                "EdgePackagingJobName": each.name,
                "EdgePackagingJobStatus": each.run.status,
                "CreationTime": each.run.created,
                "LastModifiedTime": each.run.modified,
                **{key: each.request[key] for key in ("CompilationJobName", "ModelName", "ModelVersion")},
            }
            for each in self._all.values()
        ]
        keys = {
            "NAME": "EdgePackagingJobName",
            "MODEL_NAME": "ModelName",
            "CREATION_TIME": "CreationTime",
            "LAST_MODIFIED_TIME": "LastModifiedTime",
            "STATUS": "EdgePackagingJobStatus",
        }
        found = pick(summaries, params, name="EdgePackagingJobName", status="EdgePackagingJobStatus", model="ModelName")
        listed, token = page(sort(found, params, keys, "CREATION_TIME"), params, default=10)
        return {"EdgePackagingJobSummaries": listed, "NextToken": token}

    def _stop(self, params: Params) -> None:
        packaging = self._at(params)
        if packaging.run.status in ENDED:
            raise invalid(
                f"The request was rejected because the edge packaging job is in status {packaging.run.status}."
            )
        packaging.run.stop()

    def _at(self, params: Params) -> PackagingJob:
        name = params["EdgePackagingJobName"]
        if name not in self._all:
            raise ApiError("ResourceNotFound", f"Could not find edge packaging job {name}.")
        return self._all[name]


def recipe(preset: Mapping[str, str], package: S3Object) -> bytes:
    """The recipe of the model component. It unpacks the package into its work folder, where clients find the model."""
    file = package.key.rpartition("/")[2]
    document = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": preset["ComponentName"],
        "ComponentVersion": preset["ComponentVersion"],
        "ComponentDescription": preset["ComponentDescription"],
        "ComponentPublisher": "Amazon SageMaker Edge Manager",
        "Manifests": [
            {
                "Platform": {"os": "linux", "runtime": "*"},
                "Lifecycle": {"install": {"Script": f'tar -xzf "{{artifacts:path}}/{file}" -C "{{work:path}}"'}},
                "Artifacts": [{"Uri": str(package), "Unarchive": "NONE", "Permission": {"Read": "OWNER"}}],
            }
        ],
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


def _preset(params: Params) -> dict[str, str]:
    """PresetDeploymentConfig, with SageMaker's defaults.

    Raises:
        ApiError: it is not a JSON object whose values are strings.
    """
    output = params["OutputConfig"]
    if "PresetDeploymentConfig" in output and "PresetDeploymentType" not in output:
        raise invalid("PresetDeploymentConfig needs a PresetDeploymentType.")
    try:
        preset = from_json(output.get("PresetDeploymentConfig") or "{}")
    except ValueError as error:
        raise invalid(f"PresetDeploymentConfig is not JSON: {error}") from error
    known = ("ComponentName", "ComponentVersion", "ComponentDescription", "PlatformOS", "PlatformArchitecture")
    if not isinstance(preset, dict) or any(not isinstance(value, str) for value in preset.values()):
        raise invalid(f"PresetDeploymentConfig must be a JSON object of strings, with {', '.join(known)}.")
    return {
        "ComponentName": f"SagemakerEdgeManager{params['EdgePackagingJobName']}",
        "ComponentVersion": "1.0.0",
        "ComponentDescription": f"Model {params['ModelName']} {params['ModelVersion']}",
        **preset,
    }
