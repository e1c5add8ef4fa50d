"""How much work a program makes for everyone who plans, proves or verifies it, counted while it grows.

A key and a path may come from a stranger, and a short program can ask for a lot: index maps, views, weights, claims.
Allowed are ``FREE`` entries and ``RATE`` for every entry that the run itself writes or the prover commits, since
whoever made an honest proof has worked on those too; never more than ``MOST``. What a step asks for is charged before
anything of that size exists.
"""

from __future__ import annotations

from syurmy.isa.errors import ConstraintError

FREE = 2**26
RATE = 8
MOST = 2**28
PER_MOMENT = 2**2  # an instruction or register of a round that is compared with the one before
PER_OUTPUT = 2**7  # an output of one input of a batch costs about as much as so many entries
PER_PUT = 2**7  # a part that is put into a view
PER_VIEW = 2**3  # a position of a view that is read: 12 bytes that are kept
PER_SUMMAND = 2**4  # of a sum: a chain of additions is made of ever longer ones
PER_NODE = 2**10  # a tensor of the constraint system
PER_TERM = 2**9  # one claim that is pulled back through one instruction costs about as much as so many entries
PER_WEIGHT = 2**9  # an array of weights, however short


class Account:
    """``allowed``, entries that may be worked on in all, given what proving writes anyway, and ``spent``."""

    def __init__(self) -> None:
        self.spent = 0
        self._worked = 0
        self._owed = 0

    @property
    def allowed(self) -> int:
        return min(MOST, FREE + RATE * self._worked)

    def worked(self, entries: int) -> None:
        """The honest prover writes so many entries."""
        self._worked += entries

    def owe(self, entries: int, what: str) -> None:
        """What will be asked for later on is refused now if it will be too much."""
        self._owed += entries
        if self.spent + self._owed > FREE and self.spent + self._owed > self.allowed:
            self.spend(self._owed, what)

    def settle(self) -> None:
        """From now on what was owed is spent."""
        self._owed = 0

    def spend(self, entries: int, what: str) -> None:
        """Raises ``ConstraintError`` C112 where the program asks for more than is allowed."""
        self.spent += entries
        if self.spent > FREE and self.spent > self.allowed:
            raise ConstraintError(
                f"verifying this program would take more than {self.allowed} entries of work ({what})",
                code="C112",
                help="it asks for far more than it computes; make its views and loops smaller",
            )
