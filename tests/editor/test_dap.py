"""The debug adapter as an editor meets it. Microsoft's own client speaks to it in editors/vscode/test/dap.test.js."""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.editor.dap_client import COMMAND, ROOT, SUMS, Client, Failed, process


@pytest.fixture
def client() -> Iterator[Client]:
    made, adapter = process()
    yield made
    adapter.stdin.close()  # type: ignore[union-attr]
    assert adapter.wait(20) == 0


def names(client: Client, scope: str, frame: int = 1) -> dict[str, dict[str, Any]]:
    scopes = {s["name"]: s for s in client.ask("scopes", frameId=frame)["scopes"]}
    return {
        v["name"]: v
        for v in client.ask("variables", variablesReference=scopes[scope]["variablesReference"])["variables"]
    }


# ---- motion ----------------------------------------------------------------------------------------------------------


def test_steps_forwards_and_back(client: Client) -> None:
    assert client.start()["reason"] == "entry"
    seen = [client.place()]
    for _ in range(4):
        client.move("stepIn")
        seen.append(client.place())
    assert seen == [("sums", 16), ("sums", 17), ("sums", 18), ("macro twice", 12), ("macro twice", 13)]
    frames = client.ask("stackTrace", threadId=1)["stackFrames"]
    assert [(f["name"], f["line"]) for f in frames] == [("macro twice", 13), ("sums", 19)]
    assert Path(frames[0]["source"]["path"]) == SUMS
    client.move("stepOut")
    assert client.place() == ("sums", 20)
    client.move("stepBack")
    assert client.place() == ("macro twice", 13)
    client.move("stepBack", granularity="instruction")
    assert client.place() == ("macro twice", 12)
    client.move("stepBack")
    client.move("stepBack")
    assert client.place() == ("sums", 17)
    client.move("next")
    assert client.place() == ("sums", 24), "over the whole loop"
    client.move("next", granularity="instruction")
    assert client.place() == ("sums", 25), "over the call"
    client.ask("next", threadId=1)
    assert client.event("exited")["exitCode"] == 0
    client.event("terminated")


def test_the_end_and_back_from_there(client: Client) -> None:
    client.start(stopOnEntry=False, stopOnEnd=True)
    assert client.place()[0] == "sums (halted)"
    assert (client.value("total"), client.value("share")) == ("20", "6")
    client.move("reverseContinue")
    assert client.place() == ("sums", 16)
    client.move("continue")
    client.move("stepBack")
    assert client.place() == ("sums", 25)
    client.move("continue")
    client.ask("continue", threadId=1)
    client.event("terminated")


def test_output_of_a_run_without_stops(client: Client) -> None:
    client.begin(noDebug=True)
    client.ask("setBreakpoints", source={"path": str(SUMS)}, breakpoints=[{"line": 20}])
    client.ask("configurationDone")
    assert "total = 20" in client.event("output")["output"]
    client.event("terminated")


def test_goto_travels_in_time(client: Client) -> None:
    client.start()
    client.ask("setBreakpoints", source={"path": str(SUMS)}, breakpoints=[{"line": 22, "hitCondition": "3"}])
    client.move("continue")
    assert client.value("t") == "2"
    source = {"path": str(SUMS)}
    targets = client.ask("gotoTargets", source=source, line=20)["targets"]
    assert [t["label"].rpartition("(")[2] for t in targets] == [
        "back)",
        "back)",
        "back)",
        "the next time it is reached",
    ]
    client.move("goto", targetId=targets[0]["id"])
    assert (client.place(), client.value("t")) == (("sums", 20), "0")
    targets = client.ask("gotoTargets", source=source, line=18)["targets"]
    steps = {t["label"]: t["id"] for t in targets}
    assert sum(label.endswith("(on)") for label in steps) == 2, "what is known of the path ahead"
    client.move("goto", targetId=targets[-1]["id"])
    assert (client.place(), client.value("t")) == (("sums", 18), "2")
    with pytest.raises(Failed, match="no such target"):
        client.ask("goto", threadId=1, targetId=1)
    with pytest.raises(Failed, match="line 9 of"):
        client.ask("gotoTargets", source=source, line=9)


# ---- breakpoints -----------------------------------------------------------------------------------------------------


