import io
import json
import logging
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from emflow_edge.observability import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger(logs.ROOT)
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before


def test_a_json_log_is_one_object_a_line_with_what_was_given_beside_the_message() -> None:
    out = io.StringIO()
    logs.configure_logging(out, "json")
    log = logging.getLogger("emflow_edge.camera")
    log.warning("camera %s is\naway", "Zürich", extra={"stream": "front"})
    try:
        raise ValueError("as expected")
    except ValueError:
        log.exception("went wrong")
    log.debug("not asked for")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["level"], first["message"], first["stream"]) == ("warning", "camera Zürich is\naway", "front")
    assert first["logger"] == "emflow_edge.camera"
    assert first["time"].endswith("+00:00")
    assert "ValueError: as expected" in second["exception"]


def test_the_level_is_for_what_is_ours() -> None:
    out = io.StringIO()
    logs.configure_logging(out, "text", "debug")
    logging.getLogger("emflow_edge").debug("ours")
    logging.getLogger("somebody").info("theirs")
    assert "[DEBUG] ours\n" in out.getvalue()
    assert "theirs" not in out.getvalue()
    logs.configure_logging(out, "text", "warning")
    logging.getLogger("emflow_edge").info("not asked for any more")
    assert "not asked" not in out.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("url", ["rtsp://admin:se%40cret@10.0.0.7/1", "http://admin:secret@cam:80/x?pwd=secret"])
def test_no_url_shows_its_password_wherever_it_comes_from(form: str, url: str) -> None:
    out = io.StringIO()
    logs.configure_logging(out, form)
    try:
        raise OSError(f"cannot open '{url}'")
    except OSError:
        logging.getLogger("emflow_edge").exception("camera at %s", url)
    assert "cret" not in out.getvalue()
    assert "***@" in out.getvalue()


def test_the_last_words_are_in_the_form_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    logs.configure_logging(out, "text")
    logs.report_exit("it ended")
    assert (capsys.readouterr().err, out.getvalue()) == ("emflow-edge: it ended\n", "")
    logs.configure_logging(out, "json")
    logs.report_exit("it ended")
    assert json.loads(out.getvalue())["message"] == "it ended"


def test_an_answer_that_failed_twice_is_reported_without_a_traceback() -> None:
    out = io.StringIO()
    logs.configure_logging(out)
    answer, asked, other = Future[None](), Future[None](), Future[None]()
    answer.set_exception(ConnectionError("hung up"))
    asked.add_done_callback(lambda _: answer.set_exception(ConnectionError("hung up")))
    other.add_done_callback(lambda _: 1 // 0)
    asked.set_result(None)
    assert out.getvalue() == ""
    other.set_result(None)
    assert "ZeroDivisionError" in out.getvalue()
