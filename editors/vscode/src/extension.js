// Starts the language server and, for every debug session, the debug adapter of syurmy-vm.
"use strict";

const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

// The command line of syurmy-vm as the settings give it, with the workspace folder in place.
function command(folder) {
  const words = vscode.workspace.getConfiguration("syurmy-vm", folder).get("command") ?? [];
  const root = (folder ?? vscode.workspace.workspaceFolders?.[0])?.uri.fsPath ?? "";
  return (words.length ? words : ["syurmy-vm"]).map((word) => word.replaceAll("${workspaceFolder}", root));
}

async function startServer() {
  const [program, ...options] = command();
  const server = { command: program, args: [...options, "lsp"] };
  const watcher = vscode.workspace.createFileSystemWatcher("**/*.{tasm,npz,npy,safetensors}");
  client = new LanguageClient("syurmy-vm", "syurmy-vm", server, {
    documentSelector: [{ language: "tasm" }],
    synchronize: { fileEvents: watcher },
  });
  try {
    await client.start();
  } catch (error) {
    const advice = "Install it with pip install 'syurmy-vm[editor]' and say in the setting syurmy-vm.command where it is.";
    vscode.window.showErrorMessage(`The language server '${program} lsp' does not start: ${error.message}. ${advice}`);
  }
}

async function stopServer() {
  const old = client;
  client = undefined;
  if (old?.isRunning()) await old.stop();
}

async function activate(context) {
  context.subscriptions.push(
    vscode.debug.registerDebugAdapterDescriptorFactory("tasm", {
      createDebugAdapterDescriptor(session) {
        const [program, ...options] = command(session.workspaceFolder);
        return new vscode.DebugAdapterExecutable(program, [...options, "dap"]);
      },
    }),
    vscode.debug.registerDebugConfigurationProvider("tasm", {
      resolveDebugConfiguration(folder, config) {
        // F5 in a file, without a launch.json
        if (config.type || vscode.window.activeTextEditor?.document.languageId !== "tasm") return config;
        return { type: "tasm", request: "launch", name: "Debug", program: "${file}", stopOnEntry: true, stopOnEnd: true };
      },
    }),
    vscode.workspace.onDidChangeConfiguration(async (event) => {
      if (!event.affectsConfiguration("syurmy-vm.command")) return;
      await stopServer();
      await startServer();
    }),
    { dispose: stopServer },
  );
  await startServer();
}

module.exports = { activate, deactivate: stopServer };
