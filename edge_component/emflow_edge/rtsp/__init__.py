"""An RTSP client: session, transport, and packets to access units."""
