"""The open agent: loads models and runs them for the applications of a device, over a Unix socket.

It implements the gRPC interface of the SageMaker Edge Manager agent (`emflow_proto`), a service that ended in 2024, so
that existing clients keep working. `__main__` starts and stops the agent; `settings` reads its configuration, `calls`
implements the interface, `models` loads models and runs them, `runtimes` has one module for each inference runtime,
`tensors` describes and checks tensors, `capture` stores captured data.
"""
