"""`python -m harkeras` is the command `harkeras`."""

from harkeras.cli import main

main()
