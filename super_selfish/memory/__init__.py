"""What contrastive methods remember between steps, as buffers."""

from super_selfish.memory.bank import MemoryBank
from super_selfish.memory.queue import KeyQueue

__all__ = ["KeyQueue", "MemoryBank"]
