"""The gRPC interface: the server on its socket, the agent service, health and reflection."""
