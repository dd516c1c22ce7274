"""Why a deployment failed, with the messages and codes of a core device.

Codes and types: https://docs.aws.amazon.com/greengrass/v2/developerguide/troubleshooting-deployment.html.
The stack contains the codes from the least to the most specific; the types are derived from the codes.
"""

from __future__ import annotations

from collections.abc import Sequence

_TYPES = {
    "ARTIFACT_CHECKSUM_MISMATCH": "COMPONENT_RECIPE_ERROR",
    "ARTIFACT_URI_NOT_VALID": "COMPONENT_RECIPE_ERROR",
    "UNSUPPORTED_ARTIFACT_SCHEME": "COMPONENT_RECIPE_ERROR",
    "RECIPE_MISSING_MANIFEST": "COMPONENT_RECIPE_ERROR",
    "RECIPE_MISSING_ARTIFACT_HASH_ALGORITHM": "COMPONENT_RECIPE_ERROR",
    "RECIPE_PARSE_ERROR": "COMPONENT_RECIPE_ERROR",
    "COMPONENT_VERSION_REQUIREMENTS_NOT_MET": "REQUEST_ERROR",
    "COMPONENT_CIRCULAR_DEPENDENCY_ERROR": "REQUEST_ERROR",
    "DEPLOYMENT_DOCUMENT_NOT_VALID": "REQUEST_ERROR",
    "RESOURCE_NOT_FOUND": "REQUEST_ERROR",
    "ACCESS_DENIED": "PERMISSION_ERROR",
    "S3_ACCESS_DENIED": "PERMISSION_ERROR",
    "S3_ERROR": "DEPENDENCY_ERROR",
    "S3_RESOURCE_NOT_FOUND": "DEPENDENCY_ERROR",
    "IO_UNZIP_ERROR": "DEVICE_ERROR",
    "IO_WRITE_ERROR": "DEVICE_ERROR",
    "NETWORK_ERROR": "NETWORK_ERROR",
    "COMPONENT_CONFIGURATION_NOT_VALID": "USER_COMPONENT_ERROR",
}
# The type of these depends on the component, but the code is always the same.
_OF_A_COMPONENT = ("COMPONENT_BROKEN", "COMPONENT_BOOTSTRAP_ERROR", "COMPONENT_BOOTSTRAP_TIMEOUT")
_CODES = {f"{owner}_{code}": code for owner in ("USER", "AWS") for code in _OF_A_COMPONENT}
_TYPES |= {code: f"{code.partition('_')[0]}_COMPONENT_ERROR" for code in _CODES}


class DeploymentFailure(Exception):
    """A deployment fails.

    Args:
        reason: one sentence for a person.
        codes: error codes below DEPLOYMENT_FAILURE, from the least to the most specific.
    """

    def __init__(self, reason: str, *codes: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self._codes = codes

    @property
    def stack(self) -> list[str]:
        return ["DEPLOYMENT_FAILURE", *dict.fromkeys(_CODES.get(code, code) for code in self._codes)]

    @property
    def types(self) -> list[str]:
        return list(dict.fromkeys(_TYPES[code] for code in self._codes if code in _TYPES))


def failure_of(error: Exception) -> DeploymentFailure:
    """The failure of a deployment for any exception."""
    if isinstance(error, DeploymentFailure):
        return error
    if isinstance(error, OSError):
        return DeploymentFailure(str(error), "IO_ERROR", "IO_WRITE_ERROR")
    return DeploymentFailure(f"{type(error).__name__}: {error}")


class BootstrapFailure(DeploymentFailure):
    """A bootstrap step failed. The device is rolled back then, whatever the deployment says."""

    def __init__(self, component: str, why: str, output: Sequence[str] = (), *, timeout: bool = False) -> None:
        super().__init__(
            _with_output(f"Fail to execute bootstrap step for {component}, {why}", output),
            "COMPONENT_UPDATE_ERROR",
            f"{_owner(component)}_COMPONENT_BOOTSTRAP_{'TIMEOUT' if timeout else 'ERROR'}",
        )


def broken(component: str, output: Sequence[str] = ()) -> DeploymentFailure:
    """The failure of a deployment whose component did not start in three attempts.

    Args:
        output: the last lines of the script that failed.
    """
    return DeploymentFailure(
        _with_output(f"Service {component} in broken state after deployment", output),
        "COMPONENT_UPDATE_ERROR",
        f"{_owner(component)}_COMPONENT_BROKEN",
    )


def ended_with(component: str, dependency: str) -> DeploymentFailure:
    """The failure of a deployment whose component was stopped for good, as its HARD dependency ended."""
    return DeploymentFailure(
        f"Service {component} was stopped and is not started again, because {dependency} ended, its HARD dependency. "
        "A SOFT dependency would not stop it",
        "COMPONENT_UPDATE_ERROR",
    )


def _with_output(reason: str, output: Sequence[str]) -> str:
    return "\n".join([f"{reason}. The last lines of its output:", *output]) if output else reason


def _owner(component: str) -> str:
    return "AWS" if component.startswith("aws.greengrass.") else "USER"
