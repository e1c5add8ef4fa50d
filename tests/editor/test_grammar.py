"""The TextMate grammar is what the registry says. That it tokenises every program is tested in editors/vscode."""

from syurmy.editor.grammar import PATH, grammar


def test_grammar_is_up_to_date() -> None:
    assert PATH.read_text() == grammar(), "run python -m syurmy.editor.grammar"
