"""Do our short cuts cost anything? The same algorithms by lightly and by us, from the same weights.

    pip install -r benchmarks/requirements.txt
    python benchmarks/agreement.py
    python benchmarks/agreement.py --algorithms simclr --steps 100 --seeds 0

For each algorithm and seed both train one network on CIFAR-10: same first weights of backbone and
heads, same images in the same batches, same recipe of augmentation, temperature and so on, same
optimizer and number of steps. What differs is who wrote it: lightly's transforms work image by
image on PIL images, ours on whole batches; losses, loops, queues and momentum encoders are each
one's own, and the prototypes of lightly's SwAV go without their bias, as the authors' do. Shown
are the loss of the last steps and the accuracy of a k-NN on the features, of all seeds, and images
a second while training. A second table has both losses of the same random vectors. Runs that are
done are kept in `--out`.jsonl.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import load
from kept import keep, of_seeds, stored
from lightly.loss import (
    BarlowTwinsLoss,
    DINOLoss,
    NegativeCosineSimilarity,
    NTXentLoss,
    SwaVLoss,
    VICRegLoss,
)
from lightly.models.modules import (
    BarlowTwinsProjectionHead,
    BYOLPredictionHead,
    BYOLProjectionHead,
    DINOProjectionHead,
    MaskedVisionTransformerDecoderTIMM,
    MaskedVisionTransformerTIMM,
    MoCoProjectionHead,
    NNCLRPredictionHead,
    NNCLRProjectionHead,
    NNMemoryBankModule,
    SimCLRProjectionHead,
    SimSiamPredictionHead,
    SimSiamProjectionHead,
    SwaVProjectionHead,
)
from lightly.models.modules.heads import VICRegProjectionHead
from lightly.models.utils import random_token_mask
from lightly.utils.scheduler import cosine_schedule
from lightly_loops import (
    Batch,
    Bootstrap,
    Contrast,
    Masked,
    Neighbors,
    SelfDistilled,
    Siamese,
    Swapped,
    Transformed,
    Twins,
    transform_of,
)
from PIL import Image
from provenance import write_result
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from super_selfish.data.loaders import EpochBatches
from super_selfish.evaluation import extract_features, knn_accuracy
from super_selfish.losses import (
    barlow_twins,
    cosine_regression,
    negative_cosine,
    nt_xent,
    sinkhorn_codes,
    swapped_prediction,
    vicreg,
)
from super_selfish.losses.patches import into_patches, standardised_patches
from super_selfish.memory import KeyQueue
from super_selfish.models import NarrowResNet
from super_selfish.models.heads import PrototypeHead
from super_selfish.models.masked_transformer import PatchDecoder, chosen
from super_selfish.supervisors import SUPERVISORS
from super_selfish.training import Callback

HERE = Path(__file__).parent
SIZE, LABELLED, LAST = 32, 5000, 50  # pixels; images that k-NN sees; steps whose loss is shown
WIDTH, FEATURES, HIDDEN, EMBEDDING = 16, 128, 512, 128
QUEUE, MOMENTUM = 1024, 0.99
PROTOTYPES, EPSILON, FROZEN = 64, 0.02, 50
WEIGHT, TEMPERATURE = 5e-3, 0.2
CLASSES, BOTTLENECK, TEACHER_MOMENTUM = 512, 256, 0.9  # DINO; a run is short for a slower teacher
PATCH, DEPTH, DECODER_DEPTH, DECODER_WIDTH, HEAD_WIDTH = 4, 4, 2, 64, 32  # MAE
HIDDEN_SHARE = 0.75
RISING = {"byol": MOMENTUM, "dino": TEACHER_MOMENTUM}  # to 1 over the run

Heads = Mapping[str, nn.Module]


def heads_of(algorithm: str) -> Heads:
    """Those of lightly, for both."""
    if algorithm == "simclr":
        return {"predictor": SimCLRProjectionHead(FEATURES, HIDDEN, EMBEDDING)}
    if algorithm == "simsiam":
        return {
            "predictor": SimSiamProjectionHead(FEATURES, HIDDEN, EMBEDDING),
            "prediction_head": SimSiamPredictionHead(EMBEDDING, EMBEDDING // 4, EMBEDDING),
        }
    if algorithm == "barlow_twins":
        return {"predictor": BarlowTwinsProjectionHead(FEATURES, HIDDEN, HIDDEN)}
    if algorithm == "swav":
        return {"predictor": SwaVProjectionHead(FEATURES, HIDDEN, EMBEDDING)}
    if algorithm == "moco":
        return {"predictor": MoCoProjectionHead(FEATURES, FEATURES, EMBEDDING)}
    if algorithm == "vicreg":
        return {"predictor": VICRegProjectionHead(FEATURES, HIDDEN, HIDDEN)}
    if algorithm == "nnclr":
        return {
            "predictor": NNCLRProjectionHead(FEATURES, HIDDEN, EMBEDDING),
            "prediction_head": NNCLRPredictionHead(EMBEDDING, HIDDEN, EMBEDDING),
        }
    if algorithm == "dino":
        head = DINOProjectionHead(FEATURES, HIDDEN, BOTTLENECK, CLASSES, batch_norm=True)
        return {"predictor": head}
    if algorithm == "mae":
        patches, heads = (SIZE // PATCH) ** 2, DECODER_WIDTH // HEAD_WIDTH
        return {
            "embed": nn.Linear(FEATURES, DECODER_WIDTH),
            "decoder": MaskedVisionTransformerDecoderTIMM(
                patches, DECODER_WIDTH, DECODER_DEPTH, heads
            ),
            "paint": nn.Linear(DECODER_WIDTH, 3 * PATCH**2),
        }
    return {
        "predictor": BYOLProjectionHead(FEATURES, HIDDEN, EMBEDDING),
        "prediction_head": BYOLPredictionHead(EMBEDDING, HIDDEN, EMBEDDING),
    }


def own_heads(algorithm: str, heads: Heads) -> Heads:
    """Lightly's, or ours with their weights where ours have another form."""
    if algorithm == "dino":
        theirs: Any = heads["predictor"]
        head = PrototypeHead(FEATURES, HIDDEN, BOTTLENECK, CLASSES, norm="batch")
        head.layers.load_state_dict(theirs.layers.state_dict())
        head.prototypes.data.copy_(theirs.last_layer.weight_v)
        return {"predictor": head}
    if algorithm == "mae":
        decoder = PatchDecoder(
            FEATURES,
            3 * PATCH**2,
            (SIZE // PATCH, SIZE // PATCH),
            width=DECODER_WIDTH,
            depth=DECODER_DEPTH,
            num_heads=DECODER_WIDTH // HEAD_WIDTH,
        )
        decoder.embed, decoder.paint = heads["embed"], heads["paint"]
        given: Any = heads["decoder"]
        decoder.mask_token, decoder.blocks = given.mask_token, given.blocks
        decoder.norm, decoder.positions = given.norm, given.pos_embed[:, 1:].detach()
        return {"predictor": decoder}
    return heads


def neighbors_nt_xent(neighbors: Tensor, predictions: Tensor, own: Tensor) -> Tensor:
    """What lightly's examples train NNCLR by."""
    return nt_xent(neighbors, predictions[own], TEMPERATURE)


SETTINGS: dict[str, dict[str, Any]] = {
    "simclr": {"embedding_size": EMBEDDING, "temperature": TEMPERATURE},
    "simsiam": {"embedding_size": EMBEDDING},
    "barlow_twins": {"off_diagonal_weight": WEIGHT},
    "swav": {
        "embedding_size": EMBEDDING,
        "num_prototypes": PROTOTYPES,
        "epsilon": EPSILON,
        "frozen_updates": FROZEN,
        "queue_size": 0,
    },
    "moco": {
        "embedding_size": EMBEDDING,
        "queue_size": QUEUE,
        "momentum": MOMENTUM,
        "temperature": TEMPERATURE,
        "norm_groups": 1,
    },
    "byol": {"embedding_size": EMBEDDING, "momentum": MOMENTUM},
    "dino": {
        "num_classes": CLASSES,
        "momentum": TEACHER_MOMENTUM,
        "frozen_updates": FROZEN,
        "clip_norm": None,
    },
    "mae": {"mask_ratio": HIDDEN_SHARE},
    "vicreg": {"embedding_size": HIDDEN},
    "nnclr": {"embedding_size": EMBEDDING, "queue_size": QUEUE, "loss": neighbors_nt_xent},
}


def parts_of(algorithm: str, seed: int) -> tuple[nn.Module, Heads]:
    """Backbone and heads with the first weights of a seed."""
    torch.manual_seed(seed)
    if algorithm == "mae":
        return transformer(), heads_of(algorithm)
    return NarrowResNet(3, width=WIDTH), heads_of(algorithm)


def transformer() -> nn.Module:
    """One that MAE trains, as lightly has its weights and positions begin."""
    network = VisionTransformer(
        SIZE,
        PATCH,
        num_classes=0,
        global_pool="avg",
        fc_norm=False,
        embed_dim=FEATURES,
        depth=DEPTH,
        num_heads=FEATURES // HEAD_WIDTH,
    )
    return MaskedVisionTransformerTIMM(network).vit


def supervisor_of(algorithm: str, images: Tensor, seed: int) -> Any:
    """Ours."""
    backbone, heads = parts_of(algorithm, seed)
    heads = own_heads(algorithm, heads)
    return SUPERVISORS[algorithm](images, backbone, **heads, **SETTINGS[algorithm])


def method_of(algorithm: str, images: Tensor, seed: int) -> tuple[nn.Module, Any]:
    """The backbone that is kept, and lightly's way of training it."""
    backbone, heads = parts_of(algorithm, seed)
    if algorithm == "mae":
        return backbone, Masked(backbone, **heads, mask_ratio=HIDDEN_SHARE)
    network = nn.Sequential(backbone, heads["predictor"])
    if algorithm == "simclr":
        return backbone, Batch(network, TEMPERATURE)
    if algorithm == "simsiam":
        return backbone, Siamese(network, heads["prediction_head"])
    if algorithm == "barlow_twins":
        return backbone, Twins(network, BarlowTwinsLoss(lambda_param=WEIGHT))
    if algorithm == "swav":
        prototypes = supervisor_of("swav", images, seed).prototypes.detach()
        return backbone, Swapped(network, prototypes, EPSILON, FROZEN)
    if algorithm == "vicreg":
        return backbone, Twins(network, VICRegLoss())
    if algorithm == "nnclr":
        sizes = (QUEUE, EMBEDDING)
        return backbone, Neighbors(network, heads["prediction_head"], *sizes, TEMPERATURE)
    if algorithm == "moco":
        method: Any = Contrast(backbone, FEATURES, QUEUE, MOMENTUM)
    elif algorithm == "dino":
        sizes = (FEATURES, HIDDEN, BOTTLENECK, CLASSES)
        method = SelfDistilled(backbone, *sizes, TEACHER_MOMENTUM, FROZEN)
        backbone = method.average[0]
    else:
        method = Bootstrap(backbone, FEATURES, HIDDEN, MOMENTUM, EMBEDDING)
        method.prediction_head.load_state_dict(heads["prediction_head"].state_dict())
        method.average[1].load_state_dict(heads["predictor"].state_dict())
    method.network[1].load_state_dict(heads["predictor"].state_dict())
    method.average.load_state_dict(method.network.state_dict())
    return backbone, method


class Losses(Callback):
    """Keeps the loss of every step, and stops after some."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.values: list[Tensor] = []

    def on_step(self, supervisor: Any, step: Any) -> None:
        """Keeps it."""
        self.values.append(step.values["loss"].detach())
        if len(self.values) == self.steps:
            supervisor.run.stop("the number of steps")


def train_ours(
    algorithm: str, images: Tensor, seed: int, options: argparse.Namespace
) -> tuple[nn.Module, list[float], float]:
    """Backbone, losses, seconds."""
    supervisor = supervisor_of(algorithm, images, seed)
    losses = Losses(options.steps)
    began = time.perf_counter()
    supervisor.supervise(
        lr=options.lr,
        epochs=epochs_of(options, len(images)),
        batch_size=options.batch_size,
        seed=seed,
        name=None,
        progress=False,
        callbacks=[losses],
    )
    seconds = time.perf_counter() - began
    return supervisor.get_backbone(), [float(value) for value in losses.values], seconds


def epochs_of(options: argparse.Namespace, images: int) -> int:
    """Those that have as many steps as are wanted."""
    return -(-options.steps * options.batch_size // images)


def train_theirs(
    algorithm: str, images: Tensor, seed: int, options: argparse.Namespace
) -> tuple[nn.Module, list[float], float]:
    """Backbone, losses, seconds."""
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    backbone, method = method_of(algorithm, images, seed)
    batches = EpochBatches(len(images), options.batch_size, seed=seed)
    loader: DataLoader[Any] = DataLoader(
        Transformed(pictures, transform_of(algorithm, SIZE)), batch_sampler=batches
    )
    updates = epochs_of(options, len(images)) * len(batches)  # over which momenta rise
    torch.manual_seed(seed)  # of the transforms
    optimizer = torch.optim.Adam(method.trained.parameters(), lr=options.lr)
    method.trained.train()
    losses: list[float] = []
    began = time.perf_counter()
    for number, views in enumerate(forever(loader)):
        if number == options.steps:
            break
        if algorithm in RISING:  # as ours do
            method.momentum = cosine_schedule(number, updates + 1, RISING[algorithm], 1.0)
        loss = method.step(views)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return backbone, losses, time.perf_counter() - began


def forever(loader: DataLoader[Any]) -> Iterator[Any]:
    """One epoch after the other."""
    while True:
        yield from loader


def same_loss(algorithm: str, loss: float) -> float:
    """Lightly's BYOL is the mean negative cosine, ours the sum of squared distances: 4 + 4 m."""
    return 4 + 4 * loss if algorithm == "byol" else loss


def accuracy(
    backbone: nn.Module, labelled: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> float:
    """Of a k-NN on the features, of 10,000 test images."""
    known, asked = (extract_features(backbone, each[0]).features for each in (labelled, test))
    return knn_accuracy(known, labelled[1], asked, test[1])


def second_step_of_dino(scores: list[Tensor]) -> Tensor:
    """The loss of lightly's DINO of the same scores again, when the centre has moved once."""
    criterion = DINOLoss(output_dim=scores[0].shape[1], teacher_temp=1 / 16)
    return [criterion(scores[:2], scores) for _ in range(2)][1]


def losses_of_vectors() -> list[str]:
    """Both losses of the same random vectors, in float64."""
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.randn(64, 32, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    second = second + first
    unit = [nn.functional.normalize(view, dim=1) for view in (first, second)]
    scores = torch.stack([unit[0], unit[1], nn.functional.normalize(first + 1, dim=1)])
    codes = torch.stack([sinkhorn_codes(view, 0.05, 3) for view in scores[:2]])
    center = scores[:2].mean(dim=(0, 1)) / 10  # after a step
    shares = (16 * (scores[:2] - center)).softmax(dim=2)
    queue = KeyQueue(256, 32).double()
    queue.keys = nn.functional.normalize(queue.keys, dim=1)  # as exactly as float64 has it
    nearest = NNMemoryBankModule((256, 32)).double()
    nearest.bank = queue.keys
    pictures = torch.rand(8, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    patches = standardised_patches(into_patches(pictures, PATCH))
    painting = method_of("mae", pictures, 0)[1]
    painting.trained.double()
    kept, masked = random_token_mask((8, painting.network.sequence_length), HIDDEN_SHARE)
    painter = supervisor_of("mae", pictures, 0).model.double()
    painted = chosen(painter(pictures, kept[:, 1:] - 1), masked - 1)
    pairs: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {
        "SimCLR, temperature 0.2": (
            lambda: NTXentLoss(temperature=0.2)(first, second),
            lambda: nt_xent(*unit, 0.2),
        ),
        "SimSiam, one direction": (
            lambda: NegativeCosineSimilarity()(first, second),
            lambda: negative_cosine(first, second),
        ),
        "BYOL, one direction, as 2 + 2 m": (
            lambda: 2 + 2 * NegativeCosineSimilarity()(first, second),
            lambda: cosine_regression(first, second),
        ),
        "Barlow Twins, weight 0.005": (
            lambda: BarlowTwinsLoss()(first, second),
            lambda: barlow_twins(first, second, 5e-3),
        ),
        "SwAV, temperature 0.1, epsilon 0.05": (
            lambda: SwaVLoss()(list(scores[:2]), list(scores[2:])).squeeze(),
            lambda: swapped_prediction(codes, scores, 0.1),
        ),
        "DINO, temperatures 0.1 and 1 / 16, the second step": (
            lambda: second_step_of_dino(list(scores)),
            lambda: swapped_prediction(shares, scores, 0.1),
        ),
        "MAE, a step from the same weights": (
            lambda: painting.loss(pictures, kept, masked),
            lambda: nn.functional.mse_loss(painted, chosen(patches, masked - 1)),
        ),
        "VICReg": (lambda: VICRegLoss()(first, second), lambda: vicreg(first, second)),
        "NNCLR by NT-Xent, one direction, temperature 0.2": (
            lambda: NTXentLoss(temperature=0.2)(nearest(first), second),
            lambda: nt_xent(queue.keys[queue.nearest(unit[0])], unit[1], 0.2),
        ),
    }
    lines = ["| loss of the same vectors | lightly | ours |", "|---|---|---|"]
    for name, (theirs, ours) in pairs.items():
        losses = [float(loss().detach()) for loss in (theirs, ours)]
        lines.append(f"| {name} | {losses[0]:.10f} | {losses[1]:.10f} |")
    return lines


def done(path: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Runs that are stored, by algorithm, who, and seed."""
    return {(row["algorithm"], row["who"], row["seed"]): row for row in stored(path)}


def table(runs: Mapping[tuple[str, str, int], dict[str, Any]], algorithms: Sequence[str]) -> str:
    """A row for each algorithm."""
    lines = [
        "| algorithm | seeds | loss, lightly | loss, ours | k-NN %, lightly | k-NN %, ours "
        "| images/s, lightly | images/s, ours | ratio | measured |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for algorithm in algorithms:
        of_both = {
            who: [run for (a, w, _), run in sorted(runs.items()) if (a, w) == (algorithm, who)]
            for who in ("lightly", "ours")
        }
        cells = [algorithm, str(len(of_both["ours"]))]
        for key, digits, scale in (
            ("loss", 3, 1.0),
            ("knn", 1, 100.0),
            ("images_per_second", 0, 1.0),
        ):
            for each in of_both.values():
                cells.append(of_seeds([scale * run[key] for run in each], digits))
        speed = [
            statistics.median(run["images_per_second"] for run in each) for each in of_both.values()
        ]
        last = max(run["date"] for each in of_both.values() for run in each)
        lines.append("| " + " | ".join([*cells, f"**{speed[1] / speed[0]:.1f}**", last]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Does what is not done yet, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--algorithms", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "agreement")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    (images, labels), test = load("cifar10", options.root)
    labelled = (images[:LABELLED], labels[:LABELLED])
    store = options.out.with_suffix(".jsonl")
    for seed in options.seeds:
        for algorithm in options.algorithms:
            for who, train in (("lightly", train_theirs), ("ours", train_ours)):
                if (algorithm, who, seed) in done(store):
                    continue
                backbone, losses, seconds = train(
                    algorithm, images[: options.images], seed, options
                )
                last = statistics.fmean(losses[-LAST:])
                row = {
                    "algorithm": algorithm,
                    "who": who,
                    "seed": seed,
                    "steps": options.steps,
                    "first_loss": same_loss(algorithm, losses[0])
                    if who == "lightly"
                    else losses[0],
                    "loss": same_loss(algorithm, last) if who == "lightly" else last,
                    "knn": accuracy(backbone, labelled, test),
                    "images_per_second": options.steps * options.batch_size / seconds,
                    "date": str(datetime.date.today()),
                }
                keep(store, row)
    lines = [
        "# The same algorithms by lightly and by us",
        "",
        f"CIFAR-10, {options.images:,} images, {options.steps} steps of {options.batch_size} "
        f"images, Adam at {options.lr:g}, a ResNet of {WIDTH} to {8 * WIDTH} channels, for MAE a "
        f"transformer of {DEPTH} blocks and {FEATURES} features; loss: mean "
        f"of the last {LAST} steps; k-NN: {LABELLED:,} labelled images, 10,000 test images. Mean "
        "and standard deviation over seeds. Runs of both alternate, so that other work on the "
        "machine slows both. BYOL's recipe, which Barlow Twins, VICReg and NNCLR share, crops "
        "bicubically with us as in the paper, bilinearly in lightly. NNCLR is trained by NT-Xent, "
        "as in lightly's examples; DINO's large crops share a batch norm with us, as in the "
        "authors' code, and are normalised each by itself in lightly.",
        "",
        table(done(store), options.algorithms),
        "",
        *losses_of_vectors(),
    ]
    write_result(options.out.with_suffix(".md"), lines, "lightly", "torchvision")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
