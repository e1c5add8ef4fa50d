"""The language server as an editor meets it: a process of its own, spoken to by pytest-lsp's client."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_lsp
from lsprotocol import types as t
from pygls.exceptions import JsonRpcException
from pytest_lsp import ClientServerConfig, LanguageClient, client_capabilities

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "syurmy", "lsp"]

PROGRAM = """\
; a program
.include "lib.tasm"
.const N = 3
.input x : i8[N] private in 0..10
.param w : i8[2] public = {N, 1}
.output y public

    add   %bad, x, 1
    addi  z, x, N
    cast  y, z, i32
again: twice y, y
    slice part, y, axis=0, len=2
    lt    less, part, w
    reduce_max less, less, 0
    bnz   less, again
    halt
"""
LIBRARY = """\
; Two times src.
.macro twice(dst, src, by=2)
    muli %product, src, by
    cast dst, %product, i32
.endmacro
"""


@pytest_lsp.fixture(config=ClientServerConfig(server_command=COMMAND, server_env={"PYTHONPATH": str(ROOT)}))
async def client(lsp_client: LanguageClient, tmp_path: Path) -> AsyncIterator[None]:
    (tmp_path / "lib.tasm").write_text(LIBRARY)
    (tmp_path / "other.tasm").write_text(
        '.include "lib.tasm"\n.input z : i8[] public\n.output q public\n    twice q, z, by=3\n    halt\n'
    )
    (tmp_path / "main.tasm").write_text(PROGRAM)
    await lsp_client.initialize_session(
        t.InitializeParams(
            capabilities=client_capabilities("visual-studio-code"),
            workspace_folders=[t.WorkspaceFolder(tmp_path.as_uri(), "work")],
        )
    )
    yield
    await lsp_client.shutdown_session()


class Session:
    """A client with the texts that it has open."""

    def __init__(self, client: LanguageClient, folder: Path) -> None:
        self.client, self.folder, self.version = client, folder, 1

    def uri(self, name: str) -> str:
        return (self.folder / name).as_uri()

    def open(self, name: str, text: str) -> None:
        self.client.text_document_did_open(
            t.DidOpenTextDocumentParams(t.TextDocumentItem(self.uri(name), "tasm", 1, text))
        )

    def change(self, name: str, text: str) -> None:
        self.version += 1
        self.client.text_document_did_change(
            t.DidChangeTextDocumentParams(
                t.VersionedTextDocumentIdentifier(self.version, self.uri(name)),
                [t.TextDocumentContentChangeWholeDocument(text)],
            )
        )

    async def diagnostics(self, name: str) -> list[t.Diagnostic]:
        """The next ones that are published for a file."""
        while True:
            await asyncio.wait_for(self.client.wait_for_notification(t.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS), 20)
            if self.uri(name) in self.client.diagnostics:
                return list(self.client.diagnostics[self.uri(name)])

    def at(self, name: str, line: int, character: int) -> tuple[t.TextDocumentIdentifier, t.Position]:
        """Lines and columns count from 0 here, as in the protocol."""
        return t.TextDocumentIdentifier(self.uri(name)), t.Position(line, character)

    async def hover(self, name: str, line: int, character: int) -> str:
        found = await self.client.text_document_hover_async(t.HoverParams(*self.at(name, line, character)))
        return found.contents.value if found and isinstance(found.contents, t.MarkupContent) else ""

    async def completed(self, name: str, line: int, character: int) -> dict[str, t.CompletionItem]:
        found = await self.client.text_document_completion_async(t.CompletionParams(*self.at(name, line, character)))
        assert isinstance(found, t.CompletionList)
        return {item.label: item for item in found.items}


@pytest.fixture
def session(client: LanguageClient, tmp_path: Path) -> Session:
    return Session(client, tmp_path)


GOOD = PROGRAM.replace("    add   %bad, x, 1\n", "")


def applied(text: str, edits: list[t.TextEdit]) -> str:
    lines = text.split("\n")
    for e in sorted(edits, key=lambda e: (e.range.start.line, e.range.start.character), reverse=True):
        assert e.range.start.line == e.range.end.line
        line = lines[e.range.start.line]
        lines[e.range.start.line] = line[: e.range.start.character] + e.new_text + line[e.range.end.character :]
    return "\n".join(lines)


@pytest.mark.asyncio
async def test_diagnostics_while_typing(session: Session) -> None:
    session.open("main.tasm", PROGRAM.replace("reduce_max less", "reduce_mix less").replace("i8[2]", "i9[2]"))
    found = await session.diagnostics("main.tasm")
    assert [(d.code, d.range.start.line) for d in found] == [("A116", 4), ("A145", 7), ("A110", 13)]
    assert found[2].message == "unknown instruction 'reduce_mix'\nhelp: did you mean 'reduce_min'?"
    assert (found[2].range.start.character, found[2].range.end.character) == (4, 14)
    session.change("main.tasm", GOOD)
    assert await session.diagnostics("main.tasm") == []


@pytest.mark.asyncio
async def test_unsaved_includes_and_their_faults(session: Session) -> None:
    session.open("main.tasm", GOOD)
    assert await session.diagnostics("main.tasm") == []
    session.open("lib.tasm", LIBRARY.replace("cast dst", "cost dst"))
    while not session.client.diagnostics.get(session.uri("lib.tasm")):
        await session.diagnostics("lib.tasm")
    (fault,) = session.client.diagnostics[session.uri("lib.tasm")]
    assert fault.code == "A110"
    assert "in expansion of macro twice at" in fault.message
    session.change("lib.tasm", LIBRARY)
    while session.client.diagnostics[session.uri("lib.tasm")]:
        await session.diagnostics("lib.tasm")


@pytest.mark.asyncio
async def test_hover(session: Session) -> None:
    session.open("main.tasm", GOOD)
    mnemonic = await session.hover("main.tasm", 10, 6)
    assert "slice dst, src, axis" in mnemonic
    assert "Proof: linear" in mnemonic
    written = await session.hover("main.tasm", 7, 10)
    assert "register `z`" in written
    assert "`i64[3]` in 3..13: addi of x i8[3] 0..10; value=3" in written
    read = await session.hover("main.tasm", 7, 13)
    assert "input `x`" in read
    assert "`i8[3]` in 0..10" in read
    macro = await session.hover("main.tasm", 9, 9)
    assert "Two times src." in macro
    assert ".macro twice(dst, src, by=2)" in macro
    assert "an integer constant" in await session.hover("main.tasm", 2, 3)
    assert "constant `N`" in await session.hover("main.tasm", 3, 14)
    assert "-128 to 127" in await session.hover("main.tasm", 3, 12)
    assert "label `again`" in await session.hover("main.tasm", 13, 16)
    assert "lib.tasm" in await session.hover("main.tasm", 1, 13)
    assert "attribute `axis` of `slice`" in await session.hover("main.tasm", 10, 21)
    assert await session.hover("main.tasm", 0, 3) == ""
    session.open("lib.tasm", LIBRARY)
    inside = await session.hover("lib.tasm", 2, 11)
    assert "i64[3]" in inside
    assert "i64[]" in inside, "the other program of the workspace calls it with a scalar"


@pytest.mark.asyncio
async def test_definition_and_references(session: Session) -> None:
    session.open("main.tasm", GOOD)

    async def definition(line: int, character: int) -> tuple[str, int, int]:
        found = await session.client.text_document_definition_async(
            t.DefinitionParams(*session.at("main.tasm", line, character))
        )
        assert isinstance(found, t.Location)
        return found.uri.rpartition("/")[2], found.range.start.line, found.range.start.character

    assert await definition(9, 9) == ("lib.tasm", 1, 7)
    assert await definition(10, 17) == ("main.tasm", 9, 13)
    assert await definition(13, 17) == ("main.tasm", 9, 0)
    assert await definition(3, 14) == ("main.tasm", 2, 7)
    assert await definition(1, 14) == ("lib.tasm", 0, 0)
    found = await session.client.text_document_references_async(
        t.ReferenceParams(t.ReferenceContext(True), *session.at("main.tasm", 9, 9))
    )
    assert found is not None
    assert sorted((f.uri.rpartition("/")[2], f.range.start.line) for f in found) == [
        ("lib.tasm", 1),
        ("main.tasm", 9),
        ("other.tasm", 3),
    ]


@pytest.mark.asyncio
async def test_rename(session: Session) -> None:
    session.open("main.tasm", GOOD)
    session.open("lib.tasm", LIBRARY)

    async def renamed(name: str, line: int, character: int, new: str) -> dict[str, str]:
        place = session.at(name, line, character)
        edit = await session.client.text_document_rename_async(t.RenameParams(*place, new))
        assert edit is not None
        assert edit.changes is not None
        out = {}
        for uri, edits in edit.changes.items():
            file = uri.rpartition("/")[2]
            before = {"main.tasm": GOOD, "lib.tasm": LIBRARY}.get(file) or (session.folder / file).read_text()
            out[file] = applied(before, list(edits))
        return out

    assert await renamed("main.tasm", 2, 8, "LENGTH") == {"main.tasm": GOOD.replace("N", "LENGTH")}
    twice = await renamed("lib.tasm", 1, 9, "double")
    assert twice["lib.tasm"] == LIBRARY.replace("twice", "double")
    assert twice["main.tasm"] == GOOD.replace("twice", "double")
    assert "double q, z" in twice["other.tasm"]
    by = await renamed("lib.tasm", 1, 24, "factor")
    assert set(by) == {"lib.tasm", "other.tasm"}
    assert "q, z, factor=3" in by["other.tasm"]
    words = [(new, "a word of the language") for new in ("i8", "true", "public", "in")]
    for new, why in [("x", "taken"), ("2y", "cannot be a name"), ("halt", "is an instruction"), *words]:
        with pytest.raises(JsonRpcException, match=why):
            await renamed("main.tasm", 7, 10, new)
    for place in (("lib.tasm", 1, 9), ("main.tasm", 9, 1)):  # a macro, a label
        with pytest.raises(JsonRpcException, match="is an instruction"):
            await renamed(*place, "add")


@pytest.mark.asyncio
async def test_completion(session: Session) -> None:
    session.open("main.tasm", GOOD + '    re\n    cast y, \n    bnz less, a\n.\n.include "l\n    twice y, ; x\n')
    begin = await session.completed("main.tasm", 15, 6)
    assert {"rescale", "relu", "twice", ".param"} <= set(begin)
    edit = begin["rescale"].text_edit
    assert isinstance(edit, t.TextEdit)
    assert (edit.range.start.character, edit.range.end.character) == (4, 6)
    operands = await session.completed("main.tasm", 16, 12)
    assert {"x", "w", "y", "N", "i16", "dtype="} <= set(operands)
    assert operands["x"].detail == "i8[3] in 0..10"
    assert "again" in await session.completed("main.tasm", 17, 15)
    assert ".param" in await session.completed("main.tasm", 18, 1)
    assert {"lib.tasm", "other.tasm", "nn.tasm"} <= set(await session.completed("main.tasm", 19, 11))
    assert {"src=", "by="} <= set(await session.completed("main.tasm", 20, 13))
    assert await session.completed("main.tasm", 20, 16) == {}


@pytest.mark.asyncio
async def test_hints_symbols_and_format(session: Session) -> None:
    session.open("main.tasm", GOOD)
    document = t.TextDocumentIdentifier(session.uri("main.tasm"))
    hints = await session.client.text_document_inlay_hint_async(
        t.InlayHintParams(document, t.Range(t.Position(0, 0), t.Position(10, 0)))
    )
    assert hints is not None
    assert [(h.position.line, h.position.character, h.label) for h in hints] == [
        (7, 11, ": i64[3]"),
        (8, 11, ": i32[3]"),
        (9, 14, ": i32[3]"),
        (10, 14, ": i32[2]"),
    ]
    session.open("lib.tasm", LIBRARY)
    symbols = await session.client.text_document_document_symbol_async(t.DocumentSymbolParams(document))
    assert [s.name for s in symbols or ()] == ["N", "x", "w", "again"]
    library = t.TextDocumentIdentifier(session.uri("lib.tasm"))
    (macro,) = await session.client.text_document_document_symbol_async(t.DocumentSymbolParams(library)) or ()
    assert isinstance(macro, t.DocumentSymbol)
    assert (macro.name, macro.range.start.line, macro.range.end.line) == ("twice", 1, 5)
    options = t.FormattingOptions(4, True)
    edits = await session.client.text_document_formatting_async(t.DocumentFormattingParams(document, options))
    assert edits is not None
    assert "again:  twice      y, y\n" in edits[0].new_text
    session.change("main.tasm", edits[0].new_text)
    assert not await session.client.text_document_formatting_async(t.DocumentFormattingParams(document, options))
    session.change("main.tasm", "    add y x\n")
    with pytest.raises(JsonRpcException, match="cannot be read"):
        await session.client.text_document_formatting_async(t.DocumentFormattingParams(document, options))
    assert "add dst, a, b" in await session.hover("main.tasm", 0, 5), "and the session goes on"


@pytest.mark.asyncio
async def test_columns_are_the_clients(session: Session) -> None:
    session.open("main.tasm", '.include "😋😋😋.tasm"\n    halt\n')
    (fault,) = [d for d in await session.diagnostics("main.tasm") if d.code == "A150"]
    assert (fault.range.start.character, fault.range.end.character) == (9, 9 + 2 + 6 + 5)
    session.change("main.tasm", "\ufeff" + GOOD)  # the mark takes a column, and is no fault
    assert await session.diagnostics("main.tasm") == []


def test_a_client_that_sends_nonsense_and_leaves(tmp_path: Path) -> None:
    def framed(body: bytes) -> bytes:
        return b"Content-Length: %d\r\n\r\n" % len(body) + body

    ask = {"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {"capabilities": {}}}
    nonsense = framed(b"{not json") + framed(b"[]") + framed(b'{"jsonrpc": "2.0", "id": 1, "method": "no/such"}')
    nonsense += framed(b'{"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": {}}')
    nonsense += framed(b'{"jsonrpc": "2.0", "id": 2, "method": "textDocument/hover", "params": {}}')
    nonsense += framed(b'{"id": 3, "method": "textDocument/hover"}')
    run = subprocess.run(COMMAND, input=nonsense + framed(json.dumps(ask).encode()), capture_output=True, cwd=ROOT,
                         timeout=60, check=False)  # fmt: skip
    assert run.returncode == 0
    assert b'"id": 7' in run.stdout or b'"id":7' in run.stdout
    assert b"hoverProvider" in run.stdout
    answers = [json.loads(part[part.index(b"{") :]) for part in run.stdout.split(b"Content-Length")[1:]]
    codes = {a["id"]: a.get("error", {}).get("code") for a in answers if "id" in a}
    assert codes == {1: -32601, 2: -32602, 3: -32600, 7: None}
    sync = answers[-1]["result"]["capabilities"]["textDocumentSync"]
    assert sync["change"] == t.TextDocumentSyncKind.Full, "of parts, pygls takes a form feed for the end of a line"


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['lsprotocol'] = None; sys.argv = ['syurmy-vm', 'lsp']\n"
    code += "from syurmy.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 2
    assert "error[X150]: the language server needs lsprotocol" in run.stderr
    assert "syurmy-vm[editor]" in run.stderr
