"""What arguments become that nobody has given, and that it is said."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.data.growing import drawn_order
from super_selfish.memory import MemoryBank
from super_selfish.models.dense_players import DenseGenerator
from super_selfish.supervisors import (
    SUPERVISORS,
    MultiTaskSupervisor,
    Supervisor,
    exemplar_net,
    remembering,
)
from super_selfish.supervisors.defaults import (
    decoder_widths,
    discriminator_widths,
    warmed_momentum,
)

NO_STEPS: dict[str, Any] = {"epochs": 0, "name": None, "progress": False}


@pytest.mark.parametrize(
    ("published", "updates", "momentum"),
    [
        (0.999, 0, 0.1),
        (0.999, 1, 2 / 11),
        (0.999, 90, 0.91),
        (0.999, 8_989, 8_990 / 8_999),
        (0.999, 8_990, 0.999),  # 8,991 / 9,000
        (0.999, 1_000_000, 0.999),
        (0.996, 2_239, 2_240 / 2_249),
        (0.996, 2_240, 0.996),
        (0.0, 5, 0.0),
    ],
)
def test_a_momentum_looks_back_over_a_tenth_of_what_was_seen(
    published: float, updates: int, momentum: float
) -> None:
    assert warmed_momentum(published, updates) == pytest.approx(momentum, abs=1e-12)
    assert warmed_momentum(published, updates, 0.5) == pytest.approx(
        min(published, max(momentum, 0.5)), abs=1e-12
    )


RATES = {"counting": 2e-4, "bigan": 3e-4}


@pytest.mark.parametrize("algorithm", ["counting", "bigan", "rotate"])
def test_the_rate_is_the_algorithm_s_own(
    algorithm: str, images: Tensor, tiny_backbone: Any
) -> None:
    supervisor = SUPERVISORS[algorithm](images, tiny_backbone())
    rate = RATES.get(algorithm, 1e-3)
    supervisor.supervise(**NO_STEPS)
    assert supervisor.run is not None and supervisor.run.learning_rate == rate
    assert f"chosen for this run: lr={rate}" in supervisor.run.remarks[0]
    supervisor.supervise(lr=0.5, **NO_STEPS)
    assert supervisor.run.learning_rate == 0.5
    assert not any("lr=" in remark for remark in supervisor.run.remarks)


def test_every_other_algorithm_has_adam_s_rate() -> None:
    own = {name: kind.default_lr for name, kind in SUPERVISORS.items() if kind.default_lr != 1e-3}
    assert own == RATES


def test_several_tasks_train_at_the_lowest_of_their_rates(
    images: Tensor, tiny_backbone: Any
) -> None:
    tasks = [("rotate", 1e-3), ("counting", 2e-4)]
    for number, rate in ((1, 1e-3), (2, 2e-4)):
        names = [name for name, _ in tasks[:number]]
        supervisor = MultiTaskSupervisor(images, tiny_backbone(), tasks=names)
        supervisor.supervise(**NO_STEPS)
        assert supervisor.run is not None and supervisor.run.learning_rate == rate


@pytest.mark.parametrize("algorithm", ["moco", "byol", "dino"])
def test_a_momentum_that_nobody_gives_warms_up_and_goes_on_as_it_was(
    algorithm: str, images: Tensor, tiny_backbone: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    def trained(name: str, *, stops: bool, **options: Any) -> list[float]:
        used: list[float] = []
        for epochs in (2, 4) if stops else (4,):
            torch.manual_seed(0)
            supervisor = SUPERVISORS[algorithm](images, tiny_backbone(), **options)
            monkeypatch.setattr(
                supervisor.momentum_encoder, "update", lambda _, momentum: used.append(momentum)
            )
            supervisor.supervise(
                epochs=epochs,
                batch_size=len(images) // 2,
                name=tmp_path / name,
                resume=True,
                progress=False,
            )
        assert supervisor.run is not None
        said = supervisor.run.remarks[0]
        assert ("momentum=(1 + t) / (10 + t) after t updates" in said) == (not options)
        return used

    least = 0.0 if algorithm == "byol" else 0.99
    expected = [max(least, (1 + t) / (10 + t)) for t in range(8)]
    assert trained("whole", stops=False) == pytest.approx(expected)
    assert trained("stopped", stops=True) == pytest.approx(expected)
    assert min(trained("given", stops=False, momentum=0.9)) >= 0.9


class Fitted(Supervisor):
    """Decides something by the length of its run."""

    def _forward(self, data: Any) -> Tensor:
        return self.model(data[0]).mean()

    def _fit_to_run(self, run: Any) -> dict[str, Any]:
        return {"parts": run.epochs * 3}


class Two(Fitted):
    """Has another one within."""

    def __init__(self, dataset: Any, model: nn.Module) -> None:
        super().__init__(model, dataset)
        self.inner = Fitted(model, dataset)


def test_what_parts_decide_is_told_by_their_names(images: Tensor, tiny_backbone: Any) -> None:
    both = Two(images, tiny_backbone())
    both.supervise(lr=0.1, **NO_STEPS)
    assert both.run is not None
    assert both.run.remarks == ["chosen for this run: parts=0, inner.parts=0"]


MEMORIES = ["instance", "pirl", "cmc"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Growth begins with four images."""
    monkeypatch.setattr(remembering, "FEWEST_REMEMBERED", 4)
    monkeypatch.setattr(exemplar_net, "FEWEST_CLASSES", 4)


