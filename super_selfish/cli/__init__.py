"""The command line, made from the signatures and docstrings of the floors below."""

from super_selfish.cli.main import main

__all__ = ["main"]
