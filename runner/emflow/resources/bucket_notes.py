"""What others have set on a bucket that emflow leaves as it is, and that people should know: lines for a plan.

A lifecycle rule may remove what was captured, a policy may let others read it, and a key may keep devices from writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emflow.resources import bucket_settings as settings
from emflow.resources.iam.policy_documents import as_list


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
        if days and rule.get("Status") == "Enabled" and not str(name).startswith(settings.EXPIRY_RULE):
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
            actions = ", ".join(map(str, as_list(statement.get("Action")))) or "all but some actions"
            to = ", ".join(_principals(statement.get("Principal"))) or "all but some"
            under = " under conditions" if statement.get("Condition") else ""
            yield f"policy statement {name}, not made by emflow, allows {actions} to {to}{under}"


def _principals(principal: Any) -> list[str]:
    if isinstance(principal, Mapping):
        return [str(each) for group in principal.values() for each in as_list(group)]
    return [str(each) for each in as_list(principal)]


def _encryption(have: Mapping[str, Any] | None, kms_key: str | None) -> Iterator[str]:
    if have and not kms_key and have["algorithm"] != settings.ENCRYPTED["algorithm"]:
        key = have.get("key")
        # The account's own key for S3 is open to whoever may use S3 in the account; another is not.
        rights = f", with the key {key}; the workflow does not name it, and gives devices and jobs no right to it"
        yield f"encryption is {have['algorithm']}, not set by emflow{rights if key else ''}"
