from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import CombinedNet
from super_selfish.models import replicas as replicas_module
from super_selfish.models.norm_groups import in_groups
from super_selfish.models.replicas import Replicas, share_out
from tests.cpu_replicas import CPU, use_cpu_replicas


@pytest.fixture(autouse=True)
def cpu_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    use_cpu_replicas(monkeypatch)


class Asking(nn.Module):
    """A supervisor in small: holds a network and asks it something."""

    def __init__(self, network: nn.Module, ask: Callable[[nn.Module, Any], Any] | None = None):
        super().__init__()
        self.network = network
        self._ask = ask

    def forward(self, data: Any) -> Any:
        return self.network(data) if self._ask is None else self._ask(self.network, data)


class Calls(nn.Module):
    """Does something with images, and notes how many it was given."""

    def __init__(self, does: Callable[..., Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.does = does
        self.seen: list[int] = []  # shared by all copies

    def forward(self, images: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.seen.append(len(images))
        return self.does(images * self.weight, *args, **kwargs)


def in_parts_of(does: Callable[..., Any], data: Any, devices: int = 2, ask: Any = None) -> Any:
    network = Calls(does)
    return Replicas(Asking(network, ask), [CPU] * devices)(data), network


@pytest.mark.parametrize("devices", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("batch_size", [16, 17, 24, 64, 100, 255])
def test_shares_are_as_even_as_can_be(batch_size: int, devices: int) -> None:
    shares = share_out(batch_size, devices)
    assert max(shares.sizes) - min(shares.sizes) <= 1
    assert sum(shares.sizes) == batch_size
    assert sorted(shares.order.tolist()) == list(range(batch_size))
    assert torch.equal(shares.order[shares.back], torch.arange(batch_size))


@pytest.mark.parametrize("devices", [2, 3, 4, 8])
@pytest.mark.parametrize("views", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("images", [32, 25])
def test_every_device_gets_every_view_equally_often(views: int, devices: int, images: int) -> None:
    shares = share_out(views * images, devices, views)
    assert max(shares.sizes) - min(shares.sizes) <= 1
    for number, mine in enumerate(shares.order.split(shares.sizes)):
        of_view = torch.bincount(mine % views, minlength=views)  # of an image next to each other
        assert of_view.max() - of_view.min() <= 1
        one_by_one = torch.bincount(mine // images, minlength=views)  # real, then fake
        assert one_by_one.max() - one_by_one.min() <= 2 + (views > 2) * views
        if views == 1:
            assert torch.equal(mine, torch.arange(number, images, devices))


def test_views_are_told_by_the_images_of_the_batch() -> None:
    seen = []

    def does(views: Tensor) -> Tensor:
        seen.append(views[:, 0])
        return views

    def ask(network: nn.Module, images: Tensor) -> Any:
        return network(images.flatten(0, 1)), network(torch.cat([images[:, 0], images[:, 1]]))

    view = torch.arange(2.0).expand(8, 2)[..., None]  # of every image: 0 and 1
    in_parts_of(does, view, ask=ask)
    assert [part.sum() for part in seen] == [4] * 4


def test_outputs_have_the_order_of_the_images() -> None:
    images = torch.randn(13, 3)
    whole, network = in_parts_of(lambda images: images + 1, images, devices=3)
    torch.testing.assert_close(whole, images + 1)
    assert sorted(network.seen) == [4, 4, 5]


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass
class Held:
    images: Tensor


def test_structures_of_tensors_are_shared_out_and_put_together() -> None:
    images, table, scale = torch.randn(8, 3), torch.randn(5, 2), torch.tensor(2.0)

    def does(images: Tensor, more: Any, *, by: Tensor, rows: Tensor, words: str) -> Any:
        assert by.shape == () and rows.shape == (5, 2) and words == "all"
        latents = more["latents"][0]
        assert latents.shape == (len(images), 4)
        return Pair({"x": by * images}, [latents, (rows.sum(), None, "same", 3)][0])

    def ask(network: nn.Module, data: Any) -> Any:
        return network(data, {"latents": [latents]}, by=scale, rows=table, words="all")

    latents = torch.randn(8, 4)
    found, _ = in_parts_of(does, images, ask=ask)
    assert isinstance(found, Pair)
    torch.testing.assert_close(found.first["x"], 2 * images)
    torch.testing.assert_close(found.second, latents)
    found, _ = in_parts_of(lambda images: [images, None, "same", 3], images)
    assert found[1:] == [None, "same", 3]


@pytest.mark.parametrize(
    ("does", "error", "words"),
    [
        (lambda images: images.sum(), ValueError, r"Calls returned \[\] for 4 images"),
        (lambda images: images[None], ValueError, r"Calls returned \[1, 4, 3\] for 4 images"),
        (lambda images: images.detach().sum().item(), TypeError, "Calls returned a float"),
        (lambda images: int("x"), ValueError, "invalid literal"),
        (lambda images: sys.exit("told"), SystemExit, "told"),
        (lambda images: Held(images), TypeError, "returned a Held, .* wants_whole_batch"),
    ],
)
def test_what_cannot_be_put_together_is_told(does: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        in_parts_of(does, torch.randn(8, 3))


def test_an_error_on_a_device_is_raised_as_it_is_with_its_device() -> None:
    error = KeyError("mine")

    def fails(images: Tensor) -> Tensor:
        raise error

    with pytest.raises(KeyError) as caught:
        in_parts_of(fails, torch.randn(8, 3))
    assert caught.value is error
    assert caught.value.on_device == CPU  # type: ignore[attr-defined]


def test_a_network_that_asks_for_its_own_parameters_is_told_why_it_has_none() -> None:
    class Asks(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input.to(next(self.parameters()).dtype))

    with pytest.raises(RuntimeError, match=r"Asks asks for its own parameters\(\) in forward"):
        Replicas(Asking(Asks(3, 2)), [CPU] * 2)(torch.randn(8, 3))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 7])
def test_no_device_gets_a_single_image(batch_size: int) -> None:
    whole, network = in_parts_of(lambda images: 2 * images, torch.ones(batch_size, 3), devices=3)
    assert torch.equal(whole, torch.full((batch_size, 3), 2.0))
    assert min(network.seen) >= min(2, batch_size)
    assert len(network.seen) == max(1, min(3, batch_size // 2))


def test_what_wants_the_whole_batch_runs_once() -> None:
    network = Calls(lambda images: images.flip(0)[None])
    network.__dict__["wants_whole_batch"] = True
    backbone = Calls(lambda images: images)
    combined = CombinedNet(backbone, nn.Sequential(nn.Identity(), network))

    def ask(network: Any, images: Tensor) -> Any:
        return network.predictor(network.backbone(images))

    replicas = Replicas(Asking(combined, ask), [CPU] * 2)
    images = torch.randn(8, 3)
    torch.testing.assert_close(replicas(images), images.flip(0)[None])
    assert network.seen == [8] and backbone.seen == [4, 4]


def test_losses_are_no_networks() -> None:
    holder: Any = Asking(Calls(lambda images: images))
    for name in ("loss", "second_loss", "criterion", "my_criterion"):
        loss = Calls(lambda images: images.mean())
        setattr(holder, name, loss)
        holder._ask = lambda _, images, loss=loss: loss(images)
        replicas = Replicas(holder, [CPU] * 2)
        replicas(torch.randn(8, 3))
        assert replicas.calls == 0 and loss.seen == [8]


def test_hooks_of_a_network_run_once_and_those_within_on_every_device() -> None:
    inner = nn.Linear(3, 3)
    network = nn.Sequential(inner, nn.ReLU())
    seen: list[tuple[str, int]] = []
    network.register_forward_pre_hook(lambda module, args: seen.append(("before", len(args[0]))))
    network.register_forward_hook(lambda module, args, out: seen.append(("after", len(out))))
    inner.register_forward_hook(lambda module, args, out: seen.append(("within", len(out))))
    Replicas(Asking(network), [CPU] * 2)(torch.randn(8, 3))
    assert seen == [("before", 8), ("within", 4), ("within", 4), ("after", 8)]


def test_all_networks_are_copied_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = []
    replicate = replicas_module.replicate

    def counting(network: Any, devices: Any) -> Any:
        copied.append(network)
        return replicate(network, devices)

    monkeypatch.setattr(replicas_module, "replicate", counting)
    holder: Any = Asking(CombinedNet(nn.Linear(3, 3), nn.Linear(3, 3)))
    holder.other = nn.Linear(3, 2)

    def ask(network: Any, images: Tensor) -> Tensor:
        return holder.other(network(images)) + holder.other(network.backbone(images))

    holder._ask = ask
    replicas = Replicas(holder, [CPU] * 3)
    for step in range(1, 3):
        replicas(torch.randn(6, 3))
        assert len(copied) == step
    sizes = 4 * (3 * 3 + 3 + 3 * 3 + 3 + 3 * 2 + 2)  # bytes of the weights
    # In and out: 3 + 3 numbers of the whole, 3 + 3 of the backbone, and twice 3 + 2 of the head.
    travelling = 6 * (2 / 3) * 4 * (3 + 3 + 3 + 3 + 2 * (3 + 2))
    assert replicas.moved == 2 * (2 * sizes + travelling)


def test_it_is_known_which_networks_nobody_called() -> None:
    holder: Any = Asking(CombinedNet(nn.Linear(3, 3), nn.Linear(3, 3)))
    holder.frozen = nn.Linear(3, 3).requires_grad_(False)
    holder.other = nn.Linear(3, 2)
    holder._ask = lambda network, images: network.predictor(network.backbone(images))
    replicas = Replicas(holder, [CPU] * 2)
    replicas(torch.randn(8, 3))
    assert replicas.not_called() == [holder.other]
    replicas = Replicas(Asking(holder.network), [CPU] * 2)
    replicas(torch.randn(8, 3))
    assert replicas.not_called() == []


def test_nothing_is_left_of_it_not_even_after_an_error() -> None:
    network, other = Calls(lambda images: images), Calls(lambda images: images[None])
    for each in (network, other):
        before = set(each.__dict__)
        replicas = Replicas(Asking(each), [CPU] * 2)
        if each is network:
            replicas(torch.randn(8, 3))
        else:
            with pytest.raises(ValueError, match="Calls returned"):
                replicas(torch.randn(8, 3))
        assert set(each.__dict__) == before
        assert len(each(torch.randn(8, 3))) == (8 if each is network else 1)


def test_every_device_runs_in_a_thread_and_in_the_precision_of_the_whole() -> None:
    threads, types = set(), set()

    class Notes(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            threads.add(threading.get_ident())
            output = super().forward(input)
            types.add(output.dtype)
            return output

    replicas = Replicas(Asking(Notes(3, 3)), [CPU] * 2)
    for dtype, enabled in ((torch.bfloat16, True), (torch.float16, True), (torch.float16, False)):
        types.clear()
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            whole = replicas(torch.randn(8, 3))
        assert types == {whole.dtype} == {dtype if enabled else torch.float32}
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("keeps_gradient", [True, False])
def test_a_first_call_without_gradient_does_not_cut_the_others_off(keeps_gradient: bool) -> None:
    network = nn.Linear(3, 3)

    def ask(network: nn.Module, images: Tensor) -> Tensor:
        with torch.set_grad_enabled(keeps_gradient):
            first = network(images)
        assert first.requires_grad == keeps_gradient
        return network(images)

    Replicas(Asking(network, ask), [CPU] * 2)(torch.randn(8, 3)).sum().backward()
    assert network.weight.grad is not None


def test_a_weight_that_nobody_uses_gets_no_gradient() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)
            self.of_some = nn.Linear(3, 3, bias=False)

        def forward(self, images: Tensor) -> Tensor:
            output: Tensor = self.used(images)
            return self.of_some(output) if images[0, 0] < 0 else output

    network, images = Partly(), torch.randn(9, 3).abs()
    images[1] *= -1  # of the second device alone
    Replicas(Asking(network), [CPU] * 3)(images).sum().backward()
    found = {name: weight.grad for name, weight in network.named_parameters()}
    assert found["unused.weight"] is None and found["unused.bias"] is None
    network.zero_grad()
    output = network.used(images)
    mine = torch.arange(9) % 3 == 1
    torch.where(mine[:, None], network.of_some(output), output).sum().backward()
    for name, weight in network.named_parameters():
        torch.testing.assert_close(found[name], weight.grad)


def test_gradients_have_gradients() -> None:
    found = []
    for number in (1, 2):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
        images = torch.randn(8, 3, requires_grad=True)
        holder = Asking(network)
        forward = holder if number == 1 else Replicas(holder, [CPU] * number)
        wanted = (images, *network.parameters())
        gradients = torch.autograd.grad(forward(images).sum(), wanted, create_graph=True)
        torch.stack([gradient.square().sum() for gradient in gradients]).sum().backward()
        found.append([weight.grad for weight in network.parameters()])
    torch.testing.assert_close(*found)


def test_the_gradient_of_one_network_computes_none_of_another() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    computed = []

    def ask(network: Any, images: Tensor) -> Any:
        between = network[0](images)
        return between, network[1](between)

    holder = Asking(nn.ModuleList([first, second]), ask)
    replicas = Replicas(holder, [CPU] * 2)
    link = replicas_module._Linked.backward

    class Notes(replicas_module._Linked):
        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            computed.append([gradient is not None for gradient in gradients])
            return link(ctx, *gradients)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicas_module, "_Linked", Notes)
        _, last = replicas(torch.randn(8, 3))
        last.sum().backward(inputs=list(first.parameters()))
    assert computed == [[True] * 4]  # of its two weights, on two devices
    assert first.weight.grad is not None and second.weight.grad is None


def test_weights_that_move_amid_a_step_are_copied_again() -> None:
    def in_place(weight: nn.Parameter) -> None:
        with torch.no_grad():
            weight.mul_(2)

    def by_another(weight: nn.Parameter) -> None:
        weight.data = 2 * weight.data

    for move in (in_place, by_another):
        network = nn.Linear(3, 3, bias=False).requires_grad_(False)
        images = torch.randn(8, 3)
        seen: list[Tensor] = []

        def ask(network: Any, images: Tensor, move: Any = move, seen: list[Tensor] = seen) -> None:
            seen.append(network(images))
            move(network.weight)
            seen.append(network(images))

        Replicas(Asking(network, ask), [CPU] * 3)(images)
        torch.testing.assert_close(seen[1], 2 * seen[0])


def test_a_tensor_that_stays_elsewhere_is_told_of() -> None:
    class Elsewhere(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            raise RuntimeError("Expected all tensors to be on the same device, but found two")

    with pytest.raises(RuntimeError, match=r"Elsewhere on cpu meets .* register_buffer"):
        Replicas(Asking(Elsewhere(3, 4)), [CPU] * 2)(torch.randn(8, 3))


def test_a_network_that_is_set_to_eval_mode_amid_a_step_is_so_everywhere() -> None:
    network: Any = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    images = torch.randn(8, 3)

    def ask(network: nn.Module, images: Tensor) -> Tensor:
        network(images)
        before = network.get_buffer("1.running_mean").clone()
        network.eval()
        found: Tensor = network(images)
        assert torch.equal(network.get_buffer("1.running_mean"), before)
        return found

    found = Replicas(Asking(network, ask), [CPU] * 2)(images)
    norm = network[1]
    mean, var = norm.running_mean, norm.running_var
    shares = share_out(8, 2)
    # The first device's copy has the statistics that moved, the others those from before.
    mine = shares.order[: shares.sizes[0]]
    expected = (network[0](images) - mean) / (var + norm.eps).sqrt()
    torch.testing.assert_close(found[mine], expected[mine])


def test_batch_norm_takes_the_statistics_of_a_share_and_keeps_the_first_ones() -> None:
    norm, images = nn.BatchNorm1d(3), torch.randn(9, 3)
    whole = Replicas(Asking(norm), [CPU] * 2)(images)
    shares = share_out(9, 2)
    for number, mine in enumerate(shares.order.split(shares.sizes)):
        slow = nn.BatchNorm1d(3)
        torch.testing.assert_close(whole[mine], slow(images[mine]))
        if number == 0:
            torch.testing.assert_close(norm.state_dict(), slow.state_dict())


@pytest.mark.parametrize(("groups", "devices"), [(4, 2), (2, 4), (1, 2), (5, 2)])
def test_groups_of_batch_norm_are_made_on_the_devices(groups: int, devices: int) -> None:
    norm, images = nn.BatchNorm1d(3), torch.randn(32, 3)

    def ask(network: nn.Module, images: Tensor) -> Tensor:
        return in_groups(network, images, groups)

    whole = Replicas(Asking(norm, ask), [CPU] * devices)(images)
    shares, means = share_out(32, devices), []
    for mine in shares.order.split(shares.sizes):
        for part in mine.tensor_split(max(1, groups // devices)):
            slow = nn.BatchNorm1d(3)
            torch.testing.assert_close(whole[part], slow(images[part]))
            means.append(slow.running_mean)
    on_first = torch.stack(means[: max(1, groups // devices)]).mean(dim=0)  # type: ignore[arg-type]
    torch.testing.assert_close(norm.running_mean, on_first)


def test_the_layout_of_weights_does_not_cut_them_off() -> None:
    network = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    images = torch.randn(6, 4, 8, 8)

    def ask(network: nn.Module, images: Tensor) -> Tensor:
        with torch.no_grad():
            network(images)
        output: Tensor = network(images)
        return output.square().sum()

    Replicas(Asking(network, ask), [CPU] * 3)(images).backward()
    found = network.weight.grad
    network.weight.grad = None
    ask(network, images).backward()
    torch.testing.assert_close(found, network.weight.grad)


def test_weights_keep_their_layout_on_every_device() -> None:
    network = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    layouts = []

    class Notes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, images: Tensor) -> Tensor:
            layouts.append(self.inner.weight.is_contiguous(memory_format=torch.channels_last))
            return self.inner(images)

    Replicas(Asking(Notes()), [CPU] * 3)(torch.randn(6, 4, 8, 8)).sum().backward()
    assert layouts == [True] * 3
    assert network.weight.grad is not None
