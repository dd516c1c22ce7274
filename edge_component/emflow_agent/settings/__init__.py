"""What the agent is told: by a file, the component's configuration and the command line, checked."""
