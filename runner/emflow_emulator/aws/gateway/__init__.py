"""From an HTTP request to the service that answers it."""
