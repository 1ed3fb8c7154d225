"""``python -m mixopt``: the same as the command."""

from mixopt.cli import main

main()
