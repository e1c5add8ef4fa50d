"""What README.md shows is what ``python -m benchmarks.readme`` makes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from benchmarks import readme


def test_the_picture_is_the_generated_one() -> None:
    text = readme.picture()
    assert readme.PICTURE.read_text() == text
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg")
    assert any(e.text == "digit = 7" for e in root.iter())


def test_numbers_and_outputs_have_their_places() -> None:
    text = readme.README.read_text()
    assert len(readme.SHOWN.findall(text)) == 2
    m = {"prove": 0.1234, "verify": 0.0123, "bytes": 123456, "runs": 3}
    changed = readme.with_numbers(text, m, {"cpu": "a machine", "cores": 2, "load": 0.5})
    assert "| prove | **123 ms** |" in changed
    assert "| verify | **12 ms** |" in changed
    assert "| proof | **121 KB** |" in changed
    assert changed.replace(changed.partition(readme.BEGIN)[2].partition(readme.END)[0], "") == text.replace(
        text.partition(readme.BEGIN)[2].partition(readme.END)[0], ""
    )