def test_line_breakpoints(client: Client) -> None:
    client.begin(stopOnEntry=False)
    source = {"path": str(SUMS)}
    made = client.ask("setBreakpoints", source=source, breakpoints=[
        {"line": 20, "condition": "more > 5"}, {"line": 15}, {"line": 22, "hitCondition": "% 2"},
        {"line": 21, "logMessage": "{t}: sum is {sum}, {nothing}"}, {"line": 99}, {"line": 20, "condition": "more >"},
        {"line": 20, "hitCondition": "often"}])["breakpoints"]  # fmt: skip
    assert [(b["verified"], b.get("line")) for b in made] == [
        (True, 20), (True, 16), (True, 22), (True, 21), (False, None), (False, None), (False, None)]  # fmt: skip
    assert "last line with code" in made[4]["message"]
    assert "cannot be read" in made[5]["message"]
    assert "% N" in made[6]["message"]
    client.ask("configurationDone")
    stops = []
    for _ in range(5):
        stop = client.event("stopped")
        stops.append((client.place()[1], client.value("t") if client.place()[1] > 17 else "", stop["hitBreakpointIds"]))
        client.ask("continue", threadId=1)
    ids = [b.get("id") for b in made]
    assert stops == [
        (16, "", [ids[1]]),
        (22, "1", [ids[2]]),
        (20, "2", [ids[0]]),
        (20, "3", [ids[0]]),
        (22, "3", [ids[2]]),
    ]
    client.event("terminated")


def test_log_points_tell_and_go_on(client: Client) -> None:
    client.begin(stopOnEntry=False)
    client.ask("setBreakpoints", source={"name": "sums.tasm"}, breakpoints=[
        {"line": 21, "logMessage": "round {t}: {sum}, {nothing}"}])  # fmt: skip
    client.ask("configurationDone")
    texts = [client.event("output")["output"] for _ in range(4)]
    assert [t.split(",")[0] for t in texts] == ["round 0: 2", "round 1: 6", "round 2: 12", "round 3: 20"]
    assert "'nothing'" in texts[0]
    client.event("terminated")


def test_breakpoints_of_every_kind(client: Client) -> None:
    client.begin(stopOnEntry=False)
    made = client.ask("setFunctionBreakpoints", breakpoints=[
        {"name": "half"}, {"name": "twice", "condition": "t == 3"}, {"name": "nowhere"}])["breakpoints"]  # fmt: skip
    assert [b["verified"] for b in made] == [True, True, False]
    (at,) = client.ask("setInstructionBreakpoints", breakpoints=[
        {"instructionReference": "0x2", "offset": 1, "hitCondition": "== 2"}])["breakpoints"]  # fmt: skip
    assert at["instructionReference"] == "0x3"
    info = client.ask("dataBreakpointInfo", name="kept[1:3]")
    assert info["dataId"] == "kept[1:3]"
    data = client.ask("setDataBreakpoints", breakpoints=[{"dataId": "kept[1:3]", "accessType": "write"}])["breakpoints"]
    assert data[0]["verified"]
    client.ask("configurationDone")
    seen = []
    for _ in range(5):
        stop = client.event("stopped")
        seen.append((stop["reason"], client.place()))
        client.ask("continue", threadId=1)
    assert seen == [
        ("instruction breakpoint", ("macro twice", 12)),
        ("data breakpoint", ("sums", 23)),
        ("data breakpoint", ("sums", 23)),
        ("function breakpoint", ("macro twice", 12)),
        ("function breakpoint", ("routine half", 28)),
    ]
    client.event("terminated")


def test_watching_what_a_variable_shows(client: Client) -> None:
    client.start()
    kept = names(client, "RAM")["kept"]
    info = client.ask("dataBreakpointInfo", variablesReference=kept["variablesReference"], name="[2]")
    assert info["dataId"] == "kept[2]"
    client.ask("setDataBreakpoints", breakpoints=[{"dataId": "kept[2]", "accessType": "write"}])
    stop = client.move("continue")
    assert "kept[2] changed at step" in stop["description"]
    assert client.value("kept[2]") == "3"
    assert client.ask("dataBreakpointInfo", name="nothing")["dataId"] is None
    back = client.move("reverseContinue")
    assert back["reason"] == "entry"


def test_traps(client: Client) -> None:
    client.begin(stopOnEntry=False, inputs=("x=[1,2,3,4]", "n=0"))
    client.ask("setExceptionBreakpoints", filters=["trap"])
    client.ask("configurationDone")
    stop = client.event("stopped")
    assert (stop["reason"], stop["text"]) == ("exception", "divisor 0 is below 1")
    assert client.place() == ("routine half", 28)
    info = client.ask("exceptionInfo", threadId=1)
    assert (info["exceptionId"], info["breakMode"]) == ("T140", "always")
    assert "n = 0" in info["details"]["stackTrace"]
    client.move("stepBack")
    assert client.place() == ("sums", 24)
    with pytest.raises(Failed, match="not stopped at a trap"):
        client.ask("exceptionInfo", threadId=1)
    client.move("continue")
    client.ask("continue", threadId=1)
    assert client.event("exited")["exitCode"] == 4


