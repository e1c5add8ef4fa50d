"""The manual names everything the registry holds, and docs/isa.md is up to date."""

from pathlib import Path

import syurmy.isa.ops  # noqa: F401
from syurmy.isa import manual
from syurmy.isa.instruction import REGISTRY


def test_every_instruction_has_a_section() -> None:
    text = manual.manual()
    assert len(REGISTRY) >= 6
    for op in REGISTRY.values():
        assert text.count(f"\n### {op.name}\n") == 1
        assert f"`{op.example}`" in text
        for a in op.attributes:
            assert f"| `{a.name}` |" in text
    for family in {op.family for op in REGISTRY.values()}:
        assert f"\n## {family[0].upper()}{family[1:]}\n" in text


def test_page_is_up_to_date() -> None:
    assert manual.main(["--check"]) == 0


def test_stale_page_and_bad_usage(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(manual, "PATH", tmp_path / "docs" / "isa.md")
    assert manual.main(["--check"]) == 1
    assert "is stale" in capsys.readouterr().err
    assert manual.main([]) == 0
    assert manual.main(["--check"]) == 0
    manual.PATH.write_text("old", encoding="utf-8")
    assert manual.main(["--check"]) == 1
    assert manual.main(["--wrong"]) == 2


def test_usage_line() -> None:
    assert manual.usage(REGISTRY["rescale"]) == "rescale dst, src, shift, dtype, [mult=1], [lo=...], [hi=...]"
    assert manual.usage(REGISTRY["repeat"]) == "repeat count, [counter]"
