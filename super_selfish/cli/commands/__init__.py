"""The commands."""

from __future__ import annotations

from super_selfish.cli.algorithms import DECIDED
from super_selfish.cli.command import PROGRAM, Command
from super_selfish.cli.commands.checking import check
from super_selfish.cli.commands.listing import list_names
from super_selfish.cli.commands.pretraining import choose, pretrain
from super_selfish.cli.commands.rating import compare, evaluate, health
from super_selfish.cli.commands.taking import embed, export, report
from super_selfish.cli.helping import row

_RATING = "super_selfish.evaluation"
_OF_COMPARISON = ("super_selfish.evaluation.comparison.plan", "OURS")

COMMANDS = {
    command.name: command
    for command in (
        Command("pretrain", pretrain, ("super_selfish.pretraining", "pretrain"), DECIDED),
        Command("choose", choose, ("super_selfish.pretraining", "choose"), DECIDED),
        Command("check", check, (_RATING, "check")),
        Command("evaluate", evaluate, (_RATING, "evaluate"), without=("untrained", "start")),
        Command("compare", compare, (_RATING, "compare"), _OF_COMPARISON, ("draw_anew",)),
        Command("health", health, (_RATING, "health")),
        Command("report", report, (_RATING, "write_report"), without=("name",)),
        Command("export", export, ("super_selfish.supervisors", "Supervisor.export_backbone")),
        Command("embed", embed, (_RATING, "embed")),
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
