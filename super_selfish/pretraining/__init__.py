"""One call from images to a rated backbone: what to train, for how long, and whether it helped."""

from super_selfish.pretraining.choose import Choice, choose
from super_selfish.pretraining.outcome import Outcome
from super_selfish.pretraining.pretrain import pretrain

__all__ = ["Choice", "Outcome", "choose", "pretrain"]
