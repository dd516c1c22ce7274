"""The application component: RTSP frames in, results over MQTT out, inference by the agent on its Unix socket."""
