"""The interface: the socket, who calls, whose turn it is, and what they send."""
