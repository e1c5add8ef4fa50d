// Every shipped program is tokenised: each character but blanks has a scope of its own, nothing is invalid, comments
// and directives are where a plain scan says they are.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const { test } = require("node:test");
const { createRegistry } = require("vscode-tmgrammar-test/dist/common");
const { INITIAL } = require("vscode-textmate");

const ROOT = path.join(__dirname, "..", "..", "..");
const GRAMMAR = path.join(__dirname, "..", "syntaxes", "tasm.tmLanguage.json");

function programs() {
  const folder = path.join(ROOT, "programs");
  return fs.readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".tasm"))
    .map((name) => path.join(folder, name));
}

function commentAt(line) {
  let quoted = false;
  for (let i = 0; i < line.length; i++) {
    if (line[i] === '"') quoted = !quoted;
    if (line[i] === ";" && !quoted) return i;
  }
  return -1;
}

function problems(grammar, text) {
  const found = [];
  let state = INITIAL;
  text.split("\n").forEach((line, row) => {
    const { tokens, ruleStack } = grammar.tokenizeLine(line, state);
    state = ruleStack;
    const comment = commentAt(line);
    for (const { startIndex, endIndex, scopes } of tokens) {
      const word = line.slice(startIndex, endIndex);
      const inner = scopes.at(-1);
      const where = `${row + 1}:${startIndex + 1} '${word}'`;
      if (!word.trim()) continue;
      if (inner === "source.tasm" || inner === "meta.data.tasm") found.push(`${where} has no scope`);
      if (inner.startsWith("invalid")) found.push(`${where} is invalid`);
      if (inner.startsWith("comment") !== (comment >= 0 && startIndex >= comment)) found.push(`${where}: ${inner}`);
    }
    const lead = /^\s*(\.\w+)/.exec(line)?.[1];
    if (lead && !tokens.some((t) => line.slice(t.startIndex, t.endIndex) === lead && t.scopes.at(-1) === "keyword.control.directive.tasm")) {
      found.push(`${row + 1}: ${lead} is no directive`);
    }
  });
  return found;
}

test("every shipped program is tokenised whole", async () => {
  const grammar = await createRegistry([{ path: GRAMMAR, scopeName: "source.tasm" }]).loadGrammar("source.tasm");
  const all = programs();
  assert.ok(all.length >= 16, `only ${all.length} programs`);
  for (const program of all) {
    assert.deepStrictEqual(problems(grammar, fs.readFileSync(program, "utf8")), [], program);
  }
  assert.deepStrictEqual(problems(grammar, "add y, x ? 1\n.foo x").length, 3, "the test can fail");
});
