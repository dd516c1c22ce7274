"""What the component shows of itself: logs, status, metrics page, overlay."""
