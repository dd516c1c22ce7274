"""Counters and timings that every layer may write."""
