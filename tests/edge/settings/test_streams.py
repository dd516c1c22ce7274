from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emflow_schema.configuration import from_configuration
from emflow_schema.edge_config import Secret, Stream
from emflow_schema.errors import ConfigProblem
from emflow_schema.stream_url import Place, redacted, split, why_not
from emflow_schema.units import Interval


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
    place = stream.place
    assert (place.host, place.port, place.path) == ("192.168.1.20", 554, "/stream1")
    assert (place.user, place.password) == ("user", "secret")
    assert stream.shown == "rtspt://***@192.168.1.20/stream1"


READS = "which the component cannot read; it reads rtsp://, rtspt://, rtsps://, http://, https://, v4l2://, file:// and"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://camera/stream", f"is an address with ftp:, {READS} gstreamer:"),
        ("camera", f"is a path, {READS} gstreamer:"),
        ("rtsp:///stream", "has no host"),
        ("rtsp://camera:port/stream", "has no valid port"),
        ("rtsp://camera:99999/stream", "has no valid port"),
        ("rtsp://user:secret@cam..local/stream", "names a host that cannot be one"),
        (f"rtsp://{'c' * 64}.local/stream", "names a host that cannot be one"),
        (f"rtsp://{'c' * 63}.local./stream", None),
        ("rtsp://[fe80::1%eth0]/stream", None),
        ("rtsp://kamera-größe.local/stream", None),
        ("rtsp://[::1/stream", "is no address"),
        ("rtsp://camera:8554/stream", None),
        ("v4l2://dev/video0", "names no path on the device, with three slashes: v4l2:///dev/video0"),
        ("v4l2:///dev/video0", None),
        ("gstreamer:", None),
    ],
)
def test_a_wrong_url_is_reported_in_words(url: str, reason: str | None) -> None:
    wrong = why_not(url)
    assert (str(wrong) if wrong else None) == reason


@given(
    st.sampled_from(["rtsp://u:p@camera/", "rtsp://u:", "http://camera/cgi?a=", "file:///", "v4l2:///dev/"]),
    st.characters(categories=["Cc"]),
)
def test_a_control_character_is_refused_wherever_it_stands(begin: str, control: str) -> None:
    wrong = why_not(f"{begin}secret{control}@camera/live")
    assert str(wrong).startswith("holds a control character")
    assert "secret" not in str(wrong)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("rtsp://camera", Place("rtsp", "camera", 554, "")),
        ("RTSPS://[::1]:8322/a/b?c=d@e", Place("rtsps", "::1", 8322, "/a/b?c=d@e")),
        ("rtsp://admin:se%40cret@camera/live", Place("rtsp", "camera", 554, "/live", "admin", "se@cret")),
        ("rtsp://admin:se@cret@camera:80/live", Place("rtsp", "camera", 80, "/live", "admin", "se@cret")),
        ("rtsp://admin:se/c#r?et@camera/live", Place("rtsp", "camera", 554, "/live", "admin", "se/c#r?et")),
        ("rtsp://admin@camera/", Place("rtsp", "camera", 554, "/", "admin", "")),
        ("http://camera/cgi?user=a&pwd=b", Place("http", "camera", 80, "/cgi?user=a&pwd=b")),
        ("file:///a%20film.mp4", Place("file", "", 0, "/a film.mp4")),
    ],
)
def test_a_url_is_taken_apart_as_people_write_it(url: str, place: Place) -> None:
    assert split(url) == place
    assert "cret" not in repr(split(url))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_password_is_taken_as_it_is_written_with_its_signs_in_percent(password: str) -> None:
    assert split(f"rtsp://admin:{quote(password, safe='')}@camera/live").password == password


SIGNS = st.text("ab:@/?#[]%&=.;$!*+-_ ", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("rtsp://admin:p@ss/word@10.0.0.7/live", Place("rtsp", "10.0.0.7", 554, "/live", "admin", "p@ss/word")),
        ("rtsp://admin:p@ss?w#rd@[fe80::7]:8554", Place("rtsp", "fe80::7", 8554, "", "admin", "p@ss?w#rd")),
        ("rtsp://admin:p@ss:w/rd@camera/live", Place("rtsp", "camera", 554, "/live", "admin", "p@ss:w/rd")),
        (
            "rtsp://user:pass`~!@#$%^&*()-_;',.<>@192.168.0.2:554/live",
            Place("rtsp", "192.168.0.2", 554, "/live", "user", "pass`~!@#$%^&*()-_;',.<>"),
        ),
        ("rtsp://u:/@10.0.0.7/live", Place("rtsp", "10.0.0.7", 554, "/live", "u", "/")),
        ("rtsp://u:554/w@10.0.0.7/live", Place("rtsp", "10.0.0.7", 554, "/live", "u", "554/w")),
        ("rtsp://10.0.0.7:554/live@2", Place("rtsp", "10.0.0.7", 554, "/live@2")),
        ("rtsp://camera:554/live@1080p", Place("rtsp", "camera", 554, "/live@1080p")),
        ("http://camera:8080/v?user=a&pwd=b@c", Place("http", "camera", 8080, "/v?user=a&pwd=b@c")),
        ("https://camera:443/v?mail=a@b.c", Place("https", "camera", 443, "/v?mail=a@b.c")),
        ("rtsp://u:p@10.0.0.7/live?mail=a@b.c", Place("rtsp", "10.0.0.7", 554, "/live?mail=a@b.c", "u", "p")),
    ],
)
def test_a_password_holds_any_signs_where_only_one_host_can_be_meant(url: str, place: Place) -> None:
    assert split(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:p@ss/word@camera/live",
        "rtsp://admin:p@ss/word@camera.local/live",
        "rtsp://admin:p@10.0.0.6/word@10.0.0.7/live",
        "rtsp://u:554/w@camera/live",
        "rtsp://u:554/w@camera:554",
        "rtsp://u:554/w@camera.local",
        "rtsp://u:5544/w@camera",
        "rtsp://us/er:p@camera/1",
        "rtsp://admin:p@ss/word@camera:99999/live",
        "http://admin:pw@camera/cgi?mail=me@example.com",
        "http://admin:pw@camera/cgi?source=rtsp://a:b@10.0.0.7/live",
        "http://admin:pw@camera.local/a@10.0.0.7/live",
    ],
)
def test_a_url_that_can_be_read_in_two_ways_is_refused_with_advice(url: str) -> None:
    with pytest.raises(ValueError, match=r"can be read in several ways; .* write %40 for @") as caught:
        split(url)
    assert not any(part in str(caught.value) for part in ("admin", "p@", "camera", "10.0.0"))


