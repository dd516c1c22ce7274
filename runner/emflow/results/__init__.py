"""What devices report: reading result messages, watching them arrive, showing them."""
