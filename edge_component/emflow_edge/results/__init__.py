"""One result as one message, and the ways out of the device."""
