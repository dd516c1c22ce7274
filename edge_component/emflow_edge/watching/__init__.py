"""What can be seen of a run from outside: counters, latencies, status, logs, metrics, and a page on loopback."""
