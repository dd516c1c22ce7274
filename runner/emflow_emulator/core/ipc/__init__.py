"""Greengrass IPC: the socket on which components talk to the core device."""
