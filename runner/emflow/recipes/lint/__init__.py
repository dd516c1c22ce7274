"""Checks of a Greengrass component recipe. `check` is the check, `findings` runs it for a workflow."""
