"""How objects show themselves in a session and in a notebook: in a line, in a table, and never with private data."""

from __future__ import annotations

from collections.abc import Iterable


class Summary:
    """For classes that say in ``summary`` what may be shown of them."""

    def summary(self) -> list[tuple[str, str]]:
        """Names and texts, in order."""
        raise NotImplementedError

    def table(self) -> list[tuple[str, str]]:
        """The same for a table, which has room for more."""
        return self.summary()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name} {text}' for name, text in self.summary())})"

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, self.table())


def html_table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """A table with a caption; texts may come from strangers."""
    import html

    cells = "".join(
        f"<tr><th style='text-align: left'>{html.escape(name)}</th>"
        f"<td style='text-align: left'><pre style='margin: 0'>{html.escape(text)}</pre></td></tr>"
        for name, text in rows
    )
    return f"<table><caption>{html.escape(title)}</caption>{cells}</table>"


def listed(names: Iterable[object], most: int = 4) -> str:
    """Names with commas, the first few of many."""
    texts = [str(name) for name in names]
    more = f", ... ({len(texts)})" if len(texts) > most else ""
    return (", ".join(texts[:most]) + more) if texts else "none"
