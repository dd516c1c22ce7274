"""What tools and supervisors ask beside the agent's own calls: its health, and what it can be asked at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf import descriptor_pb2

from emflow_agent.calls.health import MAX_WATCHERS, HealthServicer
from emflow_agent.calls.reflection import MAX_STREAMS
from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.models.store import ModelStore
from emflow_proto import health
from emflow_proto import messages as m
from emflow_proto.descriptors import Compiled
from support import PATIENCE

AGENT = "AWS.SageMaker.Edge.Agent"


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[grpc.Channel]:
    socket = tmp_path / "a.sock"
    with (
        serving(AgentService(ModelStore(threads=1)), socket, clean_stale_socket=False, grace=5.0),
        grpc.insecure_channel(f"unix:{socket}") as opened,
    ):
        yield opened


def check(channel: grpc.Channel, service: str) -> int:
    call = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health.HealthCheckRequest.SerializeToString,
        response_deserializer=health.HealthCheckResponse.FromString,
    )
    return call(health.HealthCheckRequest(service=service), timeout=PATIENCE).status


def watch(channel: grpc.Channel, service: str) -> Iterator[int]:
    call = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health.HealthCheckRequest.SerializeToString,
        response_deserializer=health.HealthCheckResponse.FromString,
    )
    return (answer.status for answer in call(health.HealthCheckRequest(service=service), timeout=PATIENCE))


@pytest.mark.parametrize("service", ["", AGENT])
def test_the_server_and_the_agent_on_it_are_serving(channel: grpc.Channel, service: str) -> None:
    assert check(channel, service) == health.SERVING
    assert next(watch(channel, service)) == health.SERVING


def test_a_service_that_is_not_there_is_not_found(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        check(channel, "others")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert next(watch(channel, "others")) == health.SERVICE_UNKNOWN


def test_a_watcher_learns_of_the_end_and_does_not_delay_it(tmp_path: Path) -> None:
    socket = tmp_path / "a.sock"
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        with serving(AgentService(ModelStore(threads=1)), socket, clean_stale_socket=False, grace=60.0):
            watching = watch(channel, AGENT)
            assert next(watching) == health.SERVING
        assert list(watching) == [health.NOT_SERVING]


def test_a_watcher_that_hangs_up_leaves_no_worker_behind() -> None:
    class Context:
        def __init__(self) -> None:
            self.active = True

        def add_callback(self, then: Callable[[], object]) -> bool:
            self.then = then
            return True

        def is_active(self) -> bool:
            return self.active

    servicer, context = HealthServicer((AGENT,)), Context()
    watching = servicer.Watch(health.HealthCheckRequest(service=AGENT), cast("Any", context))
    assert next(watching).status == health.SERVING
    context.active = False
    context.then()
    assert not list(watching)


def reflect(channel: grpc.Channel, version: str, questions: Iterator[dict[str, str]]) -> Any:
    compiled = Compiled(f"reflection_{version}")
    request, response = compiled.message("ServerReflectionRequest"), compiled.message("ServerReflectionResponse")
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    return call((request(host="a", **question) for question in questions), timeout=PATIENCE)


def ask(channel: grpc.Channel, version: str, **question: str) -> Any:
    (answer,) = reflect(channel, version, iter([question]))
    return answer


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_the_services_and_hands_out_their_files(channel: grpc.Channel, version: str) -> None:
    listed = ask(channel, version, list_services="*").list_services_response.service
    assert {each.name for each in listed} == {
        AGENT,
        "emflow.agent.ModelTrust",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    for question in (
        {"file_containing_symbol": AGENT},
        {"file_containing_symbol": "AWS.SageMaker.Edge.Tensor"},
        {"file_by_filename": "agent.proto"},
    ):
        (content,) = ask(channel, version, **question).file_descriptor_response.file_descriptor_proto
        file = descriptor_pb2.FileDescriptorProto.FromString(content)
        assert [method.name for method in file.service[0].method] == list(m.CALLS)


def test_what_reflection_does_not_know_is_not_found(channel: grpc.Channel) -> None:
    for question in ({"file_by_filename": "other.proto"}, {"file_containing_symbol": "AWS.SageMaker.Edge.Other"}, {}):
        assert ask(channel, "v1", **question).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


# What grpcurl and grpc_health_probe do, by gRPC's own packages: knows nothing of us but the socket.
FOREIGN = """
import sys, grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    print(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="AWS.SageMaker.Edge.Agent")))
    database = ProtoReflectionDescriptorDatabase(channel)
    print(database.get_services())
    call = DescriptorPool(database).FindServiceByName("AWS.SageMaker.Edge.Agent").FindMethodByName("ListModels")
    ask, answer = GetMessageClass(call.input_type), GetMessageClass(call.output_type)
    stub = channel.unary_unary("/AWS.SageMaker.Edge.Agent/ListModels", ask.SerializeToString, answer.FromString)
    print("models:", len(stub(ask()).models))
"""


@pytest.mark.peer
def test_grpc_s_own_packages_find_their_way(channel: grpc.Channel, tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    # Not always published with each patch of gRPC; the newest before it belongs to it, too.
    packages = [f"grpcio-{name}<={grpc.__version__}" for name in ("health-checking", "reflection")]
    done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"cannot install {packages}: {done.stderr.strip().splitlines()[-1]}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    asked = subprocess.run(
        [sys.executable, "-c", FOREIGN, str(tmp_path / "a.sock")],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    assert "status: SERVING" in asked.stdout
    assert AGENT in asked.stdout
    assert asked.stdout.endswith("models: 0\n")


def test_those_that_watch_leave_room_for_calls(channel: grpc.Channel) -> None:
    watching = [watch(channel, "") for _ in range(MAX_WATCHERS)]
    assert [next(each) for each in watching] == [health.SERVING] * MAX_WATCHERS
    with pytest.raises(grpc.RpcError) as caught:
        next(watch(channel, ""))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert check(channel, "") == health.SERVING


def test_reflection_streams_that_stay_open_leave_room_and_make_it_when_they_end(channel: grpc.Channel) -> None:
    close = threading.Event()

    def asks_and_stays() -> Iterator[dict[str, str]]:
        yield {"list_services": "*"}
        close.wait()

    versions = ("v1", "v1alpha") * (MAX_STREAMS // 2)
    opened = [reflect(channel, version, asks_and_stays()) for version in versions]
    try:
        assert all(next(each).HasField("list_services_response") for each in opened)
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel, "v1", list_services="*")
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert check(channel, "") == health.SERVING
    finally:
        close.set()
    assert not [answer for each in opened for answer in each]
    assert ask(channel, "v1", list_services="*").HasField("list_services_response")
