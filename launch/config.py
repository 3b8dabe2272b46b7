"""The settings: what stands in files and in the environment, and where each of them comes from.

The idea: a setting is a flag that need not be typed. `agent` and `keys` are the --agent and the --keys of every
command that has one, the table [up] holds the flags of `parley up` by their names. So what may stand in a file, and of
which form it is, is read off the flags themselves.

    agent = ["tcp://192.168.1.10:4100"]
    [up]
    slots = 2
    have = ["vram=8GiB"]

    flag  >  PARLEY_* environment  >  ./parley.toml  >  ~/.config/parley/config.toml  >  the flag's own default

    files -> read, each key checked against its flag -> Settings -> `defaults_of` -> click, under flag and environment

A setting replaces that of a lower place, lists too. Paths in a file are seen from its folder.

Invariant: a file is believed as a whole or not at all: one unknown key, or one value of another form, ends the command
with one sentence that names file and key.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import click

from ..agents.seats import NAMES
from . import options
from .problems import Exit, Problem, did_you_mean, in_our_words

HERE = Path("parley.toml")
FILE_BYTES_MAX = 1024 * 1024
ENVIRONMENT = "PARLEY_"
HTTP_KEY = "PARLEY_HTTP_KEY"
NO_SETTINGS = frozenset({HTTP_KEY, "PARLEY_TASK", "PARLEY_EPOCH", *NAMES})
"""Variables that are no settings: a secret, which stands in no file, and what a task finds in its environment."""
OF_TESTS = frozenset({"PARLEY_DATA", "PARLEY_LONG", "PARLEY_WRITE_TRANSCRIPTS"})
"""Whoever works on Parley may have set these."""
NEVER_SET = frozenset({"as_json", "help"})

Value: TypeAlias = bool | int | float | str | tuple[str, ...]
"""As it stands in the file, with the list of a repeatable flag as a tuple."""


class Origin(enum.StrEnum):
    """Which kind of place a setting comes from."""

    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class Fault(NamedTuple):
    """What is wrong with a file or a variable; `key` is "" where it is not about one of them."""

    place: str
    key: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.place}{':' if self.key else ''} {self.sentence}"


@dataclass(frozen=True)
class Settings:
    """All that files say: the value of each key ("agent", "up.slots"), and the file it comes from."""

    values: Mapping[str, Value] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def agent(self) -> tuple[str, ...]:
        """The agents to talk to, if any are named."""
        value = self.values.get("agent", ())
        assert isinstance(value, tuple)
        return value

    @property
    def keys(self) -> Path | None:
        """The folder of keys, if one is named."""
        return Path(str(self.values["keys"])) if "keys" in self.values else None

    def over(self, lower: Settings) -> Settings:
        """These, and those of a lower place where these say nothing."""
        return Settings({**lower.values, **self.values}, {**lower.files, **self.files})


class Known(NamedTuple):
    """One setting as it holds here."""

    key: str
    value: Value | None  # None: not set, and without a default
    origin: Origin
    place: str  # which file, which variable; "" for a default


# --- which settings there are ----------------------------------------------------------------------------------------


@click.command()
@options.agents
def _any(agents: tuple[str, ...]) -> None:
    """A command that talks to an agent."""


def flags() -> dict[str, click.Option]:
    """The flag of each setting that there is."""
    from .commands.up import up

    shared = {_flag(param): param for param in _any.params}
    own = {f"up.{_flag(param)}": param for param in up.params if _flag(param) not in shared}
    found = shared | own
    return {key: one for key, one in found.items() if isinstance(one, click.Option) and _may_be_set(one)}


def _flag(param: click.Parameter) -> str:
    """Its long name, as in --log-level."""
    return max(param.opts, key=len).lstrip("-")


def _may_be_set(option: click.Option) -> bool:
    return not option.hidden and option.name not in NEVER_SET


def defaults_of(command: click.Command) -> dict[str, Any]:
    """What the files say about this command's flags, by the names of its parameters. Raises Problem."""
    if isinstance(command, click.Group):
        return {name: defaults_of(one) for name, one in command.commands.items()}
    shared = {_flag(param) for param in _any.params} & {_flag(param) for param in command.params}
    if command.name != "up" and not shared:
        return {}
    settings = load()
    known = flags() if settings.values else {}
    return {
        str(known[key].name): value
        for key, value in settings.values.items()
        if key in shared or (command.name == "up" and key.startswith("up."))
    }


