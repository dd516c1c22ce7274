"""Greengrass V2: components, deployments, and the reports of core devices."""
