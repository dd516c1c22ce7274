"""The Greengrass nucleus over its IPC socket: the component's configuration, and publishing to AWS IoT Core."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from emflow_edge.problems import EdgeProblem

SOCKET_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
_TIMEOUT = 10.0


class Nucleus:
    """The nucleus that started this component, found by the environment variables that it sets.

    Raises:
        EdgeProblem: it does not answer, or does not let this component in.
    """

    def __init__(self) -> None:
        # Here, not above: an eighth of a second that only a component in Greengrass has to spend.
        from awsiot.greengrasscoreipc import clientv2

        try:
            self._client = clientv2.GreengrassCoreIPCClientV2()
        except Exception as error:
            # awscrt has no common class of errors.
            where = os.environ.get(SOCKET_VARIABLE)
            raise EdgeProblem(f"the Greengrass nucleus at {where} cannot be talked to: {_words(error)}") from error

    def configuration(self) -> Mapping[str, Any]:
        """The component's whole configuration.

        Raises:
            EdgeProblem: the nucleus does not give it.
        """
        try:
            answer = self._client.get_configuration_async().result(_TIMEOUT)
        except Exception as error:
            raise EdgeProblem(f"the Greengrass nucleus gives no configuration: {_words(error)}") from error
        value: Mapping[str, Any] = answer.value or {}
        return value

    def publish(self, topic: str, payload: bytes, qos: int) -> None:
        """Publish to AWS IoT Core; returns when the nucleus has taken it. While the core is offline it keeps it.

        Raises:
            Exception: the nucleus refuses, or does not answer within seconds.
        """
        self._client.publish_to_iot_core_async(topic_name=topic, qos=str(qos), payload=payload).result(_TIMEOUT)

    def close(self) -> None:
        self._client.close(executor_wait=False)


def _words(error: BaseException) -> str:
    # The SDK's own errors keep their sentence in `message`, or as the last of several arguments.
    said = getattr(error, "message", None) or (error.args[-1] if error.args else None) or type(error).__name__
    return str(said)