def test_traps_that_do_not_stop(client: Client) -> None:
    client.begin(stopOnEntry=False, inputs=("x=[1,2,3,4]", "n=0"))
    client.ask("setExceptionBreakpoints", filters=[])
    client.ask("configurationDone")
    assert "error[T140]" in client.event("output")["output"]
    client.event("terminated")


# ---- values ----------------------------------------------------------------------------------------------------------


def test_scopes_and_evaluation(client: Client) -> None:
    client.start()
    client.ask("setBreakpoints", source={"path": str(SUMS)}, breakpoints=[{"line": 13, "condition": "t == 1"}])
    client.move("continue")
    titles = [s["name"] for s in client.ask("scopes", frameId=1)["scopes"]]
    assert titles == ["Names of twice", "Registers", "Loop counters", "Inputs", "RAM", "Params", "Public statement"]
    (local,) = names(client, "Names of twice").values()
    assert (local["name"], local["value"], local["evaluateName"]) == ("%t", "4", "twice.1.t")
    assert client.value("%t * 2") == "8"
    assert names(client, "Loop counters")["t"]["value"] == "1"
    assert names(client, "Public statement")["x"]["value"] == "[1, 2, 3, 4]"
    registers = names(client, "Registers")
    assert (registers["one"]["value"], registers["one"]["type"]) == ("2", "i16[]")
    assert client.value("x.sum() + one") == "12"
    assert client.value("x[1:3]") == "[2, 3]"
    answer = client.ask("evaluate", expression="x", context="watch")
    inside = client.ask("variables", variablesReference=answer["variablesReference"])["variables"]
    assert [v["value"] for v in inside if v["name"].startswith("[")] == ["1", "2", "3", "4"]
    for wrong, why in [
        ("nothing", "nothing"),
        ("x[9]", "element 9"),
        ("x +", "cannot be read"),
        ("__import__('os')", "__import__"),
    ]:
        with pytest.raises(Failed, match=why):
            client.ask("evaluate", expression=wrong)
    assert "one = 2" in client.ask("evaluate", expression="why twice.1.t", context="repl")["result"]
    with pytest.raises(Failed, match="button"):
        client.ask("evaluate", expression="next", context="repl")
    found = client.ask("completions", text="to", column=3)["targets"]
    assert [t["label"] for t in found] == ["total"]
    client.move("stepIn")
    with pytest.raises(Failed, match="left"):
        client.ask("variables", variablesReference=answer["variablesReference"])


def test_large_tensors_come_in_pages(client: Client, tmp_path: Path) -> None:
    (tmp_path / "wide.tasm").write_text(".input x : i16[3000, 2] public\n.output y public\n    add y, x, 1\n    halt\n")
    np.save(tmp_path / "x.npy", np.arange(6000).reshape(3000, 2))
    client.start(program=tmp_path / "wide.tasm", inputs=[f"x={tmp_path / 'x.npy'}"])
    client.move("next")
    y = names(client, "Registers")["y"]
    assert (y["value"], y["indexedVariables"]) == ("i64[3000, 2] 1..6000", 3000)
    reference = y["variablesReference"]
    page = client.ask("variables", variablesReference=reference, filter="indexed", start=2000, count=2)["variables"]
    assert [(v["name"], v["value"]) for v in page] == [("[2000]", "[4001, 4002]"), ("[2001]", "[4003, 4004]")]
    row = client.ask("variables", variablesReference=page[0]["variablesReference"])["variables"]
    assert [(v["name"], v["value"], v["evaluateName"]) for v in row] == [
        ("[0]", "4001", "y[2000, 0]"), ("[1]", "4002", "y[2000, 1]")]  # fmt: skip
    described = client.ask("variables", variablesReference=reference, filter="named")["variables"]
    assert {v["name"]: v["value"] for v in described}["range"] == "1..6000, mean 3000.5"
    assert len(described) == y["namedVariables"]
    everything = client.ask("variables", variablesReference=reference)["variables"]
    assert everything[-1]["value"] == "2,000 more"


