"""The commands."""

from __future__ import annotations

from super_selfish.cli.algorithms import DECIDED
from super_selfish.cli.command import PROGRAM, Command
from super_selfish.cli.commands.checking import check
from super_selfish.cli.commands.listing import list_names
from super_selfish.cli.commands.pretraining import choose, pretrain
from super_selfish.cli.commands.rating import compare, evaluate, health
from super_selfish.cli.commands.taking import embed, export, push, report
from super_selfish.cli.helping import row
from super_selfish.cli.record import beside_out, beside_path, run_file

_TRAINING, _RATING = "super_selfish.pretraining", "super_selfish.evaluation"
_OF_COMPARISON = ("super_selfish.evaluation.comparison.plan", "OURS")

_KEYWORDS = ("options", "supervise")  # of which each is a flag of its own

COMMANDS = {
    command.name: command
    for command in (
        Command("pretrain", pretrain, (_TRAINING, "pretrain"), DECIDED, _KEYWORDS, run_file),
        Command("choose", choose, (_TRAINING, "choose"), DECIDED, _KEYWORDS, run_file),
        Command("check", check, (_RATING, "check"), file=beside_out),
        Command(
            *("evaluate", evaluate, (_RATING, "evaluate"), None),
            without=("untrained", "start"),
            file=beside_out,
        ),
        Command(
            *("compare", compare, (_RATING, "compare"), _OF_COMPARISON),
            without=(*_KEYWORDS, "draw_anew"),
            file=beside_path,
        ),
        Command("health", health, (_RATING, "health"), file=beside_out),
        Command("report", report, (_RATING, "write_report"), without=("name",)),
        Command(
            *("export", export, ("super_selfish.supervisors", "Supervisor.export_backbone")),
            file=beside_path,
        ),
        Command("push", push, ("super_selfish.export", "push_to_hub")),
        Command("embed", embed, (_RATING, "embed"), file=beside_path),
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
