"""Captured data: what clients hand over with CaptureData, on its way to a folder or to S3.

`requests` checks a call and copies what it carries, `capturing` buffers and makes batches, `lines` says what a batch
looks like when it is stored, `spool` keeps batches on disk, `cloud` puts them into S3, `statuses` remembers what became
of each capture, `settings` says which of it is wanted.
"""
