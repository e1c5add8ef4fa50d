"""A second verifier, in plain Python without NumPy: slow, to be read beside ``docs/protocol.md``.

It was written from that text and the vectors (``tests/vectors``) alone, by somebody who had read neither the prover nor
the verifier nor an earlier second verifier; of the project it uses the constraint system, ``isa/``. What the text left
open was mended there. When it accepted all vectors it was compared with the project's verifier on other programs, as
the tests here do; what it had read differently (the number of leaves in the budget, elements of F in the sizes of
levels, a hiding level of one row) was settled by the results, without a look at the code.

In the order of the text: ``field``, ``files``, ``transcript``, ``weights``, ``sweep``, ``contraction``, ``params``,
``plan``, ``layout``, ``shapes``, ``tensors``, ``budget``, ``arrangement``, ``affine``, ``messages``, ``argument``,
``merkle``, ``opening``, ``verify``, ``bundle``.
"""
