"""Observability: logs, status, metrics, the HTTP server, and annotated frames."""
