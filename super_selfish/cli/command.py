"""A command: a function whose flags are its own arguments and those of the function it stands for.

The function of a command takes paths where that of the library takes images or networks, and hands
all else on. Only what a user has given is handed on, so that every default stands in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from super_selfish.cli.algorithms import algorithm_flags, groups_in, supervise_flags
from super_selfish.cli.flags import Flag, flags_of
from super_selfish.cli.helping import page
from super_selfish.cli.parsing import CONFIG, parsed
from super_selfish.cli.reading import Function, Missing, read_function
from super_selfish.cli.record import recorded, settings_of

PROGRAM = "super-selfish"
_EVERYWHERE = (
    CONFIG,
    Flag("debug", bool, False, "Shows the traceback of an error."),
    Flag("help", bool, False, "Shows this page."),
)


class Command(NamedTuple):
    """A command by its name.

    Attributes:
        name: Of the command.
        function: What it does; its file has the docstring that is shown.
        of: Module and name of the Python function that it stands for, or None.
        trains: Module and name of a collection of the keywords of `supervise()` that this call
            decides itself; all others are flags, and so are the keywords of algorithms. None if
            nothing is trained.
        without: Keywords that make no sense in words.
        file: Where it is recorded, by what was asked for; None if it is not.
    """

    name: str
    function: Callable[..., None]
    of: tuple[str, str] | None = None
    trains: tuple[str, str] | None = None
    without: tuple[str, ...] = ()
    file: Callable[[Mapping[str, Any]], Path | None] = lambda settings: None

    def __call__(self, words: Sequence[str]) -> None:
        """Does it.

        Args:
            words: What follows its name.

        Raises:
            WrongLineError: If there is no such flag, or no such value.
        """
        flags = self.flags(groups_in(words) if self.trains else ())
        given = parsed(words, flags)
        settings = settings_of(flags, given)
        with recorded(self.name, settings, self.file(settings)):
            self.function(**given)

    def flags(self, algorithms: Sequence[str] = ()) -> list[Flag]:
        """All flags.

        Args:
            algorithms: Whose keywords are among them.
        """
        found = [*self._own_flags()]
        if self.trains is not None:
            found += supervise_flags(self.trains)
            found += [flag for name in algorithms for flag in algorithm_flags(name)]
        return found

    @property
    def summary(self) -> str:
        """What it does, in a sentence."""
        return self._written.summary

    def help(self, words: Sequence[str]) -> str:
        """Its page of help.

        Args:
            words: What follows its name; keywords of the algorithms among them are told in full.
        """
        own = self._own_flags()
        placed = [flag for flag in own if flag.is_placed]
        asked = [flag.typed if flag.default is Missing else f"[{flag.typed}]" for flag in placed]
        usage = " ".join([PROGRAM, self.name, *asked, "[--FLAG ...]"])
        sections: list[tuple[str, Sequence[Flag]]] = [
            ("What to give", placed),
            ("Flags", [*(flag for flag in own if not flag.is_placed), *_EVERYWHERE]),
        ]
        text = self.summary
        if self.trains is not None:
            sections += [(f"Of {name}", algorithm_flags(name)) for name in groups_in(words)]
            text += (
                " Algorithms and training have flags besides, such as --moco.temperature 0.1 and "
                f"--supervise.lr 3e-4: {PROGRAM} list moco and {PROGRAM} list training show them."
            )
        return page(usage, text, sections)

    @property
    def _written(self) -> Function:
        return read_function(self.function.__module__, self.function.__name__)

    def _own_flags(self) -> list[Flag]:
        """Those of the function, and of the one that it stands for; what must be given first."""
        own = flags_of(self._written)
        names = {*self._written.parameters, *self.without}
        further = flags_of(read_function(*self.of)) if self.of is not None else []
        further = [flag._replace(is_placed=False) for flag in further if flag.name not in names]
        first = [flag for flag in own if flag.is_placed or flag.default is Missing]
        return [*first, *further, *(flag for flag in own if flag not in first)]
