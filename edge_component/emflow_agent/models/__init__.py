"""From a model's folder to something that runs: whether it may, whether it fits, and its first run apart."""