def test_memory_and_disassembly(client: Client) -> None:
    client.start(stopOnEntry=False, stopOnEnd=True)
    kept = names(client, "RAM")["kept"]
    read = client.ask("readMemory", memoryReference=kept["memoryReference"], count=64)
    assert np.frombuffer(base64.b64decode(read["data"]), "<i2").tolist() == [1, 2, 3, 4, 0, 0, 0, 0]
    assert read["unreadableBytes"] == 48
    part = client.ask("readMemory", memoryReference="kept", offset=2, count=4)
    assert np.frombuffer(base64.b64decode(part["data"]), "<i2").tolist() == [2, 3]
    assert client.ask("readMemory", memoryReference="kept", offset=99, count=4)["unreadableBytes"] == 4
    with pytest.raises(Failed, match="nothing"):
        client.ask("readMemory", memoryReference="nothing", count=4)
    found = client.ask("disassemble", memoryReference="0x1", instructionOffset=-3, instructionCount=20)["instructions"]
    assert len(found) == 20
    assert [i["address"] for i in found[:4]] == ["-0x2", "-0x1", "0x0", "0x1"]
    assert found[0]["presentationHint"] == "invalid"
    assert found[2]["instruction"] == "cast total, zero, i32"
    assert (found[3]["instruction"], found[3]["line"]) == ("repeat 4, t", 17)
    assert [i["symbol"] for i in found if "symbol" in i] == ["half"]
    assert client.ask("loadedSources")["sources"][0]["name"] == "sums.tasm"
    lines = client.ask("breakpointLocations", source={"path": str(SUMS)}, line=14, endLine=18)["breakpoints"]
    assert [b["line"] for b in lines] == [16, 17, 18]


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_requests_that_cannot_be_carried_out(client: Client, tmp_path: Path) -> None:
    client.ask("initialize", adapterID="tasm")
    broken = tmp_path / "broken.tasm"
    broken.write_text("    add y x\n")
    for command, arguments, why in [
        ("nothing", {}, "there is no request 'nothing'"),
        ("next", {"threadId": 1}, "no program has been launched"),
        ("launch", {}, "'program' is missing"),
        ("launch", {"program": "/no/such.tasm"}, "does not exist"),
        ("launch", {"program": str(broken)}, "A100"),
        ("launch", {"program": str(SUMS), "inputs": ["x=[1,2,3,4]"]}, "input 'n'"),
        ("launch", {"program": str(SUMS), "inputs": "x"}, "'inputs' is a list"),
        ("attach", {}, "no session to attach to"),
    ]:  # fmt: skip
        with pytest.raises(Failed, match=why):
            client.ask(command, **arguments)
    client.start()
    for command, arguments, why in [
        ("setBreakpoints", {"source": {"path": str(SUMS)}, "breakpoints": 3}, "list of objects"),
        ("setBreakpoints", {"breakpoints": []}, "'source' is missing"),
        ("variables", {"variablesReference": 999}, "left"),
        ("variables", {"variablesReference": "one"}, "a whole number"),
        ("disassemble", {"memoryReference": "here", "instructionCount": 1}, "no reference"),
        ("breakpointLocations", {"source": {"path": "/other.tasm"}, "line": 1}, "program's files"),
    ]:  # fmt: skip
        with pytest.raises(Failed, match=why):
            client.ask(command, **arguments)
    assert client.value("zero") == "0"


def test_malformed_messages_are_told_and_skipped(client: Client) -> None:
    for body in (b"{not json", b"[1, 2]", b'"text"', b'{"seq": 1}', b'{"seq": "x", "command": 3}', b"\xff\xfe"):
        client.raw(body)
        assert "message" in client.event("output")["output"]
    client.raw(b'{"seq": 50, "type": "request", "command": "threads", "arguments": [1]}')
    with pytest.raises(Failed, match="no object"):
        client.answer(50)
    client.raw(b'{"seq": 51, "type": "response", "command": "runInTerminal", "request_seq": 1, "success": true}')
    assert client.start()["reason"] == "entry"


@pytest.mark.parametrize(
    "text", [b"GET / HTTP/1.1\r\n\r\n", b"Content-Length: many\r\n\r\n", b"Content-Length: 99999999999\r\n\r\n"]
)
def test_another_protocol_is_given_up(text: bytes) -> None:
    run = subprocess.run(COMMAND, input=text, capture_output=True, cwd=ROOT, timeout=60, check=False)
    assert run.returncode == 0
    assert b'"event": "output"' in run.stdout


LONG = """\
.input x : i16[] public
.output y public
    mov y, x
    repeat 900000
        addi z, y, 1
        cast y, z, i16
        mov y, x
    end
    halt
"""


