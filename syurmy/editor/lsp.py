"""The language server of tensor assembly, over standard input and output.

Positions: the protocol counts lines and columns from 0, columns in units that the client chooses; spans count both from
1, columns in characters. Texts that are not saved count wherever they are included.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsprotocol import types as t
from pygls import uris
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams, JsonRpcInvalidRequest
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol

import syurmy
from syurmy.assembler import AssemblyErrors
from syurmy.assembler.formatter import format_text
from syurmy.assembler.symbols import Kind, Occurrence
from syurmy.editor import language
from syurmy.editor.project import Analysis, Project
from syurmy.editor.streams import own_streams
from syurmy.isa.errors import Span, SyurmyError

_log = logging.getLogger(__name__)
PAUSE = 0.15  # seconds without a key before a text is analysed

_ICONS: dict[str | Kind, t.CompletionItemKind] = {
    "instruction": t.CompletionItemKind.Function,
    "directive": t.CompletionItemKind.Keyword,
    "file": t.CompletionItemKind.File,
    "word": t.CompletionItemKind.Keyword,
    "attribute": t.CompletionItemKind.Property,
    Kind.MACRO: t.CompletionItemKind.Method,
    Kind.CONSTANT: t.CompletionItemKind.Constant,
    Kind.LABEL: t.CompletionItemKind.Event,
    Kind.TABLE: t.CompletionItemKind.Enum,
    Kind.BUFFER: t.CompletionItemKind.Struct,
}
_OUTLINE = {
    Kind.INPUT: t.SymbolKind.Field,
    Kind.PARAM: t.SymbolKind.Property,
    Kind.TABLE: t.SymbolKind.Enum,
    Kind.BUFFER: t.SymbolKind.Array,
    Kind.CONSTANT: t.SymbolKind.Constant,
    Kind.LABEL: t.SymbolKind.Event,
    Kind.MACRO: t.SymbolKind.Function,
}


class Messages(LanguageServerProtocol):
    """What pygls tells the user of and leaves unanswered, a request that is malformed, is answered with an error."""

    def structure_message(self, data: dict[str, Any]) -> Any:
        try:
            return super().structure_message({"params": None, **data} if "method" in data else data)
        except JsonRpcException:
            return data

    def handle_message(self, message: Any) -> None:
        if hasattr(message, "jsonrpc"):
            super().handle_message(message)
            return
        request = message if isinstance(message, dict) else {}
        error: JsonRpcException = JsonRpcInvalidRequest("this is no request")
        if isinstance(method := request.get("method"), str) and "jsonrpc" in request:
            error = JsonRpcInvalidParams(f"these are no parameters of {method}")
        if isinstance(request.get("id"), str | int):
            self._send_response(request["id"], error=error.to_response_error())
        else:
            _log.warning("a message is ignored: %s", error.message)


class Server(LanguageServer):
    """``project``: what is known of the programs; ``told``: the diagnostics of every open program, by file."""

    def __init__(self) -> None:
        # whole texts, since pygls would count lines of its own in edits (a form feed ends one)
        super().__init__("syurmy-vm", syurmy.__version__, t.TextDocumentSyncKind.Full, protocol_cls=Messages)
        self.project = Project()
        self.told: dict[Path, dict[Path, list[t.Diagnostic]]] = {}
        self.names: dict[Path, str] = {}  # URIs of open files, as the client writes them
        self.turns: dict[Path, int] = {}

    # ---- places --------------------------------------------------------------------------------------------------

    def path(self, uri: str) -> Path:
        """The file of a URI; a text without a file gets a name that is none."""
        try:
            if uri.startswith("file:") and (name := uris.to_fs_path(uri)):
                return Path(name).resolve()
        except (ValueError, OSError):
            pass
        return Path("/", uri.replace("/", "_"))

    def uri(self, path: Path) -> str:
        return self.names.get(path) or uris.from_fs_path(str(path)) or str(path)

    def programs(self, uri: str) -> list[Analysis]:
        self.project.roots = [self.path(f.uri) for f in self.workspace.folders.values()]
        if not self.project.roots and self.workspace.root_uri:
            self.project.roots = [self.path(self.workspace.root_uri)]
        try:
            return self.project.programs_with(self.path(uri))
        except SyurmyError as e:
            raise JsonRpcInvalidParams(e.message) from None

    def place(self, uri: str, position: t.Position) -> tuple[Path, int, int]:
        """File, line and column, counted from 1."""
        path = self.path(uri)
        lines = self.project.edited.get(path, "").split("\n")
        at = self.workspace.position_codec.position_from_client_units(lines, position)
        return path, at.line + 1, at.character + 1

    def range(self, a: Analysis, span: Span) -> t.Range:
        lines = a.lines(span.file)
        row = min(max(span.line - 1, 0), len(lines) - 1)
        text = lines[row].rstrip("\r")
        first = min(span.column - 1, len(text))
        end = min(first + span.length, max(len(text), first + 1))
        whole = t.Range(t.Position(row, first), t.Position(row, end))
        return whole if text.isascii() else self.workspace.position_codec.range_to_client_units(lines, whole)

    def location(self, a: Analysis, span: Span) -> t.Location:
        return t.Location(self.uri(a.path_of(span)), self.range(a, span))

    def at(self, uri: str, position: t.Position) -> tuple[list[Analysis], Occurrence | None]:
        """The programs of a file, and what is named at a place in it."""
        programs = self.programs(uri)
        path, line, column = self.place(uri, position)
        return programs, programs[0].symbols.at(programs[0].file(path) or "", line, column)

    # ---- diagnostics ---------------------------------------------------------------------------------------------

    async def check(self, path: Path) -> None:
        """Analyse an open program once the keys rest, and those open ones that include it."""
        self.turns[path] = turn = self.turns.get(path, 0) + 1
        await asyncio.sleep(PAUSE)
        if self.turns.get(path) != turn:
            return
        for program in [*self.names]:
            if program == path or path in self.told.get(program, {}) or self._includes(program, path):
                self.tell(program)

    def _includes(self, program: Path, path: Path) -> bool:
        return self.project.analysis(program).file(path) is not None

    def tell(self, program: Path) -> None:
        """Publish the diagnostics of an open program, or take back those of one that was closed."""
        before = self.told.pop(program, {})
        if program in self.names:
            a = self.project.analysis(program)
            found: dict[Path, list[t.Diagnostic]] = {program: []}
            for error in a.draft.errors:
                where = program if error.span is None else a.path_of(error.span)
                found.setdefault(where, []).append(self.diagnostic(a, error))
            self.told[program] = found
        for path in {*before, *self.told.get(program, {})}:
            distinct: dict[str, t.Diagnostic] = {}
            for by_file in self.told.values():
                distinct |= {repr((d.range, d.message)): d for d in by_file.get(path, ())}
            self.text_document_publish_diagnostics(t.PublishDiagnosticsParams(self.uri(path), list(distinct.values())))

    def diagnostic(self, a: Analysis, error: SyurmyError) -> t.Diagnostic:
        notes = getattr(error, "__notes__", ())
        lines = [error.message, *([f"help: {error.help}"] if error.help else ()), *(f"note: {n}" for n in notes)]
        where = t.Range(t.Position(0, 0), t.Position(0, 1)) if error.span is None else self.range(a, error.span)
        return t.Diagnostic(where, "\n".join(lines), t.DiagnosticSeverity.Error, error.code, source="syurmy-vm")


server = Server()


# ---- texts -----------------------------------------------------------------------------------------------------------


@server.feature(t.TEXT_DOCUMENT_DID_OPEN)
async def opened(ls: Server, params: t.DidOpenTextDocumentParams) -> None:
    path = ls.path(params.text_document.uri)
    ls.names[path] = params.text_document.uri
    ls.project.edit(path, params.text_document.text)
    await ls.check(path)


@server.feature(t.TEXT_DOCUMENT_DID_CHANGE)
async def changed(ls: Server, params: t.DidChangeTextDocumentParams) -> None:
    path = ls.path(params.text_document.uri)
    ls.project.edit(path, ls.workspace.get_text_document(params.text_document.uri).source)
    await ls.check(path)


@server.feature(t.TEXT_DOCUMENT_DID_CLOSE)
def closed(ls: Server, params: t.DidCloseTextDocumentParams) -> None:
    path = ls.path(params.text_document.uri)
    ls.names.pop(path, None)
    ls.project.edit(path, None)
    ls.tell(path)


@server.feature(t.WORKSPACE_DID_CHANGE_WATCHED_FILES)
async def watched(ls: Server, params: t.DidChangeWatchedFilesParams) -> None:
    for path in [*ls.names]:
        await ls.check(path)


# ---- what is asked ---------------------------------------------------------------------------------------------------


@server.feature(t.TEXT_DOCUMENT_HOVER)
def hover(ls: Server, params: t.HoverParams) -> t.Hover | None:
    programs = ls.programs(params.text_document.uri)
    text = language.hover(programs, *ls.place(params.text_document.uri, params.position))
    return None if text is None else t.Hover(t.MarkupContent(t.MarkupKind.Markdown, text))


@server.feature(t.TEXT_DOCUMENT_DEFINITION)
def definition(ls: Server, params: t.DefinitionParams) -> t.Location | None:
    programs, here = ls.at(params.text_document.uri, params.position)
    if here is not None:
        for a in programs:
            if (found := a.symbols.definition(here)) is not None:
                return ls.location(a, found.span)
        return None
    own = programs[0]
    path, line, _ = ls.place(params.text_document.uri, params.position)
    for text in own.symbols.includes:
        if (text.span.file, text.span.line) == (own.file(path), line):
            target = language.include_of(own, text)
            if target is not None:
                return t.Location(ls.uri(target), t.Range(t.Position(0, 0), t.Position(0, 0)))
    return None


@server.feature(t.TEXT_DOCUMENT_REFERENCES)
def references(ls: Server, params: t.ReferenceParams) -> list[t.Location]:
    _, here = ls.at(params.text_document.uri, params.position)
    if here is None:
        return []
    everywhere = ls.project.everywhere(ls.path(params.text_document.uri), here.symbol)
    return [
        ls.location(a, o.span)
        for found in everywhere.values()
        for a, o in found
        if o.kind is None or params.context.include_declaration
    ]


@server.feature(t.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
def highlight(ls: Server, params: t.DocumentHighlightParams) -> list[t.DocumentHighlight]:
    programs, here = ls.at(params.text_document.uri, params.position)
    own = programs[0]
    if here is None:
        return []
    return [
        t.DocumentHighlight(
            ls.range(own, o.span), t.DocumentHighlightKind.Read if o.kind is None else t.DocumentHighlightKind.Write
        )
        for o in own.symbols.of(here.symbol)
        if o.span.file == here.span.file
    ]


@server.feature(t.TEXT_DOCUMENT_PREPARE_RENAME)
def prepare_rename(ls: Server, params: t.PrepareRenameParams) -> t.Range | None:
    programs, here = ls.at(params.text_document.uri, params.position)
    return None if here is None else ls.range(programs[0], here.span)


@server.feature(t.TEXT_DOCUMENT_RENAME, t.RenameOptions(prepare_provider=True))
def rename(ls: Server, params: t.RenameParams) -> t.WorkspaceEdit | None:
    _, here = ls.at(params.text_document.uri, params.position)
    if here is None:
        return None
    new = params.new_name.strip()
    everywhere = ls.project.everywhere(ls.path(params.text_document.uri), here.symbol)
    refusal = language.why_not(here.symbol, new, [*{id(a): a for f in everywhere.values() for a, _ in f}.values()])
    foreign = next((p for p in everywhere if not ls.project.owns(p)), None)
    if foreign is not None:
        refusal = f"'{here.symbol.name}' is a name of the installed library as well ({foreign.name})"
    if refusal is not None:
        raise JsonRpcInvalidParams(refusal)
    edits = {
        ls.uri(path): [t.TextEdit(ls.range(a, o.span), new) for a, o in found] for path, found in everywhere.items()
    }
    return t.WorkspaceEdit(changes=edits)


@server.feature(t.TEXT_DOCUMENT_COMPLETION, t.CompletionOptions(trigger_characters=[".", "%", '"', "/"]))
def completion(ls: Server, params: t.CompletionParams) -> t.CompletionList:
    uri = params.text_document.uri
    own = ls.programs(uri)[0]
    path, line, column = ls.place(uri, params.position)
    text = [*ls.project.edited.get(path, "").split("\n"), ""][line - 1][: column - 1]
    begun = language.begun(text)
    span = Span(own.file(path) or "", line, column - len(begun), len(begun))
    where = ls.range(own, span) if begun else t.Range(params.position, params.position)
    found = {p.text: p for p in language.proposals(own, path, line, text)}
    return t.CompletionList(False, [_item(p, where) for p in found.values()])


def _item(p: language.Proposal, where: t.Range) -> t.CompletionItem:
    return t.CompletionItem(
        p.text,
        kind=_ICONS.get(p.kind, t.CompletionItemKind.Variable),
        detail=p.detail or (p.kind.value if isinstance(p.kind, Kind) else None),
        documentation=t.MarkupContent(t.MarkupKind.Markdown, p.documentation) if p.documentation else None,
        text_edit=t.TextEdit(where, p.text),
    )


@server.feature(t.TEXT_DOCUMENT_INLAY_HINT)
def inlay_hints(ls: Server, params: t.InlayHintParams) -> list[t.InlayHint]:
    programs = ls.programs(params.text_document.uri)
    path = ls.path(params.text_document.uri)
    out = []
    for (line, column), text in sorted(language.hints(programs, path).items()):
        if params.range.start.line <= line - 1 <= params.range.end.line:
            where = ls.range(programs[0], Span(programs[0].file(path) or "", line, column - 1)).end
            out.append(t.InlayHint(where, f": {text}", t.InlayHintKind.Type))
    return out


@server.feature(t.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
def document_symbols(ls: Server, params: t.DocumentSymbolParams) -> list[t.DocumentSymbol]:
    own = ls.programs(params.text_document.uri)[0]
    file = own.file(ls.path(params.text_document.uri))
    ends = language.macro_ends(own, file or "")
    out: list[t.DocumentSymbol] = []
    for o in own.symbols.occurrences:
        if o.span.file != file or o.kind not in _OUTLINE:
            continue
        where = ls.range(own, o.span)
        whole = t.Range(where.start, t.Position(ends[o.span.line], 0)) if o.kind is Kind.MACRO else where
        made = t.DocumentSymbol(o.symbol.name, _OUTLINE[o.kind], whole, where, o.kind.value, children=[])
        inside = out and out[-1].kind is t.SymbolKind.Function and o.within and o.kind is not Kind.MACRO
        siblings: Any = out[-1].children if inside else out
        siblings.append(made)
    return out


@server.feature(t.TEXT_DOCUMENT_FORMATTING)
def formatting(ls: Server, params: t.DocumentFormattingParams) -> Sequence[t.TextEdit] | None:
    path = ls.path(params.text_document.uri)
    text = ls.project.edited.get(path, "")
    try:
        formatted = format_text(text, str(path))
    except AssemblyErrors as e:
        raise JsonRpcInvalidParams(f"nothing is formatted while a line cannot be read: {e.errors[0].message}") from None
    return None if formatted == text else [t.TextEdit(_all(text.split("\n")), formatted)]


def _all(lines: Sequence[str]) -> t.Range:
    return t.Range(t.Position(0, 0), t.Position(len(lines), 0))


def serve() -> None:
    """Serve one client on standard input and output until it leaves."""
    stdin, stdout = own_streams()
    server.start_io(stdin, stdout)
