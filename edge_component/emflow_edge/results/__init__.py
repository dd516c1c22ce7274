"""Results: the message format, filters, the publisher with its queue, and the sinks."""
