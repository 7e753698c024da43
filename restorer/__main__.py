"""``python -m restorer`` is the group of commands, ``restorer``."""

from restorer.cli.group import main

if __name__ == "__main__":
    main()
