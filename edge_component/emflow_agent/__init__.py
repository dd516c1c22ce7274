"""The open agent: loads models and runs them for the applications of a device, over a Unix socket.

It answers the interface of the SageMaker Edge Manager agent (`emflow_proto`), which ended in 2024, so that clients made
for that one go on working.

Start: `__main__` from start to clean end, `configuration` where settings come from, `settings` what they come to
(`reading` one at a time), `systemd` who is told. Calls: `server` owns the socket, `service` turns calls into what
`store` does with models, `callers` says who calls, `turns` who is next, `tensors` and `shared_memory` what they send,
`health` and `reflection` what tools ask. Models: `loading` from a folder (`folder`) to what runs, `integrity` and
`signatures` whether it may, `trial` its first run apart, `memory` whether it fits, `runtimes` one file a runtime.
`capture` is for captured data.
"""
