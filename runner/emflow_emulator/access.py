"""Who may use what a run of `emflow up` or `emflow local` opens: an access key for its AWS, a user for its broker.

Both are random and made anew for each run. Every program on the machine can connect to a port on loopback, and so can
every web page in a browser; so a port alone lets nobody in.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import stat
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from emflow.problems import Problem

_ID_CHARACTERS = string.ascii_uppercase + "234567"
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO

MQTT_USERNAME, MQTT_PASSWORD = "EMFLOW_MQTT_USERNAME", "EMFLOW_MQTT_PASSWORD"
"""Where `emflow-edge` looks for the user of a broker that it publishes to directly."""

_HERE = "127.0.0.1", "localhost"

NO_AWS = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "BOTO_CONFIG": os.devnull,
}
"""Variables with which an SDK finds no configuration and no credentials on this machine."""


@dataclass(frozen=True)
class AccessKey:
    """An access key of AWS; temporary ones have a session token, too."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)

    @classmethod
    def new(cls) -> AccessKey:
        """A random one, as long as AWS's: 20 and 40 characters. Its beginning tells it from a real one."""
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
    """What a run lets in."""

    key: AccessKey
    broker: BrokerUser

    @classmethod
    def new(cls) -> Access:
        return cls(AccessKey.new(), BrokerUser.new())

    @classmethod
    def read(cls, path: Path) -> Access:
        """Read what `write` wrote.

        Raises:
            Problem: it is not there, others can read it, or it is something else.
        """
        try:
            if path.stat().st_mode & _FOR_OTHERS:
                raise Problem(f"others can read {path}", where="--access", mend=f"Run: chmod 600 {path}")
            document = json.loads(path.read_text())
            return cls(AccessKey(**document["key"]), BrokerUser(**document["broker"]))
        except OSError as error:
            raise Problem(f"cannot read {path}: {error.strerror}", where="--access") from error
        except (ValueError, TypeError, KeyError):
            # Without what is wrong with it: that could show a piece of it.
            mend = 'Write {"key": {"id": "…", "secret": "…"}, "broker": {"name": "…", "password": "…"}}.'
            raise Problem(f"{path} holds no access key and broker user", where="--access", mend=mend) from None

    def write(self, path: Path) -> None:
        """Write it to a new file, mode 0600, for a child process: a command line shows to everybody on the machine.

        Raises:
            OSError: the file is there already, or cannot be written.
        """
        write_private(path, json.dumps(asdict(self)))

    def shell_lines(self, endpoint_url: str, region: str) -> tuple[str, ...]:
        """What a shell has to run, so that AWS's SDKs, the AWS CLI and `emflow-edge` get in."""
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
    """Write a new file that nobody but its owner may read.

    Raises:
        OSError: it is there already, or cannot be written.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without anybody's credentials, profiles and settings for AWS, and without a proxy to loopback."""
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
