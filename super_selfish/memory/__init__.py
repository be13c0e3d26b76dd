"""What algorithms remember between steps, as buffers, and groups of it."""

from super_selfish.memory.bank import MemoryBank
from super_selfish.memory.kmeans import Clusters, spherical_kmeans
from super_selfish.memory.queue import KeyQueue
from super_selfish.memory.scale import RunningScale

__all__ = ["Clusters", "KeyQueue", "MemoryBank", "RunningScale", "spherical_kmeans"]
