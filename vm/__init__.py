"""The virtual machine: programs run on exact integers and leave a trace."""

from vm.events import Event, Executed, Fetched, Halted, Listener, Trapped
from vm.machine import run, run_batch

__all__ = ["Event", "Executed", "Fetched", "Halted", "Listener", "Trapped", "run", "run_batch"]
