"""GStreamer's own RTSP server showing one picture or a test pattern, as a peer for the source; runs on the system's
Python, which has gi.

Prints its port once it listens.
"""

import argparse

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("picture", nargs="?", help="PNG file; a moving test pattern without it")
parser.add_argument("--port", default="0")
parser.add_argument("--size", default="320x240", help="of the test pattern")
parser.add_argument("--pattern", default="ball", help="of videotestsrc")
parser.add_argument("--rate", type=int, default=15)
parser.add_argument("--keys", type=int, default=15, help="frames from one key frame to the next")
parser.add_argument("--codec", choices=["h264", "h265", "jpeg"], default="h264")
parser.add_argument("--slices", type=int, default=0, help="bytes of a slice; 0 is one slice a picture")
parser.add_argument("--auth", choices=["basic", "digest"], help="wants user `viewer` and password `s3cret word`")
parser.add_argument("--tls", help="PEM file with certificate and key")
options = parser.parse_args()

Gst.init(None)
width, height = options.size.split("x")
shown = (
    f'filesrc location="{options.picture}" ! pngdec ! imagefreeze is-live=true ! video/x-raw,framerate={options.rate}/1'
    if options.picture
    else f"videotestsrc is-live=true pattern={options.pattern} ! "
    f"video/x-raw,width={width},height={height},framerate={options.rate}/1"
)
slices = f' option-string="slice-max-size={options.slices}"' if options.slices else ""
coded = {
    "h264": f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={options.keys}{slices} "
    "! rtph264pay name=pay0 pt=96 config-interval=-1",
    "h265": f"x265enc tune=zerolatency speed-preset=ultrafast key-int-max={options.keys} "
    "! rtph265pay name=pay0 pt=96 config-interval=-1",
    "jpeg": "jpegenc ! rtpjpegpay name=pay0",
}[options.codec]
factory = GstRtspServer.RTSPMediaFactory()
factory.set_shared(True)
factory.set_launch(f"( {shown} ! videoconvert ! video/x-raw,format=I420 ! {coded} )")
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(options.port)
if options.auth or options.tls:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    role = "viewer" if options.auth else "anonymous"
    token.set_string("media.factory.role", role)
    if options.auth == "basic":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic("viewer", "s3cret word"), token)
    elif options.auth == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest("viewer", "s3cret word", token)
    else:
        auth.set_default_token(token)
    if options.tls:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(options.tls))
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role(role, "media.factory.access", True)
    permissions.add_permission_for_role(role, "media.factory.construct", True)
    factory.set_permissions(permissions)
    server.set_auth(auth)
server.get_mount_points().add_factory("/stream1", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
