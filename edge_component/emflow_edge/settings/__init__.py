"""The settings of a run: the deployment's configuration and the command line, checked, as frozen values."""
