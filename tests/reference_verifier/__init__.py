"""A second verifier of the protocol, as docs/protocol.md has it: plain Python integers, slow and simple.

Of the project it imports the constraint system only (``syurmy.isa``): what the document says follows from the program.
"""
