"""The commands."""

from __future__ import annotations

from super_selfish.cli.algorithms import DECIDED
from super_selfish.cli.command import PROGRAM, Command
from super_selfish.cli.commands.checking import check
from super_selfish.cli.commands.listing import list_names
from super_selfish.cli.commands.pretraining import choose, pretrain
from super_selfish.cli.helping import row

COMMANDS = {
    command.name: command
    for command in (
        Command("pretrain", pretrain, ("super_selfish.pretraining", "pretrain"), DECIDED),
        Command("choose", choose, ("super_selfish.pretraining", "choose"), DECIDED),
        Command("check", check, ("super_selfish.evaluation.checking", "check")),
        Command("list", list_names),
    )
}


def overview() -> str:
    """The page that says what there is."""
    lines = [
        f"Usage: {PROGRAM} COMMAND ...",
        "",
        "Self-supervised learning on images: from a folder to a pretrained backbone.",
        "",
        f"  {PROGRAM} pretrain FOLDER --time 30min --out runs/mine",
        "",
        "Commands",
        *(row(name, command.summary, 10) for name, command in COMMANDS.items()),
        "",
        f"{PROGRAM} COMMAND --help shows the flags of a command; --version says which one this is.",
    ]
    return "\n".join(lines)
