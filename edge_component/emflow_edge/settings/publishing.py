"""Where results go, how, and which: the section `publish`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emflow_schema import fields, topics
from emflow_schema.errors import ConfigProblem

MQTT = ("3.1.1", "5")


@dataclass(frozen=True)
class Publishing:
    """How results, the status and metrics are published.

    topic: of results, in which `{thing}`, `{stream}` and `{model}` stand for a result's. status_topic, metrics_topic:
    filled in already, empty for none. qos: of all messages.
    on_change: publish a stream's result only when its best class, or the set of classes that were detected, is another
    than in the one published before; every: seconds after which one goes out all the same, 0 for never.
    threshold: results whose best confidence is lower are not published.
    mqtt: version of the protocol, where it is spoken directly. expiry: whole seconds for which a broker of MQTT 5 keeps
    a result for who is away, 0 for as long as it likes.
    """

    topic: str = "em/inference"
    qos: int = 1
    status_topic: str = ""
    metrics_topic: str = ""
    on_change: bool = False
    every: float = 60.0
    threshold: float = 0.0
    mqtt: str = MQTT[0]
    expiry: int = 0

    def same_connection(self, other: Publishing) -> bool:
        """Whether both can be published over one connection: its last will names the status topic."""
        mine = (self.mqtt, self.expiry, self.qos, self.status_topic)
        return mine == (other.mqtt, other.expiry, other.qos, other.status_topic)


def read_publishing(
    one: Mapping[str, Any], thing: str = "", model: str = "", streams: Sequence[str] = ()
) -> Publishing:
    """Check the section `publish`.

    Args:
        one: the section.
        thing, model, streams: the names that topics may be filled with.

    Raises:
        ConfigProblem: a value is wrong.
    """
    shared = {"thing": thing, "model": model}
    names = {place: [name] for place, name in shared.items()}
    results = fields.text(one, "topic", "em/inference", prefix="publish.")
    topics.check(results, "publish.topic", {**names, "stream": streams})
    others = {}
    for key in ("statusTopic", "metricsTopic"):
        template = fields.text(one, key, prefix="publish.")
        topics.check(template, f"publish.{key}", names)
        others[key] = topics.fill(template, shared)
    taken = {topics.fill(results, {**shared, "stream": stream}) for stream in streams or ("",)}
    if others["statusTopic"] and others["statusTopic"] in {*taken, others["metricsTopic"]}:
        raise ConfigProblem("publish.statusTopic: results or metrics go there, too; give it a topic of its own")
    mqtt = fields.choice(one, "mqtt", MQTT, "publish.")
    expiry = fields.seconds(one, "expiry", "0s", prefix="publish.")
    if expiry != int(expiry):
        raise ConfigProblem("publish.expiry: has to be whole seconds")
    if expiry and mqtt != "5":
        raise ConfigProblem("publish.expiry: is for MQTT 5; say so in publish.mqtt")
    return Publishing(
        topic=results,
        qos=fields.whole(one, "qos", 1, low=0, high=1, prefix="publish."),
        status_topic=others["statusTopic"],
        metrics_topic=others["metricsTopic"],
        on_change=fields.truth({"publish.onChange": one.get("onChange") or "False"}, "publish.onChange"),
        every=fields.seconds(one, "every", "1m", prefix="publish."),
        threshold=fields.number(one, "threshold", 0.0, low=0.0, high=1.0, prefix="publish."),
        mqtt=mqtt,
        expiry=int(expiry),
    )
