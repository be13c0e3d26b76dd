"""What a supervisor was built with, so that a checkpoint can rebuild it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from super_selfish.models.wrappers import unwrapped
from super_selfish.supervisors.options import NAMES as OPTIONS
from super_selfish.supervisors.options import SHAPING
from super_selfish.training.plain import is_plain, plain_setting, same_plain
from super_selfish.training.spelling import unknown_keyword

Arguments = dict[str, Any]

# Of this machine and these images: neither stored nor asked for by load().
NOT_STORED = frozenset({"dataset", *OPTIONS}) - SHAPING.keys()


def constructor_keywords(kind: Any) -> list[str]:
    """Names of the arguments that a supervisor's constructor takes, those of every one included.

    Args:
        kind: The class.
    """
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return names + [name for name in sorted(OPTIONS) if name not in names]


def takes_any_keyword(kind: Any) -> bool:
    """Whether a constructor passes on keywords that are not ours, which nobody can know."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return any(p.kind is p.VAR_KEYWORD and p.annotation != "Unpack[Options]" for p in parameters)


def check_keywords(kind: Any, given: Iterable[str], elsewhere: dict[str, Iterable[str]]) -> None:
    """Refuses a keyword that a constructor does not take, with the one that was probably meant.

    Args:
        kind: The class that is constructed.
        given: Keywords of the call.
        elsewhere: Other calls in which a keyword may belong, with theirs.

    Raises:
        TypeError: If there is one.
    """
    if takes_any_keyword(kind):
        return
    known = constructor_keywords(kind)
    for name in given:
        if name not in known:
            raise unknown_keyword(f"{kind.__name__}()", name, known, elsewhere)


def record_arguments(kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """The arguments of a constructor by name, defaults included.

    Args:
        kind: The class that is constructed.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.

    Returns:
        Name to value, without `self`, in plain form where a value has one; keywords that are
        passed on by their own names.

    Raises:
        TypeError: If there are more positional arguments than the constructor takes.
    """
    signature = inspect.signature(kind.__init__)
    placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [p for p in signature.parameters.values() if p.kind in placed][1:]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
    if len(args) > len(places) and not takes_any:
        named = ", ".join(p.name for p in places)
        raise TypeError(
            f"{kind.__name__}() takes at most {len(places)} arguments without a name ({named}), "
            f"got {len(args)}: give the others by name"
        )
    bound = signature.bind_partial(None, *args, **kwargs)
    bound.apply_defaults()
    arguments = dict(list(bound.arguments.items())[1:])
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(parameter.name))
    return {  # images stay what they are: as plain numbers they would be slow, large and no images
        name: value if name == "dataset" else plain_setting(value)
        for name, value in arguments.items()
    }


def given_arguments(kind: Any, arguments: Arguments) -> Arguments:
    """Those that differ from the defaults of the constructor, but for the dataset.

    Args:
        kind: The class that was constructed.
        arguments: By name, as `record_arguments` returned them.
    """
    parameters = inspect.signature(kind.__init__).parameters
    defaults = {name: plain_setting(p.default) for name, p in parameters.items()}
    return {
        name: value
        for name, value in arguments.items()
        if name != "dataset"
        and not (name in defaults and same_plain({name: value}, {name: defaults[name]}))
    }


def shown(value: object, most: int | None = None) -> str:
    """An argument, as short as it can be understood.

    Args:
        value: Anything.
        most: Letters of which no more are shown; default: all.
    """
    if isinstance(value, Tensor):
        return f"tensor of shape {list(value.shape)}"
    if isinstance(value, str):
        return shortened(value, most)
    if is_plain(value):
        return shortened(repr(value), most)
    if isinstance(value, list | tuple):
        return shortened(f"({', '.join(map(shown, value))})", most)
    return getattr(value, "__name__", None) or f"{type(value).__name__}(...)"


def shortened(text: str, most: int | None) -> str:
    """Text of at most so many letters."""
    return text if most is None or len(text) <= most else f"{text[: most - 3]}..."


def construct_again(supervisor: Any, arguments: Arguments) -> None:
    """Calls a constructor once more, with what it takes by place only at its place.

    Args:
        supervisor: Whose.
        arguments: By name, as `record_arguments` returned them.
    """
    parameters = list(inspect.signature(type(supervisor).__init__).parameters.values())[1:]
    rest = dict(arguments)
    further = [v for p in parameters if p.kind is p.VAR_POSITIONAL for v in rest.pop(p.name, ())]
    placed = [
        rest.pop(p.name)
        for p in parameters
        if p.kind is p.POSITIONAL_ONLY or (further and p.kind is p.POSITIONAL_OR_KEYWORD)
    ]
    supervisor.__init__(*placed, *further, **rest)


def stored_arguments(arguments: Arguments) -> Arguments:
    """The part that a checkpoint can hold: plain values; a network of the user's own by its class.

    Data sets and options are left out: a checkpoint is read without them.
    """
    stored: Arguments = {}
    for name, value in arguments.items():
        if name in NOT_STORED:
            continue
        value = plain_setting(value)
        stored[name] = {"plain": value} if is_plain(value) else {"own": kind_of(value)}
    return stored


def kind_of(value: Any) -> str:
    """The class of an object; of a wrapped network that of the network."""
    return type(unwrapped(value) if isinstance(value, nn.Module) else value).__name__


def rebuilding_arguments(
    stored: Arguments, present: Arguments, place: str, only_for_training: frozenset[str]
) -> Arguments:
    """The arguments with which a stored supervisor is built again.

    Args:
        stored: What `stored_arguments` returned then.
        present: Arguments of the object that loads; gives the dataset and the user's own objects.
        place: Name of the checkpoint, for messages.
        only_for_training: Arguments that do not shape the networks: without the user's own object
            they are those of the object that loads.

    Returns:
        Arguments for the constructor.

    Raises:
        ValueError: If the checkpoint was made with an object of the user's own that is not here,
            and shapes the networks.
    """
    arguments: Arguments = {name: present[name] for name in present if name in NOT_STORED}
    arguments.update({name: SHAPING[name] for name in present if name in SHAPING})
    if "weights" in arguments:
        arguments["weights"] = None  # those of the checkpoint replace them
    for name, entry in stored.items():
        if "plain" in entry:
            arguments[name] = entry["plain"]
        elif is_plain(present.get(name)) and name not in only_for_training:
            raise ValueError(
                f"{place} was trained with {name}={entry['own']}(...), an object of your own: "
                f"give the same {name}= to the constructor before you load"
            )
        elif name in present:
            arguments[name] = present[name]
    return arguments


def left_out(stored: Arguments, present: Arguments) -> Arguments:
    """Objects of the user's own that a checkpoint was made with, and that are not here.

    Args:
        stored: What `stored_arguments` returned then.
        present: Arguments of the object that has loaded.

    Returns:
        Their entries of `stored`.
    """
    return {k: v for k, v in stored.items() if "own" in v and is_plain(present.get(k))}


def same_arguments(stored: Arguments, present: Arguments) -> bool:
    """Whether a supervisor already is as the checkpoint wants it."""
    as_now = {
        name: {kind: plain_setting(value) for kind, value in entry.items()}
        for name, entry in stored.items()
    }
    return same_plain(as_now, stored_arguments(present))
