"""The credentials of a run of `emflow up` or `emflow local`: an access key for its AWS, and a user for its broker.

Both are random, and new for each run. They are necessary because every program on the machine, and every web page in a
browser, can connect to a port on loopback.
"""

from __future__ import annotations

import os
import secrets
import shlex
import stat
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from emflow.json_text import from_json, to_json
from emflow.problems import Problem

_ID_CHARACTERS = string.ascii_uppercase + "234567"
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO

MQTT_USERNAME, MQTT_PASSWORD = "EMFLOW_MQTT_USERNAME", "EMFLOW_MQTT_PASSWORD"
"""The environment variables from which `emflow-edge` takes the user of a broker that it publishes to directly."""

_HERE = "127.0.0.1", "localhost"

NO_AWS = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "BOTO_CONFIG": os.devnull,
}
"""Environment variables that keep an SDK from using any configuration or credentials of this machine."""


@dataclass(frozen=True)
class AccessKey:
    """An access key of AWS. A temporary key also has a session token."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)

    @classmethod
    def new(cls) -> AccessKey:
        """A random key with the lengths of AWS's keys, 20 and 40 characters. Its prefix shows that it is not real."""
        unique = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(15))
        return cls(f"LOCAL{unique}", secrets.token_hex(20))


@dataclass(frozen=True)
class BrokerUser:
    """The one user of an MQTT broker."""

    name: str
    password: str = field(repr=False)

    @classmethod
    def new(cls) -> BrokerUser:
        return cls("emflow", secrets.token_hex(16))


@dataclass(frozen=True)
class Access:
    """The credentials that a run accepts."""

    key: AccessKey
    broker: BrokerUser

    @classmethod
    def new(cls) -> Access:
        return cls(AccessKey.new(), BrokerUser.new())

    @classmethod
    def read(cls, path: Path) -> Access:
        """Read what `write` wrote.

        Raises:
            Problem: the file does not exist, other users can read it, or its content has another form.
        """
        try:
            if path.stat().st_mode & _FOR_OTHERS:
                raise Problem(f"other users can read {path}", where="--access", mend=f"Run: chmod 600 {path}")
            document = from_json(path.read_text())
            return cls(AccessKey(**document["key"]), BrokerUser(**document["broker"]))
        except OSError as error:
            raise Problem(f"cannot read {path}: {error.strerror}", where="--access") from error
        except (ValueError, TypeError, KeyError):
            # The parser's error is left out, because it could show a part of the content.
            mend = 'Write {"key": {"id": "…", "secret": "…"}, "broker": {"name": "…", "password": "…"}}.'
            raise Problem(f"{path} holds no access key and broker user", where="--access", mend=mend) from None

    def write(self, path: Path) -> None:
        """Write the credentials to a new file with mode 0600, for a child process.

        They are not passed as arguments, because all users of the machine can see a command line.

        Raises:
            OSError: the file exists already, or cannot be written.
        """
        write_private(path, to_json(asdict(self)))

    def shell_lines(self, endpoint_url: str, region: str) -> tuple[str, ...]:
        """The shell commands that set the credentials for AWS's SDKs, the AWS CLI and `emflow-edge`."""
        return (
            # Not only profile and token: AWS_ENDPOINT_URL_S3 and the like would go over AWS_ENDPOINT_URL.
            "unset $(env | sed -n 's/^\\(AWS_[A-Za-z0-9_]*\\)=.*/\\1/p') AWS_PROFILE",
            f'no_proxy="${{no_proxy:-${{NO_PROXY:-}}}}"; no_proxy="${{no_proxy:+$no_proxy,}}{",".join(_HERE)}"',
            'NO_PROXY="$no_proxy"; export no_proxy NO_PROXY',
            f"export AWS_ENDPOINT_URL={endpoint_url} AWS_DEFAULT_REGION={shlex.quote(region)}",
            f"export AWS_ACCESS_KEY_ID={self.key.id} AWS_SECRET_ACCESS_KEY={self.key.secret}",
            f"export {MQTT_USERNAME}={self.broker.name} {MQTT_PASSWORD}={self.broker.password}",
        )


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner may read.

    Raises:
        OSError: the file exists already, or cannot be written.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without any credentials, profiles and settings for AWS, and without a proxy for loopback."""
    kept = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    return kept | NO_AWS | past_proxies(environment)


def past_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables with which a proxy that the environment names is not asked for what is on this machine.

    A proxy would not find it, and would see every secret.
    """
    excepted = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    # A star alone means everything; with something beside it, it means nothing.
    value = excepted if excepted == "*" else ",".join(filter(None, [excepted, *_HERE]))
    return {"no_proxy": value, "NO_PROXY": value}