@given(SIGNS, st.sampled_from(["10.0.0.7", "[fe80::7]", "camera.local", "camera"]))
def test_no_password_sends_anything_to_another_host(password: str, host: str) -> None:
    try:
        place = split(f"rtsp://admin:{password}@{host}/live")
    except ValueError:
        return
    assert place.host == host.strip("[]")
    assert quote(place.password) == quote(unquote(password))


def read(**keys: object) -> Stream:
    return from_configuration(Stream, {"name": "front", "url": "rtsp://camera/1", **keys}, "streams[0]")


def test_a_stream_without_settings_has_the_usual_ones() -> None:
    assert read() == Stream("front", "rtsp://camera/1", Interval("1s"))
    assert read().pace == "every 1 s"


def test_every_setting_of_a_stream_is_read(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    stream = read(
        every="5 frames",
        transport="UDP",
        backend="opencv",
        credentials={"secret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-a1b2c3"},
        ca=str(ca),
        openTimeout="250ms",
        readTimeout="10s",
        frozenAfter="0s",
        blackAfter="2m",
    )
    assert (stream.every.seconds, stream.every.frames, stream.pace) == (0.0, 5, "every 5 frames")
    assert (stream.transport, stream.backend, stream.ca) == ("udp", "opencv", str(ca))
    assert stream.credentials == Secret("arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-a1b2c3")
    times = (stream.open_timeout, stream.read_timeout, stream.frozen_after, stream.black_after)
    assert [time.seconds for time in times] == [0.25, 10, 0, 120]
    assert read(pipeline="imx8mp").pipeline == "imx8mp"
    assert read(url="gstreamer:", pipeline="videotestsrc ! appsink").scheme == "gstreamer"
    assert read(every="0s").pace == "as fast as it goes"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"every": "5 pictures"}, "every: '5 pictures' is no duration and no number of frames"),
        ({"every": "0 frames"}, "every: '0 frames' is no duration and no number of frames"),
        ({"transport": "sctp"}, "transport: 'sctp' is none of tcp, udp"),
        ({"backend": "vlc"}, "backend: 'vlc' is none of auto, ffmpeg, opencv, gstreamer"),
        (
            {"pipeline": "imx8"},
            "pipeline: neither a preset nor a pipeline, whose elements are joined by `!`; presets: imx8mp",
        ),
        ({"pipeline": "imx8mp", "backend": "opencv"}, "backend: opencv runs no pipeline"),
        ({"pipeline": "imx8mp", "url": "v4l2:///dev/video0"}, "pipeline: imx8mp is for RTSP"),
        ({"url": "gstreamer:"}, "url: gstreamer: is the pipeline's word, and there is no pipeline"),
        ({"url": "http://camera/1", "backend": "gstreamer"}, "backend: gstreamer needs a pipeline for http:"),
        ({"url": "rtspt://camera/1", "transport": "udp"}, "transport: udp, and rtspt:// is always over TCP"),
        ({"credentials": "s3cret"}, "credentials: has to be an object with secret"),
        ({"credentials": {"secret": "s3cret word"}}, "credentials.secret: "),
        ({"credentials": {"secret": "x", "password": "s3cret"}}, "credentials: has to hold secret and nothing else"),
        ({"readTimeout": "0s"}, "readTimeout: '0s' has to lie between 0.1s and 366d"),
        ({"openTimeout": "fast"}, "openTimeout: 'fast' is no duration"),
    ],
)
def test_a_wrong_setting_is_reported_with_its_place_and_without_secrets(keys: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigProblem) as caught:
        read(**keys)
    assert str(caught.value).startswith(f"streams[0].{problem}")
    assert "s3cret" not in str(caught.value)


def test_no_representation_shows_a_url() -> None:
    assert "hunter2" not in repr(Stream("front", "rtsp://me:hunter2@camera/1", pipeline="hunter2 ! x"))


def test_a_pipeline_that_is_none_is_refused_without_its_words() -> None:
    stream = {"name": "front", "url": "gstreamer:", "pipeline": "rtspsrc location=rtsp://u:its-secret@camera/1"}
    with pytest.raises(ConfigProblem, match=r"^streams\[0\]\.pipeline: neither ") as caught:
        from_configuration(Stream, stream, "streams[0]")
    assert "its-secret" not in str(caught.value)
