"""``python -m syurmy`` is ``syurmy-vm``."""

from syurmy import interrupts


def main() -> None:
    """Entry point of ``syurmy-vm``."""
    interrupts.ended_at_once()
    from syurmy import cli

    cli.main()


if __name__ == "__main__":
    main()
