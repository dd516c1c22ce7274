"""Captured data: what clients send with CaptureData, stored in a folder or uploaded to S3.

`requests` checks a call and copies its tensors, `buffer` collects captures, makes batches and knows the status of each,
`jsonl` is the stored format, `spool` keeps batches on disk, `uploader` uploads them from there, `s3` writes to the
bucket, `retries` limits retries and log messages, `settings` holds the configuration.
"""
