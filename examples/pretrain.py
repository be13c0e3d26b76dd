"""From a folder to a rated backbone in one call.

    python examples/pretrain.py                             # photographs that scikit-image ships
    python examples/pretrain.py --data FOLDER --time 30min  # your images, in any sub-folders
    python examples/pretrain.py --data FOLDER --out store/mine --algorithm moco

What is not said is chosen for these images, this machine and the time; four lines say what and why.
Where the folder has one sub-folder for each class, a fifth of the images is kept from training, and
the backbone is rated on them, beside an untrained one. Ctrl-C stores the run: the same command goes
on with it. Into --out go the checkpoint, `backbone.safetensors`, the history and a report.
"""

from __future__ import annotations

import argparse

from super_selfish import pretrain
from super_selfish.data import photographs


def main() -> None:
    """Pretrains, and says what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="a folder of images")
    parser.add_argument("--time", default="4min", help="for everything, such as 30min or 2h")
    parser.add_argument("--out", default="store/pretrained", help="folder of what is written")
    parser.add_argument("--algorithm", help="short name; chosen if left out")
    parser.add_argument("--overwrite", action="store_true", help="begin anew")
    options = parser.parse_args()
    images = options.data or photographs(64, split="train")
    outcome = pretrain(
        images,
        options.out,
        options.time,
        test=None if options.data else photographs(64, split="test"),
        algorithm=options.algorithm,
        overwrite=options.overwrite,
    )
    print(outcome)


if __name__ == "__main__":
    main()
