"""The debugger in a terminal: ``syurmy-vm debug``. The engine is ``vm.debug``."""
