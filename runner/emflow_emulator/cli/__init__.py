"""The commands that the emulator adds to `emflow`, by its entry points: where each is, and its line of help."""

UP = ("emflow_emulator.cli.up:up", "Run a workflow on this machine, device and all.")
LOCAL = ("emflow_emulator.cli.local:local", "Run only the embedded AWS and the MQTT broker.")
