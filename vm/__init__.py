"""The virtual machine: programs run on exact integers and leave a trace."""

from syurmy.vm.events import Event, Executed, Fetched, Halted, Listener, Trapped
from syurmy.vm.machine import Machine, run, run_batch

__all__ = ["Event", "Executed", "Fetched", "Halted", "Listener", "Machine", "Trapped", "run", "run_batch"]