def test_a_run_is_paused_and_takes_breakpoints(client: Client, tmp_path: Path) -> None:
    program = tmp_path / "long.tasm"
    program.write_text(LONG)
    client.begin(program=program, inputs=["x=1"], stopOnEntry=False, maxSteps=10**7)
    client.ask("configurationDone")
    time.sleep(0.3)
    assert client.ask("threads")["threads"][0]["id"] == 1, "answered while it runs"
    client.ask("pause", threadId=1)
    assert client.event("stopped")["reason"] == "pause"
    first = int(client.value("step"))
    assert first > 0
    client.ask("continue", threadId=1)
    time.sleep(0.2)
    client.ask("setBreakpoints", source={"path": str(program)}, breakpoints=[{"line": 6}])
    assert client.event("stopped")["reason"] == "breakpoint"
    assert client.place()[1] == 6
    assert int(client.value("step")) > first
    client.ask("setBreakpoints", source={"path": str(program)}, breakpoints=[])
    client.ask("continue", threadId=1)
    client.ask("disconnect")


def test_going_back_is_paused_and_left_too(client: Client, tmp_path: Path) -> None:
    """A condition that never holds has all of the run looked at again, which takes seconds."""
    program = tmp_path / "long.tasm"
    program.write_text(LONG)
    client.start(program=program, inputs=["x=1"], maxSteps=10**7, stopOnEnd=True)
    client.move("continue")
    end = int(client.value("step"))
    never = {"source": {"path": str(program)}, "breakpoints": [{"line": 6, "condition": "y > 100"}]}
    client.ask("setBreakpoints", **never)
    client.ask("reverseContinue", threadId=1)
    time.sleep(0.3)
    assert client.ask("threads")["threads"][0]["id"] == 1, "answered while it goes back"
    client.ask("pause", threadId=1)
    assert client.event("stopped")["reason"] == "pause"
    middle = int(client.value("step"))
    assert 0 < middle < end
    client.ask("reverseContinue", threadId=1)
    time.sleep(0.2)
    client.ask("setBreakpoints", source={"path": str(program)}, breakpoints=[{"line": 5}])
    assert client.event("stopped")["reason"] == "breakpoint"
    assert client.place()[1] == 5
    assert int(client.value("step")) < middle
    client.ask("setBreakpoints", **never)
    client.ask("reverseContinue", threadId=1)
    began = time.monotonic()
    client.ask("disconnect")
    assert time.monotonic() - began < 5


# ---- TCP -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def port() -> Iterator[int]:
    server = subprocess.Popen([*COMMAND, "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE)
    assert server.stdout is not None
    host, _, number = server.stdout.readline().decode().strip().partition(":")
    assert host == "127.0.0.1"
    yield int(number)
    server.terminate()
    server.wait(20)


def connected(port: int) -> tuple[Client, socket.socket]:
    s = socket.create_connection(("127.0.0.1", port), 20)
    s.settimeout(None)
    return Client(s.makefile("rb"), s.makefile("wb")), s  # type: ignore[arg-type]


def test_a_client_that_goes_leaves_its_session(port: int) -> None:
    first, s = connected(port)
    first.start()
    first.move("next")
    first.move("next")
    assert first.place() == ("sums", 24)
    s.shutdown(socket.SHUT_RDWR)
    s.close()
    web, w = connected(port)
    w.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    assert "no header" in web.event("output")["output"]
    w.close()
    deadline = time.monotonic() + 20
    while True:
        second, s = connected(port)
        second.ask("initialize", adapterID="tasm")
        try:
            second.ask("attach")
            break
        except Failed:
            assert time.monotonic() < deadline
            second.ask("disconnect")
            s.close()
            time.sleep(0.1)
    second.ask("configurationDone")
    second.event("stopped")
    assert second.place() == ("sums", 24)
    second.move("stepBack")
    assert second.ask("disconnect") == {}
    s.close()
    third, s = connected(port)
    with pytest.raises(Failed, match="no session"):
        third.ask("attach")
    assert third.start()["reason"] == "entry"
    s.close()


def test_two_clients_at_once(port: int) -> None:
    (a, s), (b, t) = connected(port), connected(port)
    a.start()
    b.start(inputs=("x=[5,6,7,8]", "n=1"))
    a.move("next")
    b.move("next")
    assert (a.value("x"), b.value("x")) == ("[1, 2, 3, 4]", "[5, 6, 7, 8]")
    s.close()
    b.move("next")
    t.close()
