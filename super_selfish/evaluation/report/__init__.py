"""One page about one run, which opens anywhere and needs nothing beside it."""

from super_selfish.evaluation.report.page import write_report

__all__ = ["write_report"]
