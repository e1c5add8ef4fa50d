from syurmy.vm.debug.engine import Debugger, Execution
from syurmy.vm.debug.errors import DebugError
from syurmy.vm.debug.expressions import Expression, Target
from syurmy.vm.debug.listing import Frame, Listing, Location, ModelNode
from syurmy.vm.debug.points import Breakpoint, Change, Point, Source, Stop, Watch
from syurmy.vm.debug.provenance import Link

__all__ = [
    "Breakpoint",
    "Change",
    "DebugError",
    "Debugger",
    "Execution",
    "Expression",
    "Frame",
    "Link",
    "Listing",
    "Location",
    "ModelNode",
    "Point",
    "Source",
    "Stop",
    "Target",
    "Watch",
]
