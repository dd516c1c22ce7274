"""Greengrass V2: components, deployments, and what core devices report."""
