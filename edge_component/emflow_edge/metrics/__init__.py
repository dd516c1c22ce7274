"""Counters and latency histograms; every layer may update them."""
