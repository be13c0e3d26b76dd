"""What happens where a step gives numbers that are not finite.

A loss may be finite and its gradient not (the square root of zero has such a one). One step with it
makes every weight useless, so it is asked for before the weights move. On a CPU the answer is there
at once. Elsewhere asking would make the device wait at every step: there it is noted, and looked at
before anything is stored. Of several processes, one with such a loss has such a gradient
(`Accumulation.weigh`), which all of them share: they need not ask one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from super_selfish.training.distributed import is_distributed
from super_selfish.training.finite import all_finite

CHOICES = ("raise", "skip")
LOSS, GRADIENT = "loss", "gradient"
_KINDS = (LOSS, GRADIENT)


class Guard:
    """Lets an update happen, or not.

    Attributes:
        skips: Whether an update that is not finite is left out; else the run ends.
        left_out: Whether the last update was left out, a scalar where only the device may know;
            None where it surely was not.
    """

    def __init__(
        self,
        on_nan: str,
        device: torch.device,
        buffers: Callable[[], Iterable[Tensor]] = tuple,
    ) -> None:
        """Begins with nothing noted.

        Args:
            on_nan: `"raise"` or `"skip"`.
            device: Where the networks are.
            buffers: Gives what a forward pass moves: statistics, queues and memories.

        Raises:
            ValueError: If `on_nan` is neither.
        """
        if on_nan not in CHOICES:
            raise ValueError(f'on_nan is "raise" or "skip", got {on_nan!r}')
        self.skips = on_nan == "skip"
        self._waits = device.type == "cpu"  # nothing is lost by looking
        self.left_out: Tensor | None = None
        self._first_bad = torch.tensor(-1, device=device)  # 2 * step + kind
        self._is_bad = torch.tensor(False, device=device)  # the update under way
        self._saved = _Copies()
        self._buffers_of = buffers

    def _buffers(self) -> list[Tensor]:
        return list(self._buffers_of())

    def begin_update(self) -> None:
        """Notes what a forward pass may move, if the update may be left out."""
        if self.skips:
            self._saved.save(self._buffers())

    def check_loss(self, loss: Tensor, step: int) -> bool:
        """Looks at a loss, or notes that it is to be looked at.

        Returns:
            Whether the run may go on; where nobody knows yet it may.
        """
        if self._waits and not self.skips and not is_distributed():
            return bool(loss.detach().isfinite())
        bad = ~loss.detach().isfinite()
        if self.skips:
            self._is_bad = self._is_bad | bad
        else:
            self._note(bad, step, LOSS)
        return True

    def may_move(self, optimizers: list[Any], step: int, scaler: torch.amp.GradScaler) -> bool:
        """Looks at the gradients, or notes that they are to be looked at.

        Where a scaler scales, a gradient may be infinite: it then leaves the update out, and scales
        less.

        Returns:
            Whether the run may go on; where nobody knows yet it may.
        """
        if self.skips or scaler.is_enabled():
            return True
        finite = all_finite(gradients_of(optimizers))
        if self._waits:
            return bool(finite)
        self._note(~finite, step, GRADIENT)
        return True

    def move(
        self, optimizers: list[Any], scaler: torch.amp.GradScaler
    ) -> tuple[bool, Tensor | None]:
        """Steps the optimizers, or leaves the update out.

        Returns:
            Whether the weights moved (where a fused optimizer decides on the device: true), and
            whether the update was not finite, or None where it is not left out for that.
        """
        if not self.skips:
            self.left_out = _step(optimizers, scaler)
            return True, None
        bad = self._is_bad | ~all_finite(gradients_of(optimizers)).to(self._is_bad.device)
        self.left_out = bad
        self._is_bad = torch.zeros_like(self._is_bad)
        moves = self._move_unless(bad, optimizers, scaler)
        self._saved.restore_where(bad, self._buffers(), known=self._waits)
        return moves, bad

    def first_bad(self) -> tuple[int, str] | None:
        """Step and kind of what was noted first; reads the device."""
        code = int(self._first_bad)
        return None if code < 0 else (code // 2, _KINDS[code % 2])

    def _note(self, bad: Tensor, step: int, kind: str) -> None:
        code = 2 * step + _KINDS.index(kind)
        bad = bad.to(self._first_bad.device)
        self._first_bad = torch.where(bad & (self._first_bad < 0), code, self._first_bad)

    def _move_unless(
        self, bad: Tensor, optimizers: list[Any], scaler: torch.amp.GradScaler
    ) -> bool:
        if scaler.is_enabled():
            self.left_out = _step(optimizers, scaler)  # it asks by itself
            return not (self._waits and bool(bad))
        if not self._waits and all(map(_decides_on_device, optimizers)):
            for optimizer in optimizers:  # as GradScaler hands it over
                optimizer.grad_scale, optimizer.found_inf = None, bad.float()
                optimizer.step()
                del optimizer.grad_scale, optimizer.found_inf
            return True
        if bool(bad):  # other optimizers cannot be asked: here the device is waited for
            return False
        _step(optimizers, scaler)
        return True


def _step(optimizers: list[Any], scaler: torch.amp.GradScaler) -> Tensor | None:
    """Steps; says whether the scaler has left out any of them, if it may have."""
    for optimizer in optimizers:
        scaler.step(optimizer)
    left_out = None
    if scaler.is_enabled():
        found = [f for each in optimizers for f in scaler._found_inf_per_device(each).values()]
        left_out = torch.stack([each.to(found[0].device) for each in found]).sum() > 0
    scaler.update()
    return left_out


def gradients_of(optimizers: list[Any]) -> list[Tensor]:
    """Every gradient that optimizers hold."""
    groups = (group for optimizer in optimizers for group in optimizer.param_groups)
    return [p.grad for group in groups for p in group["params"] if p.grad is not None]


def _decides_on_device(optimizer: Any) -> bool:
    is_fused = all(group.get("fused") for group in optimizer.param_groups)
    return is_fused and getattr(optimizer, "_step_supports_amp_scaling", False)


class _Copies:
    """Copies of tensors, made in place after the first time."""

    def __init__(self) -> None:
        self._saved: list[Tensor] = []

    def save(self, tensors: list[Tensor]) -> None:
        if [t.shape for t in tensors] != [t.shape for t in self._saved]:
            self._saved = [tensor.detach().clone() for tensor in tensors]
        elif tensors:
            torch._foreach_copy_(self._saved, [tensor.detach() for tensor in tensors])

    def restore_where(self, bad: Tensor, tensors: list[Tensor], *, known: bool) -> None:
        if not tensors or (known and not bool(bad)):
            return
        tensors = [tensor.detach() for tensor in tensors]
        values = self._saved
        if not known:
            values = [
                torch.where(bad.to(tensor.device), saved, tensor)
                for saved, tensor in zip(self._saved, tensors, strict=True)
            ]
        torch._foreach_copy_(tensors, values)