def moved(before: Tensor, after: Tensor) -> list[int]:
    """Rows that are not as they were."""
    return (before != after).any(dim=1).nonzero().flatten().tolist()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("algorithm", MEMORIES)
def test_a_memory_gets_its_images_one_by_one(
    algorithm: str, images: Tensor, tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = SUPERVISORS[algorithm](images, tiny_backbone(), views_per_image=2, num_negatives=9)
    bank = supervisor.color_bank if algorithm == "cmc" else supervisor.bank
    begun = bank.rows.clone()
    drawn: list[Tensor] = []
    own_entry_mask = bank.own_entry_mask

    def spied(index: Tensor, negatives: Tensor) -> Tensor:
        drawn.append(negatives)
        return own_entry_mask(index, negatives)

    monkeypatch.setattr(MemoryBank, "own_entry_mask", staticmethod(spied))
    order = drawn_order(22).tolist()
    supervisor.supervise(epochs=1, batch_size=4, name=None, progress=False)  # 4, 4, 4, 6, 8, 10
    assert supervisor.run is not None and supervisor.run.steps_per_epoch == 6
    for step, joined in enumerate([4, 4, 4, 6, 8, 10]):
        assert set(drawn[step].tolist()) <= set(order[:joined])
    assert len(set(drawn[-1].tolist())) >= 4
    said = "chosen for this run: lr=0.001, images=4 at first, one more every 2 views"
    assert supervisor.run.remarks == [said]
    seen = set(moved(begun, bank.rows))
    assert seen <= set(order[:10]) and len(seen) > 4
    supervisor.supervise(epochs=2, batch_size=4, name=None, progress=False)  # all of them
    assert set(moved(begun, bank.rows)) == set(range(22))
    assert drawn[-1].max() < 22 and remembering.joined_now(supervisor) is None


@pytest.mark.parametrize("algorithm", MEMORIES)
def test_all_images_are_in_a_memory_from_the_start_as_in_the_paper(
    algorithm: str, images: Tensor, tiny_backbone: Any
) -> None:
    supervisor = SUPERVISORS[algorithm](images, tiny_backbone(), views_per_image=0)
    bank = supervisor.color_bank if algorithm == "cmc" else supervisor.bank
    begun = bank.rows.clone()
    supervisor.supervise(epochs=1, batch_size=4, name=None, progress=False)
    assert moved(begun, bank.rows) == list(range(22))
    assert supervisor.run is not None
    assert supervisor.run.remarks == ["chosen for this run: lr=0.001"]


@pytest.mark.usefixtures("few")
def test_exemplars_become_classes_one_by_one(images: Tensor, tiny_backbone: Any) -> None:
    asked: list[Tensor] = []

    class Noting(nn.CrossEntropyLoss):
        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            asked.append(logits.detach())
            return super().forward(logits, targets)

    supervisor = SUPERVISORS["exemplar"](
        images, tiny_backbone(), loss=Noting(), views_per_class=2, num_transforms=2
    )
    order = drawn_order(22).tolist()
    supervisor.supervise(epochs=3, batch_size=4, name=None, progress=False)
    for step in range(12):
        joined = min(22, max(4, (22 * (step // 6) + 4 * (step % 6)) // 2))
        counts = torch.isfinite(asked[step]).all(dim=0).nonzero().flatten().tolist()
        assert sorted(counts) == sorted(order[:joined])
    assert torch.isfinite(asked[-1]).all()
    supervisor = SUPERVISORS["exemplar"](
        images, tiny_backbone(), loss=Noting(), views_per_class=0, num_transforms=2
    )
    supervisor.supervise(epochs=1, batch_size=4, name=None, progress=False)
    assert torch.isfinite(asked[-6]).all()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_loss_that_wants_a_little_of_every_class_gets_all_logits(
    smoothing: float, images: Tensor, tiny_backbone: Any
) -> None:
    loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
    supervisor: Any = SUPERVISORS["exemplar"](
        images, tiny_backbone(), loss=loss, views_per_class=2, num_transforms=2
    )
    supervisor.supervise(epochs=1, batch_size=4, name=None, progress=False)
    supervisor.run.epoch = 0
    logits = supervisor._among_joined(torch.zeros(2, 22), drawn_order(22)[:2])
    assert bool(torch.isfinite(logits).all()) == (smoothing > 0)


def test_a_checkpoint_says_whether_images_join(
    images: Tensor, tiny_backbone: Any, tmp_path: Any
) -> None:
    for algorithm, name in (("exemplar", "views_per_class"), ("instance", "views_per_image")):
        kind: Any = SUPERVISORS[algorithm]
        kind(images, tiny_backbone(), **{name: 0}).save(tmp_path / algorithm)
        loaded = kind(images, tiny_backbone()).load(tmp_path / algorithm)
        assert loaded.arguments[name] == 0 and loaded.growth is None


@pytest.mark.usefixtures("few")
def test_a_class_that_takes_the_place_of_an_unreadable_one_counts(
    images: Tensor, tiny_backbone: Any
) -> None:
    supervisor: Any = SUPERVISORS["exemplar"](images, tiny_backbone(), views_per_class=2)
    supervisor.supervise(epochs=1, batch_size=4, name=None, progress=False)
    supervisor.run.epoch = 0
    order = drawn_order(22)
    logits = supervisor._among_joined(torch.zeros(2, 22), order[[0, 9]])
    assert sorted(order[:10].tolist()) == torch.isfinite(logits[0]).nonzero().flatten().tolist()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("epoch", "classes"), [(10, 11), (19, 20), (21, 22), (40, 22)])
def test_exemplars_are_judged_by_the_classes_that_there_are(
    epoch: int, classes: int, images: Tensor, tiny_backbone: Any
) -> None:
    supervisor: Any = SUPERVISORS["exemplar"](images, tiny_backbone(), views_per_class=20)
    row = {"epoch": epoch, "loss": 0.979 * math.log(classes), "accuracy": 0.1}
    assert supervisor.chance_loss(row) == pytest.approx(math.log(classes))
    assert supervisor._health(row) is None
    verdict = supervisor._health({**row, "loss": 0.981 * math.log(classes)})
    assert f"of {math.log(classes):.2f})" in verdict


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("algorithm", ["instance", "exemplar"])
def test_images_join_in_a_run_that_goes_on_as_in_one_that_never_stopped(
    algorithm: str, images: Tensor, tiny_backbone: Any, tmp_path: Any
) -> None:
    small = {"num_transforms": 2, "views_per_class": 3}
    options = small if algorithm == "exemplar" else {"views_per_image": 3}

    def trained(name: str, *, stops: bool) -> Any:
        for epochs in (1, 3) if stops else (3,):
            torch.manual_seed(0)
            supervisor = SUPERVISORS[algorithm](images, tiny_backbone(), **options)
            given: dict[str, Any] = {"name": tmp_path / name, "progress": False}
            supervisor.supervise(epochs=epochs, batch_size=8, resume=True, **given)
        return SUPERVISORS[algorithm](None, tiny_backbone()).load(tmp_path / name)

    whole, parts = trained("whole", stops=False), trained("parts", stops=True)
    assert whole.arguments.items() >= options.items()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_tasks_in_turns_get_their_images_one_by_one(
    images: Tensor, tiny_backbone: Any, few: None
) -> None:
    instance = ("instance", {"views_per_image": 5})
    supervisor: Any = MultiTaskSupervisor(images, tiny_backbone(), tasks=["rotate", instance])
    begun = supervisor.tasks[1].bank.rows.clone()
    supervisor.supervise(epochs=1, batch_size=4, name=None, progress=False)
    assert set(moved(begun, supervisor.tasks[1].bank.rows)) == set(drawn_order(22)[:4].tolist())


@pytest.mark.parametrize(
    ("features", "decoder", "discriminator"),
    [
        (1280, (128, 128, 64, 32), (32, 64, 128, 256)),
        (256, (128, 128, 64, 32), (32, 64, 128, 256)),
        (255, (127, 127, 63, 31), (31, 63, 127, 255)),
        (128, (64, 64, 32, 16), (16, 32, 64, 128)),
        (17, (16, 16, 16, 16), (16, 16, 16, 17)),
    ],
)
def test_decoders_and_discriminators_are_as_narrow_as_the_backbone(
    features: int, decoder: tuple[int, ...], discriminator: tuple[int, ...]
) -> None:
    assert decoder_widths(features) == decoder
    assert discriminator_widths(features) == discriminator


def widths_of(network: nn.Module, kind: type) -> list[int]:
    return [module.out_channels for module in network.modules() if type(module) is kind]  # type: ignore[misc]


@pytest.mark.parametrize("algorithm", ["denoise", "context"])
def test_decoders_have_the_widths_that_were_given_or_chosen(
    algorithm: str, images: Tensor, tiny_backbone: Any, tmp_path: Any
) -> None:
    backbone = tiny_backbone()  # 16 features on 8 x 8
    chosen = SUPERVISORS[algorithm](images, backbone)
    assert widths_of(chosen.model.predictor, nn.ConvTranspose2d) == [16, 3]
    assert chosen.arguments["decoder_widths"] == (16, 16, 16, 16)
    assert chosen.choices["decoder_widths"] == (16, 16, 16, 16)
    given = SUPERVISORS[algorithm](images, tiny_backbone(), decoder_widths=[5, 24])
    assert widths_of(given.model.predictor, nn.ConvTranspose2d) == [24, 3]
    assert "decoder_widths" not in given.choices
    given.save(tmp_path / "run")
    loaded = SUPERVISORS[algorithm](None, tiny_backbone()).load(tmp_path / "run")
    assert widths_of(loaded.model.predictor, nn.ConvTranspose2d) == [24, 3]


def test_a_context_encoder_s_discriminator_has_the_widths_that_were_given_or_chosen(
    images: Tensor, tiny_backbone: Any
) -> None:
    kind: Any = SUPERVISORS["context"]
    chosen, given = (
        kind(images, tiny_backbone(), **o) for o in ({}, {"discriminator_widths": (7,)})
    )
    assert widths_of(chosen.discriminator, nn.Conv2d) == [16, 16, 16]
    assert chosen.choices["discriminator_widths"] == (16, 16, 16, 16)
    assert widths_of(given.discriminator, nn.Conv2d) == [7, 7, 7]
    assert "discriminator_widths" not in given.choices


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ((), "decoder_widths must have at least one width, got none"),
        ((4, 0), "decoder_widths must be at least 1, got 0"),
        ((1.5,), "decoder_widths must be a whole number, got 1.5"),
        ("ab", "decoder_widths must be a sequence of numbers, got 'ab'"),
    ],
)
def test_what_are_no_widths_are_refused(widths: Any, message: str, tiny_backbone: Any) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        SUPERVISORS["denoise"](None, tiny_backbone(), image_size=32, decoder_widths=widths)


@pytest.mark.parametrize(
    ("size", "players", "latents", "kind"),
    [
        (32, None, (50, 1, 1), DenseGenerator),
        ((32, 33), None, (32, 2, 2), nn.Sequential),
        (33, None, (32, 2, 2), nn.Sequential),
        (32, "convolutional", (32, 2, 2), nn.Sequential),
        (48, "dense", (50, 1, 1), DenseGenerator),
    ],
)
def test_bigan_plays_with_full_connections_on_small_images(
    size: Any, players: str | None, latents: tuple[int, ...], kind: type, tiny_backbone: Any
) -> None:
    bigan: Any = SUPERVISORS["bigan"](None, tiny_backbone(), image_size=size, players=players)
    assert bigan.collate_fn.shape == latents
    assert type(bigan.generator) is kind
    has_pixels = isinstance(bigan.discriminator.image_features, nn.Sequential)
    assert has_pixels == (kind is DenseGenerator)
    named = "dense" if kind is DenseGenerator else "convolutional"
    assert bigan.arguments["players"] == named
    assert bigan.arguments["latent_channels"] == latents[0]
    assert ("players" in bigan.choices) == (players is None)
    own: Any = SUPERVISORS["bigan"](
        None, tiny_backbone(), image_size=size, players=players, latent_channels=3, latent_grid=2
    )
    assert own.collate_fn.shape == (3, 2, 2) and "latent_channels" not in own.choices


def test_bigan_refuses_players_that_there_are_not(tiny_backbone: Any) -> None:
    with pytest.raises(ValueError, match=r"^players is .dense. or .convolutional., got .fc.$"):
        SUPERVISORS["bigan"](None, tiny_backbone(), image_size=32, players="fc")
