"""Taking the backbone away: to files that other programs read."""

from super_selfish.export.backbone import FORMATS, export_backbone
from super_selfish.export.card import Story
from super_selfish.export.hub import push_to_hub

__all__ = ["FORMATS", "Story", "export_backbone", "push_to_hub"]
