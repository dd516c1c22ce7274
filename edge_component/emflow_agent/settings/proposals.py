"""Answers the Greengrass nucleus when a deployment is about to change the agent's configuration.

The classic nucleus asks the components that subscribed, and then waits for every component whose configuration changes:
one that never answers lets the deployment fail. So the agent answers. A new configuration counts from its next start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

TIMEOUT = 10.0
"""Seconds until the nucleus has to accept a subscription or an answer."""

log = logging.getLogger("emflow_agent")


def answer_proposals(fault: Callable[[Mapping[str, Any]], str]) -> None:
    """Answer, for as long as the process lives, whether a proposed configuration is valid.

    Where the nucleus does not ask (the lite nucleus does not), this is logged, and nothing else happens.

    Args:
        fault: what is wrong with a configuration; empty when nothing is.
    """
    from awsiot.greengrasscoreipc import clientv2, model

    def proposed(events: Any) -> None:
        event = events.validate_configuration_update_event
        if event is None:
            return
        wrong = fault(event.configuration or {})
        report = model.ConfigurationValidityReport(
            status="REJECTED" if wrong else "ACCEPTED", deployment_id=event.deployment_id, message=wrong or None
        )
        if wrong:
            log.warning("the configuration of deployment %s is rejected: %s", event.deployment_id, wrong)
        try:
            client.send_configuration_validity_report_async(configuration_validity_report=report).result(TIMEOUT)
        except Exception as error:  # awscrt has no common base class of errors
            log.warning("the Greengrass nucleus does not take the answer about a configuration: %s", _words(error))

    try:
        client = clientv2.GreengrassCoreIPCClientV2()
        answer, _ = client.subscribe_to_validate_configuration_updates_async(
            on_stream_event=proposed, on_stream_error=lambda _: True
        )
        answer.result(TIMEOUT)
    except Exception as error:
        log.info("the Greengrass nucleus does not ask about new configurations: %s", _words(error))


def _words(error: BaseException) -> str:
    return getattr(error, "message", None) or str(error) or type(error).__name__
