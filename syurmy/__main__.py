"""``python -m syurmy`` is ``syurmy-vm``."""

from syurmy.interrupts import ended_at_once


def main() -> None:
    """Entry point of ``syurmy-vm``."""
    ended_at_once()
    from syurmy.cli import main as run

    run()


if __name__ == "__main__":
    main()
