"""The open agent: loads models and runs them for the applications of a device, over a Unix socket.

It answers the interface of the SageMaker Edge Manager agent (`emflow_proto`), which ended in 2024, so that clients made
for that one go on working. `__main__` reads the command line, `server` owns the socket, `service` turns calls into
what `store` does with models, `trial` runs a model apart before it is loaded, `runtimes` has one file a runtime,
`tensors` says what a model takes.
"""
