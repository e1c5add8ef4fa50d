"""The commands of ``syurmy-vm``, one file each; ``common`` holds what they share.

Their help must come at once, so files of commands import nothing heavy (NumPy, Numba, the instruction set) at the top:
what a command works with is imported when it runs.
"""
