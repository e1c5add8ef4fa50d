// The debug adapter spoken to by Microsoft's own client for tests of adapters, started as an editor starts it.
"use strict";

const assert = require("node:assert");
const path = require("node:path");
const { afterEach, beforeEach, test } = require("node:test");
const { DebugClient } = require("@vscode/debugadapter-testsupport");

const ROOT = path.join(__dirname, "..", "..", "..");
const SUMS = path.join(ROOT, "tests", "editor", "sums.tasm");
const ADAPTER = process.env.SYURMY_VM ?? path.join(ROOT, ".venv", "bin", "syurmy-vm");
const INPUTS = ["x=[1,2,3,4]", "n=3"];
const LAUNCH = { program: SUMS, inputs: INPUTS, stopOnEntry: false };

let client;

beforeEach(async () => {
  client = new DebugClient(ADAPTER, "dap", "tasm", { cwd: ROOT, shell: false });
  client.defaultTimeout = 30000;
  await client.start();
});

afterEach(() => client.stop());

async function value(expression) {
  return (await client.evaluateRequest({ expression })).body.result;
}

async function line() {
  return (await client.stackTraceRequest({ threadId: 1 })).body.stackFrames[0].line;
}

async function moved(request) {
  const [event] = await Promise.all([client.waitForEvent("stopped"), request()]);
  return event.body;
}

test("capabilities", async () => {
  const { body } = await client.initializeRequest();
  for (const name of ["StepBack", "GotoTargetsRequest", "DataBreakpoints", "InstructionBreakpoints", "FunctionBreakpoints",
    "ConditionalBreakpoints", "HitConditionalBreakpoints", "LogPoints", "SteppingGranularity", "DisassembleRequest",
    "ReadMemoryRequest", "ExceptionInfoRequest", "EvaluateForHovers", "ConfigurationDoneRequest"]) {
    assert.equal(body[`supports${name}`], true, name);
  }
});

test("a request that there is none of is refused", async () => {
  await client.initializeRequest();
  await assert.rejects(client.send("nonsense"), /no request 'nonsense'/);
});

test("a program runs to its end", async () => {
  await Promise.all([client.configurationSequence(), client.launch(LAUNCH), client.assertOutput("stdout", "output total = 20"),
    client.waitForEvent("terminated")]);
});

test("stops on entry", async () => {
  await Promise.all([client.configurationSequence(), client.launch({ ...LAUNCH, stopOnEntry: true }),
    client.assertStoppedLocation("entry", { path: SUMS, line: 16 })]);
});

test("a line breakpoint", async () => {
  await client.hitBreakpoint(LAUNCH, { path: SUMS, line: 20 });
  assert.equal(await value("more"), "2");
});

test("a breakpoint that moves", async () => {
  const moved = { path: SUMS, line: 16, verified: true };
  await client.hitBreakpoint(LAUNCH, { path: SUMS, line: 15 }, moved, moved);
});

test("a condition", async () => {
  await Promise.all([
    client.waitForEvent("initialized").then(() => client.setBreakpointsRequest({
      source: { path: SUMS }, breakpoints: [{ line: 20, condition: "more == 6" }] }))
      .then(() => client.configurationDoneRequest()),
    client.launch(LAUNCH),
    client.assertStoppedLocation("breakpoint", { path: SUMS, line: 20 }),
  ]);
  assert.equal(await value("t"), "2");
});

test("function and data breakpoints, back and forth", async () => {
  await Promise.all([
    client.waitForEvent("initialized")
      .then(() => client.setFunctionBreakpointsRequest({ breakpoints: [{ name: "half" }] }))
      .then(({ body }) => assert.equal(body.breakpoints[0].verified, true))
      .then(() => client.send("setDataBreakpoints", { breakpoints: [{ dataId: "kept[3]", accessType: "write" }] }))
      .then(({ body }) => assert.equal(body.breakpoints[0].verified, true))
      .then(() => client.configurationDoneRequest()),
    client.launch(LAUNCH),
    client.assertStoppedLocation("data breakpoint", { path: SUMS, line: 23 }),
  ]);
  assert.equal(await value("kept[3]"), "4");
  const stop = await moved(() => client.continueRequest({ threadId: 1 }));
  assert.equal(stop.reason, "function breakpoint");
  assert.equal(await line(), 28);
  await moved(() => client.stepInRequest({ threadId: 1 }));
  assert.equal(await value("share"), "6");
  await moved(() => client.stepBackRequest({ threadId: 1 }));
  await assert.rejects(value("share"), /no value here/);
  const back = await moved(() => client.reverseContinueRequest({ threadId: 1 }));
  assert.equal(back.reason, "data breakpoint");
  const { body } = await client.gotoTargetsRequest({ source: { path: SUMS }, line: 18 });
  await moved(() => client.gotoRequest({ threadId: 1, targetId: body.targets[0].id }));
  assert.deepEqual([await line(), await value("t")], [18, "0"]);
});

test("scopes, variables by page, memory, disassembly", async () => {
  await client.hitBreakpoint(LAUNCH, { path: SUMS, line: 24 });
  const { body: { scopes } } = await client.scopesRequest({ frameId: 1 });
  assert.deepEqual(scopes.map((s) => s.name), ["Registers", "Inputs", "RAM", "Params", "Public statement"]);
  const ram = scopes.find((s) => s.name === "RAM");
  const { body: { variables: [kept] } } = await client.variablesRequest({ variablesReference: ram.variablesReference });
  assert.deepEqual([kept.name, kept.indexedVariables], ["kept", 8]);
  const { body: page } = await client.variablesRequest({
    variablesReference: kept.variablesReference, filter: "indexed", start: 2, count: 3 });
  assert.deepEqual(page.variables.map((v) => v.value), ["3", "4", "0"]);
  const { body: memory } = await client.send("readMemory", { memoryReference: kept.memoryReference, count: 6 });
  assert.deepEqual([...Buffer.from(memory.data, "base64")], [1, 0, 2, 0, 3, 0]);
  const { body: { instructions } } = await client.send("disassemble", { memoryReference: "0x0", instructionCount: 3 });
  assert.equal(instructions[2].instruction, "slice one, x, axis=0, start=t");
});

test("a trap", async () => {
  await Promise.all([
    client.configurationSequence(),
    client.launch({ ...LAUNCH, inputs: ["x=[1,2,3,4]", "n=0"] }),
    client.assertStoppedLocation("exception", { path: SUMS, line: 28 }),
  ]);
  const { body } = await client.exceptionInfoRequest({ threadId: 1 });
  assert.equal(body.exceptionId, "T140");
  await moved(() => client.stepBackRequest({ threadId: 1 }));
  assert.equal(await line(), 24);
});
