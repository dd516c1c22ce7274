"""Greengrass V2: component versions, deployments, core devices."""
