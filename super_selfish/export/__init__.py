"""Taking the backbone away: to files that other programs read."""

from super_selfish.export.backbone import FORMATS, export_backbone

__all__ = ["FORMATS", "export_backbone"]
