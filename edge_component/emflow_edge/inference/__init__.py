"""The agent on its socket, and what is known of the model that it holds."""
