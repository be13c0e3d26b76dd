"""The numbers of the papers, once: what a paper has, where that is read, what we have, and why.

"code" is the authors' released code, "text" the paper where the two disagree, "0.0.6" the first
release of this package. `AS_PAPER` means that our default is the paper's number. The tests beside
this file hold signatures, recipes, heads and state to it; `METHODS` names the section of the
project's method reference that was followed.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class _AsPaper:
    def __repr__(self) -> str:
        return "as in the paper"


AS_PAPER: Final = _AsPaper()


class Number(NamedTuple):
    """One number."""

    paper: Any  # None where the paper has none
    source: str
    ours: Any = AS_PAPER  # our default
    why: str = ""  # we depart

    @property
    def default(self) -> Any:
        """Our default."""
        return self.paper if self.ours is AS_PAPER else self.ours


RESOLVED = "None stands for a number that depends on the data; test_resolved.py holds it"
SMALL = "small images and small datasets are what this library is for"
POOL = "the strong recipe of CPC v2 serves where a paper is silent, as in 0.0.6"
FEW_STEPS = "a short run sees too little of each of many"
ONE_BATCH = "as many as keep a step cheap on one device; shared by the batch"

# Arguments that are no numbers of an algorithm: data, networks, and options of all supervisors.
PLUMBING = {
    *("dataset", "backbone", "predictor", "loss", "image_size", "in_channels", "normalize"),
    *("prediction_head", "puzzle_predictor", "generator", "discriminator", "num_images"),
}

SIGNATURES: dict[str, dict[str, Number]] = {
    "rotate": {
        "rotations": Number(
            (0, 90, 180, 270), "2.1; text, section 3", (0, 90, 180, -90), "-90 is 270: 0.0.6"
        ),
        "crop": Number(True, "2.1; code, CIFAR: RandomCrop 32 pad 4, flip"),
        "augmentation": Number(None, "2.1: what crop says"),
    },
    "exemplar": {
        "num_classes": Number(8000, "2.2; text: 8000 to 32000", None, RESOLVED),
        "views_per_class": Number(0, "2.2: all from the start", 100, FEW_STEPS),
        "num_transforms": Number(100, "2.2; text: 100 to 150 copies a class"),
        "max_elements": Number(None, "0.0.6: max_elms", 10, "other primitives than the paper's"),
        "probability": Number(None, "0.0.6", 0.5, "other primitives than the paper's"),
        "seed": Number(None, "a seed", 0, "any"),
    },
    "jigsaw": {
        "grid": Number(3, "2.3; text, section 4", 2, "nine tiles are too hard for " + SMALL),
        "num_permutations": Number(1000, "2.3; text: 1000, code: 100, VISSL: 2000", None, RESOLVED),
        "num_permutations_per_image": Number(None, "0.0.6: 24", None, RESOLVED),
        "tile_fraction": Number(64 / 75, "1.5 R4; text: 64 of 75 at 225, code: 64 of 85 at 255"),
        "p_grayscale": Number(0.3, "2.3; text: 30 % of the images, VISSL: 0.66"),
        "channel_shift": Number(2 / 64, "2.3; text, section 4.2", 0.0, "colours are jittered"),
        "augmentation": Number(None, "2.3: jitter, and p_grayscale"),
    },
    "denoise": {
        "probability": Number(
            (0.1, 0.25, 0.5), "2.4; text: fractions", 0.7, "0.0.6: images are redundant"
        ),
        "decoder_widths": Number((256, 256, 128, 64), "2.4; 0.0.6", None, RESOLVED),
        "augmentation": Number(None, "2.4: nothing before the noise"),
    },
    "mae": {
        "mask_ratio": Number(0.75, "4.3; text, section 4.1, figure 5"),
        "norm_pix": Number(True, "4.3; text, table 1d: with normalisation"),
        "decoder_depth": Number(8, "4.3; text, table 1a", None, RESOLVED),
        "decoder_width": Number(512, "4.3; text, table 1b", None, RESOLVED),
        "decoder_heads": Number(16, "4.3; code", None, RESOLVED),
        "augmentation": Number("mae", "4.3: RRC(0.2), flip; code"),
    },
    "context": {
        "probability": Number(
            None, "2.5; 0.0.6", 0.3, "random blocks instead of the paper's centre"
        ),
        "num_blocks": Number(None, "2.5; 0.0.6", 10, "as above"),
        "scale": Number(None, "2.5; 0.0.6", (0.05, 0.1), "as above"),
        "ratio": Number(None, "2.5; 0.0.6", (0.3, 3.3), "as above"),
        "lambda_rec": Number(0.999, "2.5; text, section 4"),
        "lambda_adv": Number(0.001, "2.5; text, section 4"),
        "decoder_widths": Number((256, 256, 128, 64), "2.5; 0.0.6", None, RESOLVED),
        "discriminator_widths": Number((64, 128, 256, 512), "2.5; DCGAN's", None, RESOLVED),
        "least_squares": Number(False, "2.5; text: cross-entropy, 0.0.6: least squares"),
        "augmentation": Number(None, "2.5; whole images, as in 0.0.6"),
    },
    "aet": {
        "kind": Number("projective", "3.4; text: both"),
        "scale": Number((0.8, 1.2), "3.4; code; of affine ones (0.7, 1.3)", None, RESOLVED),
        "shift": Number(1 / 8, "3.4; code: 4 of 32 pixels"),
        "degrees": Number(180.0, "3.4; text, section 4.1"),
        "translate": Number(0.2, "3.4; text, section 4.1"),
        "shear": Number(30.0, "3.4; text, section 4.1"),
        "padding": Number("constant", "3.4; code: fillcolor"),
        "fill": Number(128 / 255, "3.4; code: fillcolor"),
        "crop": Number(True, "3.4; code: RandomCrop 32 pad 4, flip"),
        "augmentation": Number(None, "3.4: what crop says"),
    },
    "colorization": {
        "ab_step": Number(10.0, "3.2; text, section 2.1"),
        "bins": Number(
            "pts_in_hull.npy", "3.2; code: 313 bins", None, "261 that sRGB has: no file is needed"
        ),
        "neighbors": Number(5, "3.2; text, section 2.1; code: 10"),
        "sigma": Number(5.0, "3.2; text, section 2.1"),
        "prior_sigma": Number(5.0, "3.2; text, section 2.2"),
        "uniform_share": Number(0.5, "3.2; text, section 2.2: lambda"),
        "num_prior_images": Number(
            1_281_167, "3.2; text: all of ImageNet", 1000, "so that a run begins soon"
        ),
        "gray_below": Number(5.0, "3.2; code: NonGrayMaskLayer"),
        "temperature": Number(0.38, "3.2; text, section 2.3"),
        "stride": Number(4, "3.2; code: 56 x 56 of 224"),
        "crop": Number(True, "code: 176 of 256 pixels, mirrored"),
        "augmentation": Number(None, "3.2: what crop says"),
    },
    "counting": {
        "num_counts": Number(1000, "3.1; text, section 4"),
        "margin": Number(10.0, "3.1; text, section 3.2: M"),
        "weight": Number(1.0, "3.1; text, equation 3"),
        "kernels": Number(
            ("nearest", "area", "bilinear", "bicubic", "lanczos"), "3.1: drawn at random, of five"
        ),
        "p_grayscale": Number(0.6, "3.1; re-implementations: 0.6 to 0.67"),
        "hidden_size": Number(4096, "3.1; text: AlexNet's fc6, fc7", None, RESOLVED),
        "augmentation": Number(None, "3.1: a crop, and p_grayscale"),
    },
    "context_prediction": {
        "patch_fraction": Number(
            0.25, "3.3; text: 96 pixels of images of 387 to 671 a side: 1/4 to 1/7", None, RESOLVED
        ),
        "gap": Number(48 / 96, "3.3; text, section 3; code"),
        "jitter": Number(7 / 96, "3.3; text, section 3; code"),
        "zoom": Number(
            (1.0, 3**0.5),
            "3.3; code: 150,000 to 450,000 pixels",
            (1.0, 1.0),
            "patches of small images are small enough",
        ),
        "num_pairs": Number(4, "3.3; code: grids an image"),
        "colors": Number("drop", "3.3; code; text, section 3.1: or projection"),
        "p_low_resolution": Number(0.33, "3.3; code"),
        "hidden_size": Number(4096, "3.3; code: fc7", None, RESOLVED),
        "augmentation": Number(None, "3.3: what colors and p_low_resolution say"),
    },
    "split_brain": {
        "l_step": Number(1.0, "2.6; text: 100 classes", 2.0, "0.0.6: 50 classes"),
        "l_offset": Number(0.0, "2.6"),
        "ab_step": Number(10.0, "2.6; text: 313 classes in gamut", 26.0, "0.0.6: 9 x 9 classes"),
        "a_offset": Number(None, "2.6; 0.0.6", 128.0, "where the lowest bin begins"),
        "b_offset": Number(None, "2.6; 0.0.6", 128.0, "where the lowest bin begins"),
        "stride": Number(None, "2.6: 4 or 8", 4, "colours are predicted at a quarter of the side"),
        "crop": Number(True, "2.6; text: 180 of 256 pixels"),
        "augmentation": Number(None, "2.6: what crop says"),
    },
    "bigan": {
        "latent_channels": Number(200, "2.7; code: a vector; MNIST: 50", None, RESOLVED),
        "latent_grid": Number(1, "2.7; code: a vector", None, RESOLVED),
        "players": Number("convolutional", "2.7; code; MNIST: dense", None, RESOLVED),
        "augmentation": Number(None, "2.7; whole images, as in 0.0.6"),
    },
    "instance": {
        "embedding_size": Number(128, "2.8; code"),
        "num_negatives": Number(4096, "2.8; code", 500, ONE_BATCH),
        "temperature": Number(0.07, "2.8; text, section 4; code for CIFAR: 0.1"),
        "bank_momentum": Number(0.5, "2.8; code; 0.0.6 replaced"),
        "form": Number("nce", "2.8; text", "softmax", "the authors' later model, which is better"),
        "proximal_weight": Number(30.0, "2.8; text, section 3.3", 0.01, "steadies NCE; 0.0.6"),
        "views_per_image": Number(0, "2.8: all from the start", 10, FEW_STEPS),
        "augmentation": Number("paper", "1.4 A-ID; code"),
    },
    "cpc": {
        "grid": Number(6, "2.9; text: 6 x 6 of 80 pixels at 260", None, RESOLVED),
        "offsets": Number((3,), "2.9; pseudo-code: range(2, 3)", None, RESOLVED),
        "embedding_size": Number(64, "2.9; pseudo-code"),
        "context_size": Number(256, "2.9; pseudo-code", 128, "0.0.6"),
        "context": Number("residual", "2.9; pseudo-code", "plain", "0.0.6"),
        "logit_scale": Number(0.1, "2.9; pseudo-code"),
        "num_negatives": Number(None, "2.9; pseudo-code: all others; 0.0.6: 2"),
        "clip_norm": Number(0.01, "2.9; text, appendix"),
        "augmentation": Number("paper", "1.4 A-CPC", "cpc", POOL),
    },
    "moco": {
        "embedding_size": Number(128, "2.10; code"),
        "queue_size": Number(65536, "2.10; code; CIFAR: 4096", None, RESOLVED),
        "momentum": Number(0.999, "2.10; code; CIFAR: 0.99", None, RESOLVED),
        "temperature": Number(0.2, "2.10; text, section 3; CIFAR: 0.1"),
        "norm_groups": Number(8, "2.10; code: GPUs, CIFAR: splits"),
        "symmetric": Number(False, "2.10; code"),
        "augmentation": Number("moco", "1.4 A-MOCO2; code"),
    },
    "cmc": {
        "embedding_size": Number(128, "2.11; code"),
        "num_negatives": Number(16384, "2.11; code; readme: 4096", 3136, "0.0.6; " + ONE_BATCH),
        "temperature": Number(0.07, "2.11; code; STL-10: 0.1"),
        "form": Number("nce", "2.11; code", "softmax", "better, says the authors' readme"),
        "bank_momentum": Number(0.5, "2.11; code"),
        "positives": Number("memory", "2.11; code; 0.0.6: batch"),
        "views_per_image": Number(0, "2.11: all from the start", 10, FEW_STEPS),
        "augmentation": Number("paper", "2.11; code: RRC(0.2), flip"),
    },
    "byol": {
        "embedding_size": Number(256, "2.12; text, section 3.3"),
        "hidden_size": Number(4096, "2.12; text, section 3.3", None, RESOLVED),
        "momentum": Number(0.996, "2.12; text, section 3.3; presets: 0.99", None, RESOLVED),
        "augmentation": Number("byol", "1.4 A-BYOL; table 6"),
    },
    "swav": {
        "num_prototypes": Number(3000, "3.8; code", None, RESOLVED),
        "embedding_size": Number(128, "3.8; code"),
        "hidden_size": Number(2048, "3.8; code", None, RESOLVED),
        "temperature": Number(0.1, "3.8; code"),
        "epsilon": Number(0.05, "3.8; code"),
        "sinkhorn_iterations": Number(3, "3.8; text, section 3.1"),
        "frozen_updates": Number(313, "3.8; code", None, RESOLVED),
        "queue_size": Number(3840, "3.8; code for batches of 256", None, RESOLVED),
        "queue_after": Number(15 * 5005, "3.8; code: 15 epochs of ImageNet at 256"),
        "num_small": Number(6, "3.8; code"),
        "small_size": Number(96, "1.5 R6: of 224", None, RESOLVED),
        "augmentation": Number("swav", "1.4 A-SWAV; code"),
    },
    "dino": {
        "num_classes": Number(65_536, "4.2; text, section 3.1", None, RESOLVED),
        "bottleneck_size": Number(256, "4.2; appendix C"),
        "hidden_size": Number(2048, "4.2; appendix C", None, RESOLVED),
        "temperature": Number(0.1, "4.2; text, section 3.2"),
        "teacher_temperature": Number(0.04, "4.2; code; text, section 3.2: rising to 0.07"),
        "teacher_warmup_epochs": Number(30, "4.2; text, section 3.2", None, RESOLVED),
        "clip_norm": Number(3.0, "4.2; code"),
        "center_momentum": Number(0.9, "4.2; appendix D"),
        "momentum": Number(0.996, "4.2; text, section 3.1", None, RESOLVED),
        "frozen_updates": Number(1251, "4.2; code: an epoch of ImageNet at 1024", None, RESOLVED),
        "keep": Number("teacher", "4.2: evaluate the teacher"),
        "num_small": Number(8, "1.4 A-DINO; code", 6, "4.2, library defaults"),
        "small_size": Number(96, "1.5 R6: of 224", None, RESOLVED),
        "augmentation": Number("dino", "1.4 A-DINO; code"),
    },
    "barlow_twins": {
        "embedding_size": Number(8192, "3.10; text, section 2.2", None, RESOLVED),
        "hidden_size": Number(8192, "3.10; text, section 2.2", None, RESOLVED),
        "num_layers": Number(3, "3.10; text, section 2.2"),
        "off_diagonal_weight": Number(5e-3, "3.10; text, section 2.2; code: 5.1e-3"),
        "augmentation": Number("byol", "1.4 A-BYOL; text, section 2.2"),
    },
    "deep_cluster": {
        "num_clusters": Number((3000, 3000, 3000), "4.4; code", None, RESOLVED),
        "embedding_size": Number(128, "4.4; code"),
        "hidden_size": Number(2048, "4.4; code", None, RESOLVED),
        "temperature": Number(0.1, "4.4; code"),
        "kmeans_iterations": Number(10, "4.4; code"),
        "num_small": Number(6, "4.4; code"),
        "small_size": Number(96, "1.5 R6: of 224", None, RESOLVED),
        "augmentation": Number("swav", "1.4 A-SWAV; code"),
        "views_per_image": Number(0, "4.4: all from the start", 10, FEW_STEPS),
    },
    "lejepa": {
        "embedding_size": Number(None, "4.6; code: 16 to 512", 64, "lightly's"),
        "hidden_size": Number(2048, "4.6; code", None, RESOLVED),
        "num_layers": Number(3, "4.6; code"),
        "sigreg_weight": Number(0.05, "4.6; text; minimal example: 0.02"),
        "num_directions": Number(1024, "4.6; code; minimal example: 256"),
        "num_knots": Number(17, "4.6; code"),
        "extent": Number(3.0, "4.6; code"),
        "num_large": Number(2, "4.6; code; minimal example: 4", None, RESOLVED),
        "num_small": Number(6, "4.6; code; minimal example: 0", None, RESOLVED),
        "small_size": Number(98, "4.6; code: of 224", None, RESOLVED),
        "augmentation": Number("lejepa", "1.4 A-LEJEPA; code", None, RESOLVED),
    },
    "distillation": {
        "teacher": Number(3, "text, section 3: CLIP, DINOv2 and SAM", None, "one, whichever"),
        "teacher_weights": Number(None, "text: published ones"),
        "teacher_channels": Number(None, "text: all three"),
        "teacher_size": Number(None, "text: that of the teacher"),
        "teacher_normalize": Number(None, "text: that of the teacher"),
        "teacher_features": Number(None, "text: what it has"),
        "map_adapter": Number(None, "text, section 3: 2 layers"),
        "hidden_size": Number(None, "text, section 3: none given"),
        "feature_weight": Number(1.0, "text, section 3"),
        "map_weight": Number(1.0, "text, section 3"),
        "cosine_weight": Number(0.9, "text, section 3: of maps; of vectors 1"),
        "smooth_weight": Number(0.1, "text, section 3: of maps; of vectors 0"),
        "standardize": Number(
            False, "text: no; PHI-S: yes", True, "the mean tells no images apart"
        ),
        "pseudo_classes": Number(0, "text: none; SEED: 65536"),
        "pseudo_weight": Number(1.0, "SEED: alone"),
        "temperature": Number(0.2, "SEED, implementation"),
        "teacher_temperature": Number(0.01, "SEED, implementation"),
        "augmentation": Number(None, "text: crops", "mild", "both see the same view"),
    },
    "nnclr": {
        "embedding_size": Number(256, "4.5; text, section 4.1"),
        "hidden_size": Number(2048, "4.5; text, section 4.1", None, RESOLVED),
        "num_layers": Number(3, "4.5; text, section 4.1"),
        "prediction_size": Number(4096, "4.5; text, section 4.1", None, RESOLVED),
        "queue_size": Number(98304, "4.5; text, section 4.1; CIFAR: 65536", None, RESOLVED),
        "temperature": Number(0.1, "4.5; text, section 4.1", 0.2, "solo-learn's; " + SMALL),
        "augmentation": Number("byol", "1.4 A-BYOL; solo-learn"),
    },
    "vicreg": {
        "embedding_size": Number(8192, "4.1; text, section 4.2", None, RESOLVED),
        "hidden_size": Number(8192, "4.1; text, section 4.2", None, RESOLVED),
        "num_layers": Number(3, "4.1; text, section 4.2"),
        "invariance_weight": Number(25.0, "4.1; text, section 4.2"),
        "variance_weight": Number(25.0, "4.1; text, section 4.2"),
        "covariance_weight": Number(1.0, "4.1; text, section 4.2"),
        "deviation": Number(1.0, "4.1; text, section 4.1"),
        "augmentation": Number("byol", "1.4 A-BYOL; code"),
    },
    "motion": {
        "source": Number("video", "3.5; text, section 3", None, RESOLVED),
        "step": Number(None, "3.5", 1, "neighbouring frames"),
        "flow": Number(None, "3.5; text, section 4: uNLC; ours: block_flow"),
        "mask_size": Number(56, "3.5; code", None, RESOLVED),
        "limits": Number((0.4, 0.7), "3.5; text, section 5"),
        "shift": Number(None, "3.5", (0.05, 0.4), "further teaches more: k-NN on CIFAR-10"),
        "positive_weight": Number(1.0, "3.5; text: none"),
        "scale": Number(None, "3.5; text: scale and place jittered", (0.5, 1.0), "random crops"),
        "augmentation": Number(None, "3.5; none"),
    },
    "multi_task": {
        "tasks": Number(
            ("context_prediction", "colorization", "exemplar", "motion"),
            "3.6; text, section 3",
            ("jigsaw", "exemplar"),
            "those that any images serve",
        ),
        "task_weights": Number(None, "3.6; text, section 4: none"),
        "steps": Number("summed", "3.6; text, section 4", "alternating", "a batch at a time fits"),
        "normalize_losses": Number(False, "3.6", True, "losses have units of their own"),
        "lasso": Number(None, "3.6; text, section 3.2: on top of the method"),
        "harmonize": Number(False, "3.6; text, section 3.1: on top of the method"),
    },
    "simsiam": {
        "embedding_size": Number(2048, "3.9; text, section 3", None, RESOLVED),
        "hidden_size": Number(2048, "3.9; text, section 3", None, RESOLVED),
        "num_layers": Number(3, "3.9; text, section 3; CIFAR-10: 2", None, RESOLVED),
        "bottleneck_size": Number(512, "3.9; text, section 3", None, RESOLVED),
        "fix_prediction_lr": Number(True, "3.9; text, section 4.2; code"),
        "augmentation": Number("moco", "1.4 A-MOCO2; code"),
    },
    "simclr": {
        "embedding_size": Number(128, "3.7; text, section 2.1", 256, "solo-learn's; " + SMALL),
        "hidden_size": Number(2048, "3.7; section 4.2", None, RESOLVED),
        "num_layers": Number(2, "3.7; text, section 2.1; v2: 3"),
        "temperature": Number(
            0.1, "3.7; text, ImageNet; CIFAR-10: 0.5, appendix B.9", 0.2, "solo-learn's; " + SMALL
        ),
        "augmentation": Number("simclr", "1.4 A-SIMCLR; appendix A", None, RESOLVED),
    },
    "pirl": {
        "embedding_size": Number(128, "2.13"),
        "grid": Number(3, "2.13", None, RESOLVED),
        "num_permutations": Number(
            None, "2.13; text: any of 9!; 0.0.6's report: 1000", None, RESOLVED
        ),
        "num_negatives": Number(32000, "2.13", 3136, "0.0.6; " + ONE_BATCH),
        "temperature": Number(0.07, "2.13"),
        "form": Number("nce", "2.13", "softmax", "as for the other memories"),
        "puzzle_weight": Number(0.5, "2.13: lambda"),
        "bank_momentum": Number(0.5, "2.13"),
        "views_per_image": Number(0, "2.13: all from the start", 10, FEW_STEPS),
        "augmentation": Number("paper", "1.4 A-PIRL"),
    },
}

SUPERVISE = {
    "lr": Number(1e-3, "2; 0.0.6; Adam's own", None, RESOLVED),
    "epochs": Number(None, "2; 0.0.6", 10, "as in 0.0.6"),
    "batch_size": Number(None, "2; 0.0.6", 32, "as in 0.0.6"),
    "shuffle": Number(True, "2"),
    "accumulate": Number(1, "every paper updates once a batch"),
}

# Classes and functions whose signatures hold numbers of papers, by their address.
ELSEWHERE: dict[str, dict[str, Number]] = {
    "training.optimizers.LARS": {
        "momentum": Number(0.9, "5.1; BYOL, code"),
        "weight_decay": Number(1.5e-6, "2.12; BYOL, text, section 3.3; Barlow Twins' code: 1e-6"),
        "trust_coefficient": Number(1e-3, "5.1; BYOL's and Barlow Twins' code"),
    },
    "memory.MemoryBank": {"momentum": Number(0.5, "2.8; InstDisc, code")},
    "losses.InfoNCELoss": {"temperature": Number(0.2, "2.10; MoCo v2, section 3")},
    "losses.NTXentLoss": {"temperature": Number(0.5, "3.7; SimCLR on CIFAR-10, appendix B.9")},
    "losses.BarlowTwinsLoss": {
        "off_diagonal_weight": Number(5e-3, "3.10; text, section 2.2; code: 5.1e-3")
    },
    "losses.ClusterPredictionLoss": {"temperature": Number(0.1, "4.4; code")},
    "losses.LeJEPALoss": {
        "sigreg_weight": Number(0.05, "4.6; text; minimal example: 0.02"),
        "num_knots": Number(17, "4.6; code"),
        "extent": Number(3.0, "4.6; code"),
    },
    "losses.NeighborLoss": {"temperature": Number(0.1, "4.5; text, section 4.1")},
    "losses.VICRegLoss": {
        "invariance_weight": Number(25.0, "4.1; text, section 4.2"),
        "variance_weight": Number(25.0, "4.1; text, section 4.2"),
        "covariance_weight": Number(1.0, "4.1; text, section 4.2"),
        "deviation": Number(1.0, "4.1; text, section 4.1"),
    },
    "losses.SwappedPredictionLoss": {"temperature": Number(0.1, "3.8; code")},
    "losses.nce.NCELoss": {"temperature": Number(0.07, "2.8; InstDisc, section 4")},
    "losses.predictive.candidate_info_nce": {"logit_scale": Number(0.1, "2.9; pseudo-code")},
    "losses.predictive.CandidateInfoNCELoss": {"logit_scale": Number(0.1, "2.9; pseudo-code")},
    "models.heads.ProjectionHead": {
        "out_features": Number(128, "2.10; MoCo, section 3.3"),
        "hidden_features": Number(2048, "2.10: of ResNet-50's 2048", None, "that of the features"),
    },
    "models.heads.Classification": {
        "hidden": Number(None, "2.1; 0.0.6", (1024, 256), "an MLP for any backbone"),
    },
    "models.heads.BottleneckMap": {
        "channels": Number(None, "2; 0.0.6: 3136 = 64 * 49", 64, "as in 0.0.6"),
        "size": Number(None, "2; 0.0.6: 3136 = 64 * 49", 7, "as in 0.0.6"),
    },
    "models.decoders.ImageDecoder": {
        "channels": Number(None, "2.4; 0.0.6", (256, 256, 128, 64), "as in 0.0.6"),
    },
    "models.discriminators.DiscriminatorFeatures": {
        "channels": Number((64, 128, 256, 512), "DCGAN for 64 x 64 pixels"),
        "norm": Number(True, "DCGAN, section 3"),
    },
    "models.discriminators.PairDiscriminator": {
        "hidden": Number(None, "2.7; 0.0.6: 1024, 256", (512, 256), "on fewer features"),
    },
    "models.context.ContextNetwork": {
        "out_channels": Number(256, "2.9; pseudo-code", 128, "0.0.6"),
        "hidden": Number((256,) * 5, "2.9: residual blocks", (256, 256, 128), "0.0.6: 4 layers"),
    },
    **{
        f"augmentations.geometry.{name}": {"fill": Number(0.0, "1.4; torchvision, 0.0.6: black")}
        for name in ("RandomAffine", "RandomRotation", "RandomShear", "RandomTranslation")
    },
    "augmentations.geometry.RandomScale": {"fill": Number(0.0, "2.2; as the others")},
    "augmentations.elastic.RandomElastic": {
        "sigma": Number(10.0, "1.4; U-Net, arXiv 1505.04597, section 3.1"),
        "points": Number(3, "1.4; U-Net, section 3.1"),
    },
    "augmentations.resampling.RandomResizedCrop": {
        "scale": Number((0.08, 1.0), "1.4 RRC; arXiv 1409.4842, section 6"),
        "ratio": Number((3 / 4, 4 / 3), "1.4 RRC; arXiv 1409.4842, section 6"),
    },
    "augmentations.primitives.cpc_primitives": {
        "rotation": Number(30.0, "1.4 A-CPC; 0.0.6"),
        "shear": Number(30.0, "1.4 A-CPC; 0.0.6"),
        "translation": Number(0.3, "1.4 A-CPC; 0.0.6"),
        "thresholds": Number((128 / 255, 128 / 255), "1.4 A-CPC; 0.0.6"),
        "bits": Number((5, 8), "1.4 A-CPC; 0.0.6"),
        "factors": Number((0.1, 1.9), "1.4: AutoAugment; 0.0.6: (0, 1), which only weakens"),
        "erasing_area": Number((0.02, 0.33), "1.4; torchvision's defaults, as in 0.0.6"),
        "erasing_ratio": Number((0.3, 3.3), "1.4; torchvision's defaults, as in 0.0.6"),
    },
    "augmentations.primitives.autoaugment_primitives": {
        "rotation": Number(30.0, "1.4: AutoAugment"),
        "slope": Number(0.3, "1.4: AutoAugment"),
        "translation": Number(0.45, "1.4: AutoAugment"),
        "thresholds": Number((0.0, 1.0), "1.4: AutoAugment: U(0, 256)"),
        "bits": Number((4, 8), "1.4: AutoAugment"),
        "factors": Number((0.1, 1.9), "1.4: AutoAugment"),
        "cutout": Number(0.18, "1.4: AutoAugment"),
    },
    "augmentations.recipes.cpc_v2": {
        "elastic_sigma": Number(10.0, "1.4 A-CPC"),
        "elastic_points": Number(3, "1.4 A-CPC"),
        "p_elastic": Number(0.2, "1.4 A-CPC"),
        "p_grayscale": Number(0.25, "1.4 A-CPC"),
        "paper": Number(True, "1.4 A-CPC", False, POOL),
    },
    "augmentations.recipes.jigsaw_tile": {"p_grayscale": Number(0.3, "2.3")},
    "augmentations.transformations.AffineTransformations": {
        "degrees": Number(180.0, "3.4; AET, section 4.1"),
        "translate": Number(0.2, "3.4; AET, section 4.1"),
        "scale": Number((0.7, 1.3), "3.4; AET, section 4.1"),
        "shear": Number(30.0, "3.4; AET, section 4.1"),
    },
    "augmentations.transformations.ProjectiveTransformations": {
        "scale": Number((0.8, 1.2), "3.4; AET, section 4.1"),
        "shift": Number(1 / 8, "3.4; AET, code"),
    },
    "augmentations.transformations.transform": {"fill": Number(128 / 255, "3.4; AET, code")},
    "augmentations.recipes.counting": {"p_grayscale": Number(0.6, "3.1")},
    "losses.counting.counting_loss": {
        "margin": Number(10.0, "3.1; Noroozi, section 3.2"),
        "weight": Number(1.0, "3.1; Noroozi, equation 3"),
    },
    "losses.counting.CountingLoss": {
        "margin": Number(10.0, "3.1; Noroozi, section 3.2"),
        "weight": Number(1.0, "3.1; Noroozi, equation 3"),
    },
    "augmentations.recipes.context_patch": {
        "p_low_resolution": Number(0.33, "3.3; Doersch, code"),
        "colors": Number("drop", "3.3; Doersch, code"),
    },
    "augmentations.low_resolution.LowResolution": {
        "low": Number(10 / 96, "3.3; Doersch, code: 10 of 96 pixels"),
        "high": Number(95 / 96, "3.3; Doersch, code: 95 of 96 pixels"),
        "least": Number(1, "3.3: of patches that are larger"),
    },
    "augmentations.recipes.simclr": {"strength": Number(1.0, "1.4 A-SIMCLR; CIFAR: 0.5")},
}


class Recipe(NamedTuple):
    """What a recipe draws. Jitter in the order brightness, contrast, saturation, hue."""

    source: str
    area: tuple[float, float] | None = None  # of a random resized crop; None: no crop
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    jitter: tuple[float, float, float, float] | None = None
    p_jitter: float = 1.0
    p_gray: float = 0.0
    p_blur: float = 0.0  # with sigma from 0.1 to 2 pixels at 224
    p_solarize: float = 0.0


MOCO_JITTER = (0.4, 0.4, 0.4, 0.1)
LEJEPA: dict[str, Any] = {
    **{"flip": 0.5, "jitter": (0.4, 0.4, 0.2, 0.1), "p_jitter": 0.8},
    **{"p_gray": 0.2, "p_blur": 0.5, "p_solarize": 0.2},
}

# At 64 pixels; A-... are the names of METHODS 1.4.
RECIPES: dict[str, Recipe] = {
    "moco": Recipe(
        "A-MOCO2; code",
        area=(0.2, 1.0),
        flip=0.5,
        jitter=MOCO_JITTER,
        p_jitter=0.8,
        p_gray=0.2,
        p_blur=0.5,
    ),
    "simclr": Recipe(
        "A-SIMCLR; code",
        area=(0.08, 1.0),
        flip=0.5,
        jitter=(0.8, 0.8, 0.8, 0.2),
        p_jitter=0.8,
        p_gray=0.2,
        p_blur=0.5,
    ),
    "simclr for CIFAR": Recipe(
        "A-SIMCLR(0.5); code; without blur at 32 pixels",
        area=(0.08, 1.0),
        flip=0.5,
        jitter=(0.4, 0.4, 0.4, 0.1),
        p_jitter=0.8,
        p_gray=0.2,
        p_blur=0.5,
    ),
    "swav-large": Recipe(
        "A-SWAV; code",
        area=(0.14, 1.0),
        flip=0.5,
        jitter=(0.8, 0.8, 0.8, 0.2),
        p_jitter=0.8,
        p_gray=0.2,
        p_blur=0.5,
    ),
    "swav-small": Recipe(
        "A-SWAV; code",
        area=(0.05, 0.14),
        flip=0.5,
        jitter=(0.8, 0.8, 0.8, 0.2),
        p_jitter=0.8,
        p_gray=0.2,
        p_blur=0.5,
    ),
    "lejepa-large": Recipe("A-LEJEPA; code", area=(0.3, 1.0), **LEJEPA),
    "lejepa-small": Recipe("A-LEJEPA; code", area=(0.05, 0.3), **LEJEPA),
    "lejepa-whole": Recipe(
        "4.6; minimal example", area=(0.08, 1.0), **{**LEJEPA, "jitter": (0.8, 0.8, 0.8, 0.2)}
    ),
    "byol 1": Recipe(
        "A-BYOL; text, table 6",
        area=(0.08, 1.0),
        flip=0.5,
        jitter=(0.4, 0.4, 0.2, 0.1),
        p_jitter=0.8,
        p_gray=0.2,
        p_blur=1.0,
    ),
    "byol 2": Recipe(
        "A-BYOL; text, table 6",
        area=(0.08, 1.0),
        flip=0.5,
        jitter=(0.4, 0.4, 0.2, 0.1),
        p_jitter=0.8,
        p_gray=0.2,
        p_blur=0.1,
        p_solarize=0.2,
    ),
    "instance": Recipe(
        "A-ID; code", area=(0.2, 1.0), flip=0.5, jitter=(0.4, 0.4, 0.4, 0.4), p_gray=0.2
    ),
    "cmc": Recipe("2.11; code", area=(0.2, 1.0), flip=0.5),
    "mae": Recipe("4.3; code", area=(0.2, 1.0), flip=0.5),
    "split_brain": Recipe(
        "2.6; text: 180 of 256 pixels, half of the area; ours: of random size, from that on",
        area=(0.5, 1.0),
        flip=0.5,
    ),
    "jigsaw tile": Recipe("2.3; 0.0.6; text: channels are shifted", jitter=MOCO_JITTER, p_gray=0.3),
    "pirl": Recipe(
        "A-PIRL; solarize is one of a photometric set, drawn with that probability",
        area=(0.08, 1.0),
        flip=0.5,
        jitter=(0.4, 0.4, 0.4, 0.2),
        p_gray=0.2,
        p_solarize=0.66,
    ),
    "pirl tile": Recipe(
        "A-PIRL", flip=0.5, jitter=(0.4, 0.4, 0.4, 0.2), p_gray=0.2, p_solarize=0.66
    ),
    "pirl puzzle": Recipe("A-PIRL: RRC(0.6)", area=(0.6, 1.0)),
    "mild": Recipe(
        "ours, for alignment and uniformity: what a good backbone should not mind",
        area=(0.5, 1.0),
        flip=0.5,
        jitter=(0.2, 0.2, 0.2, 0.05),
    ),
}
