"""The commands that the emulator adds to `emflow` by entry points: the function and the help line of each."""

UP = ("emflow_emulator.cli.up:up", "Run a whole workflow on this machine, with a virtual device.")
LOCAL = ("emflow_emulator.cli.local:local", "Run only the embedded AWS and the MQTT broker.")
