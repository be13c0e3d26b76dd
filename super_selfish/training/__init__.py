"""Checkpoints, history, randomness, precision, schedules: what every run needs."""

from super_selfish.training.alone import alone
from super_selfish.training.averaging import EMA, Polyak
from super_selfish.training.callbacks import Callback, Step
from super_selfish.training.early_stopping import EarlyStopping
from super_selfish.training.finite import NonFiniteLossError
from super_selfish.training.further_checkpoints import Checkpoints
from super_selfish.training.loggers import Logger, MLflow, TensorBoard, WeightsAndBiases
from super_selfish.training.optimizers import LARS, without_decay
from super_selfish.training.schedules import Cosine, WarmupCosine

__all__ = [
    "EMA",
    "LARS",
    "Callback",
    "Checkpoints",
    "Cosine",
    "EarlyStopping",
    "Logger",
    "MLflow",
    "NonFiniteLossError",
    "Polyak",
    "Step",
    "TensorBoard",
    "WarmupCosine",
    "WeightsAndBiases",
    "alone",
    "without_decay",
]
