"""``python -m syurmy`` is ``syurmy-vm``."""

from syurmy.cli import main

main()
