"""The commands that the emulator adds to `emflow`: `up` and `local`."""
