"""The open agent: loads models and runs them for the applications of a device, over a Unix socket.

It answers the interface of the SageMaker Edge Manager agent (`emflow_proto`), which ended in 2024, so that clients made
for that one go on working. `__main__` goes from start to clean end; `settings` is what it is told, `calls` the
interface, `models` what is loaded, `runtimes` one file for each that runs models, `capture` what is kept of
predictions. `signing` is a program of its own, for whoever packs models.
"""
