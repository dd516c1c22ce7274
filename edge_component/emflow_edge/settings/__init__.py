"""What a run is told: the deployment's configuration and the command line, checked, as frozen values."""
