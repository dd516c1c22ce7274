"""gRPC server reflection: tools such as grpcurl can call the agent without its .proto file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from emflow_proto import handlers, health, trust
from emflow_proto import messages as m
from emflow_proto.descriptors import Compiled

# v1alpha is the older name of v1; most tools still try it first.
VERSIONS = ("reflection_v1", "reflection_v1alpha")

# Each open stream keeps one worker thread of the server; tools need a stream for a moment only.
MAX_STREAMS = 16

NO_EXTENSIONS = "proto3 messages have no extensions"


class ReflectionIndex:
    """The proto files of a server, by file name and by symbol."""

    def __init__(self, files: list[Compiled]) -> None:
        self._by_name = {each.file.name: each.file for each in files}
        self._files = files
        self.services = sorted(f"{each.package}.{service.name}" for each in files for service in each.file.service)

    def named(self, name: str) -> bytes:
        """A file, by its name. Raises: KeyError."""
        content: bytes = self._by_name[name].SerializeToString()
        return content

    def with_symbol(self, symbol: str) -> bytes:
        """The file that defines a message, enum, service, call or field, by its full name. Raises: KeyError."""
        for each in self._files:
            if symbol.startswith(f"{each.package}.") and _defines(each, symbol):
                return self.named(each.file.name)
        raise KeyError(symbol)


def add_reflection_to_server(
    server: grpc.Server, on_malformed: handlers.OnMalformed = handlers.ignore, more: Sequence[Compiled] = ()
) -> None:
    """Add the reflection service (v1 and v1alpha) to `server`. A request that is no message is INVALID_ARGUMENT.

    Args:
        more: files of services beside the agent's interface, trust and health.
    """
    versions = [Compiled(name) for name in VERSIONS]
    index = ReflectionIndex([m.COMPILED, trust.COMPILED, health.COMPILED, *more, *versions])
    streams = threading.BoundedSemaphore(MAX_STREAMS)
    for version in versions:
        request, response = version.message("ServerReflectionRequest"), version.message("ServerReflectionResponse")
        call = "ServerReflectionInfo"
        answers = _info_handler(index, response, streams)
        calls = {call: handlers.stream_stream(call, answers, request, response, on_malformed)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(f"{version.package}.ServerReflection", calls),)
        )


def _info_handler(
    index: ReflectionIndex, response: Any, streams: threading.BoundedSemaphore
) -> Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]]:
    def answers(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        if not streams.acquire(blocking=False):
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_STREAMS} reflection streams are open already; close one"
            )
        try:
            for request in requests:
                answer = response(valid_host=request.host, original_request=request)
                _fill_response(answer, request, index)
                yield answer
        finally:
            streams.release()

    return answers


def _fill_response(answer: Any, request: Any, index: ReflectionIndex) -> None:
    request_kind = request.WhichOneof("message_request")
    error = answer.error_response
    try:
        if request_kind == "list_services":
            for name in index.services:
                answer.list_services_response.service.add(name=name)
        elif request_kind == "file_by_filename":
            answer.file_descriptor_response.file_descriptor_proto.append(index.named(request.file_by_filename))
        elif request_kind == "file_containing_symbol":
            found = index.with_symbol(request.file_containing_symbol)
            answer.file_descriptor_response.file_descriptor_proto.append(found)
        elif request_kind == "all_extension_numbers_of_type":
            index.with_symbol(request.all_extension_numbers_of_type)
            answer.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
        else:
            error.error_code = grpc.StatusCode.NOT_FOUND.value[0]
            error.error_message = NO_EXTENSIONS if request_kind else "the request is empty"
    except KeyError:
        error.error_code = grpc.StatusCode.NOT_FOUND.value[0]
        error.error_message = f"{str(getattr(request, str(request_kind)))[:200]!r} is not known"


def _defines(compiled: Compiled, symbol: str) -> bool:
    try:
        compiled.pool.FindFileContainingSymbol(symbol)
    except KeyError:
        return False
    return True
