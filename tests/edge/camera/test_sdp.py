import pytest

from emflow_edge.rtsp.sdp import VideoTrack, control_url, find_video

CAMERA = """v=0
o=- 1 1 IN IP4 192.168.1.20
s=Media Presentation
a=control:rtsp://192.168.1.20/live/
m=audio 0 RTP/AVP 0
a=control:track1
m=video 0 RTP/AVP 96
b=AS:5000
a=control:track2
a=rtpmap:96 H264/90000
a=framerate:29.97
a=fmtp:96 profile-level-id=420029; packetization-mode=1; sprop-parameter-sets=Z0IAKQ==,aM48gA==
"""


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_the_video_of_a_camera_is_found_whatever_ends_its_lines(end: str) -> None:
    assert find_video(CAMERA.replace("\n", end)) == VideoTrack(
        codec="H264",
        payload_type=96,
        rate=90000,
        control="track2",
        session="rtsp://192.168.1.20/live/",
        parameter_sets=b"\0\0\0\1\x67\x42\0\x29\0\0\0\1\x68\xce\x3c\x80",
        fps=29.97,
    )


def test_a_description_without_parameter_sets_or_with_broken_ones_will_do() -> None:
    for text in ("", ";sprop-parameter-sets=", ";sprop-parameter-sets=Z,!", ";sprop-parameter-sets=,,"):
        found = find_video(f"m=video 0 RTP/AVP 96\na=rtpmap:96 h264/90000\na=fmtp:96 packetization-mode=1{text}\n")
        assert found
        assert (found.codec, found.parameter_sets) == ("H264", b"")


def test_h265_and_its_sets() -> None:
    found = find_video(
        "m=video 0 RTP/AVP 98\na=rtpmap:98 H265/90000\n"
        "a=fmtp:98 sprop-vps=QAE=;sprop-sps=QgE=;sprop-pps=RAE=;sprop-max-don-diff=2\n"
    )
    assert found
    assert (found.codec, found.numbered) == ("H265", True)
    assert found.parameter_sets == b"\0\0\0\1\x40\1\0\0\0\1\x42\1\0\0\0\1\x44\1"


def test_the_track_that_can_be_decoded_is_preferred() -> None:
    jpeg, known = "m=video 0 RTP/AVP 26\na=control:1\n", "m=video 0 RTP/AVP 97\na=rtpmap:97 H264/90000\na=control:2\n"
    found, only = find_video(jpeg + known), find_video(jpeg)
    assert found
    assert only
    assert (found.codec, found.control) == ("H264", "2")
    assert only.codec == "JPEG"
    assert find_video("m=audio 0 RTP/AVP 0\n") is None


@pytest.mark.parametrize(
    ("base", "control", "url"),
    [
        ("rtsp://camera/live/", "track1", "rtsp://camera/live/track1"),
        ("rtsp://camera/live", "track1", "rtsp://camera/live/track1"),
        ("rtsp://camera/live", "/track1", "rtsp://camera/live/track1"),
        ("rtsp://camera/live?channel=1", "trackID=1", "rtsp://camera/live?channel=1/trackID=1"),
        ("rtsp://camera/live", "RTSP://10.0.0.7/other", "RTSP://10.0.0.7/other"),
        ("rtsp://camera/live", "*", "rtsp://camera/live"),
        ("rtsp://camera/live", "", "rtsp://camera/live"),
    ],
)
def test_a_control_is_joined_as_cameras_understand_it(base: str, control: str, url: str) -> None:
    assert control_url(base, control) == url
