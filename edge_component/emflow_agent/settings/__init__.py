"""The settings of the agent: from a file, the Greengrass configuration and the command line, validated."""
