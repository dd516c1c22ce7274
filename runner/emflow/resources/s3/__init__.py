"""Buckets, objects, and the lock that lies in a bucket."""
