"""The test camera: an RTSP server that shows drawn scenes or a picture."""
