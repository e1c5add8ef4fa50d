// The extension with stand-ins for the editor and the client of the language server: both servers are those that the
// settings name.
"use strict";

const assert = require("node:assert");
const Module = require("node:module");
const { test } = require("node:test");

test("both servers are wired", async () => {
  const seen = { messages: [], clients: [] };
  const disposable = { dispose() {} };
  const settings = { "syurmy-vm": { command: ["${workspaceFolder}/none/syurmy-vm", "--x"] } };
  class LanguageClient {
    constructor(id, name, server, options) { seen.clients.push({ server, options }); }
    isRunning() { return false; }
    async start() { throw new Error("spawn ENOENT"); }
  }
  const vscode = {
    workspace: {
      getConfiguration: (section) => ({ get: (key) => settings[section]?.[key] }),
      workspaceFolders: [{ uri: { fsPath: "/w" } }],
      createFileSystemWatcher: () => disposable,
      onDidChangeConfiguration: (listener) => ((seen.configured = listener), disposable),
    },
    debug: {
      registerDebugAdapterDescriptorFactory: (type, factory) => ((seen.type = type), (seen.factory = factory), disposable),
      registerDebugConfigurationProvider: (type, provider) => ((seen.provider = provider), disposable),
    },
    window: {
      showErrorMessage: (text) => seen.messages.push(text),
      activeTextEditor: { document: { languageId: "tasm" } },
    },
    DebugAdapterExecutable: class {
      constructor(command, args) { Object.assign(this, { command, args }); }
    },
  };
  const load = Module._load;
  const stands = { vscode, "vscode-languageclient/node": { LanguageClient } };
  Module._load = (name, ...rest) => stands[name] ?? load(name, ...rest);
  try {
    const extension = require("../src/extension.js");
    const context = { subscriptions: [] };
    await extension.activate(context);
    assert.deepEqual(seen.clients[0].server, { command: "/w/none/syurmy-vm", args: ["--x", "lsp"] });
    assert.deepEqual(seen.clients[0].options.documentSelector, [{ language: "tasm" }]);
    assert.match(seen.messages[0], /\/w\/none\/syurmy-vm lsp.*ENOENT.*pip install/);
    assert.equal(seen.type, "tasm");
    const adapter = seen.factory.createDebugAdapterDescriptor({ workspaceFolder: { uri: { fsPath: "/v" } } });
    assert.deepEqual([adapter.command, adapter.args], ["/v/none/syurmy-vm", ["--x", "dap"]]);
    const launch = seen.provider.resolveDebugConfiguration(undefined, {});
    assert.deepEqual([launch.type, launch.program], ["tasm", "${file}"]);
    assert.deepEqual(seen.provider.resolveDebugConfiguration(undefined, { type: "tasm", program: "a" }).program, "a");
    settings["syurmy-vm"].command = [];
    await seen.configured({ affectsConfiguration: (key) => key === "syurmy-vm.command" });
    assert.deepEqual(seen.clients[1].server, { command: "syurmy-vm", args: ["lsp"] });
    for (const s of context.subscriptions) await s.dispose();
  } finally {
    Module._load = load;
  }
});
