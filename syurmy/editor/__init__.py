"""What editors talk to: the language server (``lsp``) and the debug adapter (``dap``)."""
