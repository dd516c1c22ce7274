import pytest
from hypothesis import given
from hypothesis import strategies as st

from emflow_edge.settings.streams import Stream, redacted, why_not


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtspt://192.168.1.20/stream1", "rtspt://192.168.1.20/stream1"),
        ("rtsp://admin:secret@camera:554/live/ch0", "rtsp://***@camera:554/live/ch0"),
        ("rtsp://admin:se@cret@camera/live", "rtsp://***@camera/live"),
        ("rtsp://admin:se/c#r?et@camera/live", "rtsp://***@camera/live"),
        ("rtsp://camera/live?user=admin&password=secret", "rtsp://camera/live?***"),
        ("rtsp://camera/live?mail=a@b&password=secret", "rtsp://***@b&***"),
        ("rtsp://camera/user=admin_password=secret_channel=1.sdp", "rtsp://camera/***"),
        ("rtsp://[fe80::1]:8554/front", "rtsp://[fe80::1]:8554/front"),
        ("secret", "***"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert redacted(url) == shown
    assert "secret" not in redacted(url)


@given(st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1))
def test_no_password_gets_through_whatever_it_is_made_of(password: str) -> None:
    assert redacted(f"rtsp://admin:{password}@camera/live") == "rtsp://***@camera/live"


@given(st.text("ab1@/?#&=:.%"))
def test_no_password_in_a_query_gets_through_whatever_stands_before_it(noise: str) -> None:
    assert "s3cret" not in redacted(f"rtsp://camera/live?{noise}&password=s3cret")


def test_the_workshops_rtspt_means_rtsp_over_tcp() -> None:
    stream = Stream("front", "rtspt://user:secret@192.168.1.20/stream1")
    assert stream.source == "rtsp://user:secret@192.168.1.20/stream1"
    assert stream.address == ("192.168.1.20", 554)
    assert stream.shown == "rtspt://***@192.168.1.20/stream1"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://camera/stream", "has to begin with rtsp://, rtspt://, rtsps://"),
        ("camera", "has to begin with rtsp://, rtspt://, rtsps://"),
        ("rtsp:///stream", "names no host"),
        ("rtsp://camera:port/stream", "is not a URL"),
        ("rtsp://user:secret@cam..local/stream", "names a host that cannot be one"),
        (f"rtsp://{'c' * 64}.local/stream", "names a host that cannot be one"),
        (f"rtsp://{'c' * 63}.local./stream", None),
        ("rtsp://[fe80::1%eth0]/stream", None),
        ("rtsp://kamera-größe.local/stream", None),
        ("rtsp://[::1/stream", "is not a URL"),
        ("rtsp://camera:8554/stream", None),
    ],
)
def test_a_wrong_url_is_told_in_words(url: str, reason: str | None) -> None:
    assert why_not(url) == reason