# --- files -----------------------------------------------------------------------------------------------------------


def places() -> tuple[Path, ...]:
    """The files that are looked for, the highest first. XDG: a path that is not absolute is none."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    own = Path(given) if os.path.isabs(given) else Path(os.path.expanduser("~/.config"))
    return (HERE, own / "parley" / "config.toml")


def shown(file: Path) -> str:
    """The file as a person would write it."""
    if not file.is_absolute():
        return f"./{file}" if file == HERE else str(file)
    home = os.path.expanduser("~")
    inside = home != "/" and file.is_relative_to(home)
    return f"~/{file.relative_to(home)}" if inside else str(file)


def load() -> Settings:
    """What the files that are there say. Raises Problem for the first thing that is wrong with one."""
    settings = Settings()
    for file in places():
        if os.path.lexists(file):
            read, faults = check(file)
            if faults:
                raise Problem(str(faults[0]), Exit.USAGE)
            settings = settings.over(read)
    return settings


def check(file: Path) -> tuple[Settings, list[Fault]]:
    """One file, and all that is wrong with it."""
    try:
        table = _parsed(file)
    except ValueError as error:
        return Settings(), [Fault(shown(file), "", str(error))]
    known, values, faults = flags(), {}, []
    for key, raw in _flat(table).items():
        option = known.get(key)
        try:
            if option is None:
                raise ValueError(_unknown(key, raw, known))
            values[key] = _value(option, key, raw, file)
        except ValueError as error:
            faults.append(Fault(shown(file), key, str(error)))
    return Settings(values, dict.fromkeys(values, file)), faults


def _parsed(file: Path) -> Mapping[str, Any]:
    """The file's tables. Raises ValueError, one sentence."""
    import tomllib

    try:
        with file.open("rb") as opened:
            text = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(text) > FILE_BYTES_MAX:
        raise ValueError(f"has more than {FILE_BYTES_MAX:,} bytes, which are no settings")
    try:
        return tomllib.loads(text.decode())
    except UnicodeDecodeError:
        raise ValueError("is not written in UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"is no TOML: {str(error)[:1].lower()}{str(error)[1:]}") from None


def _flat(table: Mapping[str, Any]) -> dict[str, object]:
    """{"up": {"slots": 2}} as {"up.slots": 2}."""
    found: dict[str, object] = {}
    for key, value in table.items():
        if key == "up" and isinstance(value, dict):
            found |= {f"up.{name}": inner for name, inner in value.items()}
        else:
            found[key] = value
    return found


def _unknown(key: str, raw: object, known: Mapping[str, click.Option]) -> str:
    if key == "up":
        return "up must be a table: write [up] and the flags of `parley up` below it"
    if isinstance(raw, dict) and "." not in key:
        return f"there is no table [{key}]{did_you_mean(key, ['up'])}"
    if f"up.{key}" in known:
        return f"{key} belongs below [up]"
    return f"there is no setting {key}{did_you_mean(key, known)}"


def _value(option: click.Option, key: str, raw: object, file: Path) -> Value:
    """The value, if the flag would take it. Raises ValueError, one sentence."""
    value = _typed(option, key, raw)
    if isinstance(option.type, click.Path):
        value = _from_folder(value, file)
    if refusal := _refused(option, value):
        raise ValueError(f"{key}: {refusal}")
    return value


def _typed(option: click.Option, key: str, raw: object) -> Value:
    """TOML's own types are held to: a number that is written as a text is a mistake."""
    if option.multiple:
        listed = [raw] if isinstance(raw, str) else raw
        if isinstance(listed, list) and all(isinstance(text, str) for text in listed):
            return tuple(listed)
        raise ValueError(f"{key} must be a list of texts, not {_named(raw)}")
    wanted, types = _kind(option)
    if isinstance(raw, types) and (types is bool or not isinstance(raw, bool)):
        assert isinstance(raw, bool | int | float | str)
        return raw
    raise ValueError(f"{key} must be {wanted}, not {_named(raw)}")


def _kind(option: click.Option) -> tuple[str, type | tuple[type, ...]]:
    if option.is_flag:
        return "true or false", bool
    if isinstance(option.type, click.types.IntParamType):
        return "a whole number", int
    if isinstance(option.type, click.types.FloatParamType):
        return "a number", (int, float)
    if option.type.name == "duration":
        return 'a duration, as "30s" or seconds', (str, int, float)
    return "a text", str


def _named(raw: object) -> str:
    match raw:
        case bool():
            return "true" if raw else "false"
        case int() | float():
            return f"the number {raw}"
        case str():
            return f'the text "{raw:.50}"'
        case list():
            return "a list" if all(isinstance(one, str) for one in raw) else "a list of something else"
        case dict():
            return "a table"
    return "a date or time"


def _from_folder(value: Value, file: Path) -> Value:
    """A path in a file is seen from the file's folder; `~` is the home."""
    if isinstance(value, tuple):
        return tuple(str(file.parent / os.path.expanduser(text)) for text in value)
    return str(file.parent / os.path.expanduser(str(value)))


def _refused(option: click.Option, value: object) -> str:
    """Why the flag does not take it; "": it does."""
    try:
        option.process_value(click.Context(_any, resilient_parsing=True), value)
    except click.UsageError as error:
        return in_our_words(error.message)
    return ""


# --- the environment, and all together -------------------------------------------------------------------------------


def check_environment() -> list[Fault]:
    """What is wrong with variables that begin with PARLEY_. Commands pass over those that they do not know."""
    known = {str(option.envvar): option for option in flags().values()}
    faults = []
    for name in sorted(name for name in os.environ if name.startswith(ENVIRONMENT)):
        if name in NO_SETTINGS | OF_TESTS:
            continue
        option = known.get(name)
        if option is None:
            ends = [one.removeprefix(ENVIRONMENT) for one in (*known, HTTP_KEY)]  # all have the same beginning
            near = did_you_mean(name.removeprefix(ENVIRONMENT), ends).replace("mean ", f"mean {ENVIRONMENT}")
            refusal = f"there is no such setting{near}"
        else:
            value = option.value_from_envvar(click.Context(_any))
            refusal = _refused(option, value) if value is not None else ""
        if refusal:
            faults.append(Fault(name, name, refusal))
    return faults


def variables() -> list[str]:
    """Those of the environment that set something."""
    return [str(option.envvar) for option in flags().values() if os.environ.get(str(option.envvar))]


def everything(settings: Settings) -> list[Known]:
    """Every setting as it holds for the next command. Raises Problem for a variable that is wrong."""
    set_here = variables()
    for fault in check_environment():
        if fault.key in set_here:
            raise Problem(str(fault), Exit.USAGE)
    return [_holds(key, option, settings) for key, option in flags().items()]


def holding(key: str, settings: Settings) -> Value | None:
    """One setting as it holds here, whatever is wrong with others."""
    return _holds(key, flags()[key], settings).value


def _holds(key: str, option: click.Option, settings: Settings) -> Known:
    context = click.Context(_any)
    told = option.value_from_envvar(context)
    if told is not None:
        return Known(key, _as_typed(option, told, context), Origin.ENVIRONMENT, str(option.envvar))
    if key in settings.values:
        return Known(key, settings.values[key], Origin.FILE, shown(settings.files[key]))
    return Known(key, _default(option, context), Origin.DEFAULT, "")


def _as_typed(option: click.Option, told: object, context: click.Context) -> Value:
    """A variable's text as the value that a file would hold."""
    if option.multiple:
        assert isinstance(told, Sequence)
        return tuple(map(str, told))
    value: object = option.type_cast_value(context, told) if _kind(option)[1] in (bool, int, (int, float)) else told
    return value if isinstance(value, bool | int | float) else str(told)


def _default(option: click.Option, context: click.Context) -> Value | None:
    if option.multiple:
        return ()
    value: object = option.get_default(context)
    return value if isinstance(value, bool | int | float | str) else None


def as_toml(value: Value) -> str:
    """The value as it would stand in a file."""
    import msgspec

    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return f"[{', '.join(as_toml(text) for text in value)}]"
        case str():
            sound = value.encode(errors="replace")  # a variable may hold any bytes
            return msgspec.json.encode(sound.decode()).decode()  # TOML's basic strings are JSON's
    return repr(value)
