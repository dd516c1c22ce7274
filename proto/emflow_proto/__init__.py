"""The wire contract between an application on a device and the agent that runs models for it.

`messages` has the message classes and enums, `service` the client stub and the server's glue. Both are made at run time
from `agent.binpb`, the compiled `agent.proto`: code that protoc generates refuses to run on an older protobuf than its
own, and boards bring whatever their image has.

Importing this package alone imports neither protobuf nor gRPC, so the host side can find its files without having them.
"""
