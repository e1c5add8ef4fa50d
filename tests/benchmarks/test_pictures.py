"""The pictures in the tutorial are those that ``make pictures`` draws now."""

from __future__ import annotations

import pytest

from benchmarks import pictures


def test_the_terminal_shows_what_the_debugger_says() -> None:
    kept, text = pictures.TERMINAL.read_text(), pictures.session()
    shown = pictures.words(kept)
    assert shown == pictures.words(pictures.terminal(text)), "the picture is old: make pictures"
    for line in text.splitlines():
        assert "".join(line.split()) in "".join(shown.split()), line
    assert "http" not in kept.replace("http://www.w3.org/", "")


def test_the_report_is_pictured_as_it_is() -> None:
    image = pytest.importorskip("PIL.Image")
    with image.open(pictures.REPORT) as picture:
        assert picture.info.get("page") == pictures.page_hash(), "the page was changed since: make pictures"
        assert picture.width == pictures.SHAPE[0]
    assert pictures.REPORT.stat().st_size < 200_000
