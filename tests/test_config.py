"""The settings: each layer above the next, each mistake one sentence that names file and key."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import click
import pytest

from parley.launch import config
from parley.launch.cli import parley
from parley.launch.commands.up import up
from parley.launch.config import HERE, Fault, Origin, Settings
from parley.launch.problems import Exit, Problem


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a home in it, and nothing set."""
    for name in [name for name in os.environ if name.startswith("PARLEY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own(place: Path, text: str) -> Path:
    file = place / "home/.config/parley/config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def faults(text: str | bytes) -> list[str]:
    """What is wrong with such a file, sentence by sentence."""
    HERE.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = config.check(HERE)[1]
    assert all(fault.place == "./parley.toml" for fault in found)
    return [fault.sentence for fault in found]


# --- the layers ------------------------------------------------------------------------------------------------------


def parsed(*arguments: str) -> dict[str, object]:
    """What `up` is told, after all layers."""
    settings = parley.context_settings  # a command keeps what its help was first called
    with click.Context(parley, info_name="parley", **settings) as root:
        root.default_map = {"up": config.defaults_of(up)}
        return up.make_context("up", list(arguments), parent=root).params


def test_a_flag_goes_before_the_environment_that_before_here_that_before_home(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parsed()["slots"] == 1
    own(place, "[up]\nslots = 2\nseed = 2\nspeed = 2")
    assert parsed()["slots"] == 2
    HERE.write_text("[up]\nslots = 3\nseed = 3")
    assert parsed()["slots"] == 3
    monkeypatch.setenv("PARLEY_UP_SLOTS", "4")
    assert parsed()["slots"] == 4
    assert parsed("--slots=5")["slots"] == 5
    assert (parsed()["seed"], parsed()["speed"], parsed()["rule"]) == (3, 2.0, "contract-net"), "each by itself"


def test_lists_replace_each_other(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(place, '[up]\ntag = ["home", "gpu"]')
    assert parsed()["tags"] == ("home", "gpu")
    HERE.write_text('[up]\ntag = ["here"]')
    assert parsed()["tags"] == ("here",)
    monkeypatch.setenv("PARLEY_UP_TAG", "one two")
    assert parsed()["tags"] == ("one", "two")
    assert parsed("--tag=typed")["tags"] == ("typed",)
    monkeypatch.setenv("PARLEY_UP_TAG", "")
    assert parsed()["tags"] == ("here",), "what is empty sets nothing"


def test_values_are_those_of_the_flags(place: Path) -> None:
    (place / "code").mkdir()
    HERE.write_text('[up]\nhave = ["vram=8GiB"]\ndrain-timeout = "2m"\ncode = ["code"]\nallow = "command"\nspeed = 2')
    told = parsed()
    assert told["haves"] == (("vram", 8.0 * 2**30),)
    assert (told["drain_s"], told["code"], told["allow"], told["speed"]) == (120.0, (Path("code"),), ("command",), 2.0)


def test_the_agent_is_that_of_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from parley.launch.commands.drain import drain
    from parley.launch.commands.nodes import nodes
    from parley.launch.commands.report import report

    HERE.write_text('agent = ["tcp://a:1", "tcp://b:2"]\n[up]\nslots = 2')
    assert config.defaults_of(nodes) == config.defaults_of(drain) == {"agents": ("tcp://a:1", "tcp://b:2")}
    assert config.defaults_of(report) == {}
    assert config.load().agent == ("tcp://a:1", "tcp://b:2")


def test_paths_are_seen_from_the_folder_of_their_file(place: Path) -> None:
    file = own(place, '[up]\ncode = ["mine", "~/other", "/"]\nfolder = "logs"')
    (file.parent / "mine").mkdir()
    (place / "home/other").mkdir()
    assert parsed()["code"] == (file.parent / "mine", place / "home/other", Path("/"))
    assert parsed()["folder"] == file.parent / "logs"


def test_where_the_file_of_ones_own_lies(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.places() == (HERE, place / "home/.config/parley/config.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place / "xdg"))
    assert config.places()[1] == place / "xdg/parley/config.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert config.places()[1] == place / "home/.config/parley/config.toml", "as the standard says"


def test_every_setting_has_a_variable_of_its_own() -> None:
    flags = config.flags()
    assert {key: option.envvar for key, option in flags.items() if key in ("agent", "up.drain-timeout")} == {
        "agent": "PARLEY_AGENT",
        "up.drain-timeout": "PARLEY_UP_DRAIN_TIMEOUT",
    }
    variables = [option.envvar for option in flags.values()]
    assert None not in variables
    assert len(set(variables)) == len(variables)
    assert not {"up.json", "up.with-parent", "up.fastest", "up.help"} & flags.keys(), "these are no settings"


# --- mistakes --------------------------------------------------------------------------------------------------------

MISTAKES: list[tuple[str, str]] = [
    ("agnet = []", "there is no setting agnet: did you mean agent?"),
    ("frobnicate = 1", "there is no setting frobnicate"),
    ("slots = 2", "slots belongs below [up]"),
    ("up = 3", "up must be a table: write [up] and the flags of `parley up` below it"),
    ("[upp]", "there is no table [upp]: did you mean up?"),
    ("[nodes]", "there is no table [nodes]"),
    ("[up]\nslotz = 2", "there is no setting up.slotz: did you mean up.slots?"),
    ("[up]\nlog_level = 'info'", "there is no setting up.log_level: did you mean up.log-level?"),
    ("[up]\njson = true", "there is no setting up.json: did you mean up.join?"),
    ("agent = 1", "agent must be a list of texts, not the number 1"),
    ("agent = [1]", "agent must be a list of texts, not a list of something else"),
    ("agent = ['here']", "agent: 'here' is no address: write tcp://host:port or ipc://path"),
    ("[up]\nslots = '2'", 'up.slots must be a whole number, not the text "2"'),
    ("[up]\nslots = 2.5", "up.slots must be a whole number, not the number 2.5"),
    ("[up]\nslots = true", "up.slots must be a whole number, not true"),
    ("[up]\nslots = 0", "up.slots: 0 is not in the range 1<=x<=64"),
    ("[up]\nspeed = '1'", 'up.speed must be a number, not the text "1"'),
    ("[up]\nspeed = false", "up.speed must be a number, not false"),
    ("[up]\nspeed = nan", "up.speed: nan is no number"),
    ("[up]\nspeed = inf", "up.speed: inf is not in the range 0<x<=1000000.0"),
    ("[up]\nname = ['n1']", "up.name must be a text, not a list"),
    ("[up]\nname = 'n 1'", "up.name: 'n 1' is no name for a node: use letters, digits, . _ and -, 64 at most"),
    ("[up]\nname = 1979-05-27", "up.name must be a text, not a date or time"),
    ("[up.name]", "up.name must be a text, not a table"),
    ("[up]\nlog-level = 'loud'", "up.log-level: 'loud' is not one of 'debug', 'info', 'warning'"),
    ("[up]\ndrain-timeout = 'soon'", "up.drain-timeout: 'soon' is no duration: write 30s, 5m, 1h30m or 250ms"),
    ("[up]\ndrain-timeout = []", 'up.drain-timeout must be a duration, as "30s" or seconds, not a list'),
    ("[up]\ndrain-timeout = -1", "up.drain-timeout: -1 is no duration: write 30s, 5m, 1h30m or 250ms"),
    ("[up]\nhave = ['vram']", "up.have: 'vram' does not say how much: write vram=AMOUNT, as vram=8GiB or gpu=2"),
    ("[up]\ncode = ['nowhere']", "up.code: Directory 'nowhere' does not exist"),
    ("[up]\nallow = ['comand']", "up.allow: 'comand' cannot be allowed: did you mean command?"),
]


@pytest.mark.parametrize(("text", "sentence"), MISTAKES, ids=[text.replace("\n", " ") for text, _ in MISTAKES])
def test_a_mistake_is_one_sentence(text: str, sentence: str) -> None:
    assert faults(text) == [sentence]
    with pytest.raises(Problem) as problem:
        config.load()
    assert (str(problem.value), problem.value.code) == (f"./parley.toml: {sentence}", Exit.USAGE)


def test_all_mistakes_are_found(place: Path) -> None:
    assert len(faults("a = 1\nb = 2\n[up]\nslots = 0\nspeed = 0\nseed = 7")) == 4
    settings, _ = config.check(HERE)
    assert settings.values == {"up.seed": 7}, "what `doctor` goes on with"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"[up", "is no TOML: expected ']' at the end of a table declaration"),
        (b"a = 1\na = 2", "is no TOML: cannot overwrite a value"),
        (b"a = '\xff'", "is not written in UTF-8"),
        (b"#" * (config.FILE_BYTES_MAX + 1), "has more than 1,048,576 bytes, which are no settings"),
        (b"a = " + b"[" * 100_000, "is no TOML: "),
    ],
    ids=["half a table", "twice", "bytes", "large", "deep"],
)
def test_what_is_no_file_of_settings(text: bytes, sentence: str) -> None:
    [found] = faults(text)
    assert found.startswith(sentence)
    assert "\n" not in found


def test_what_cannot_be_read(place: Path) -> None:
    HERE.mkdir()
    assert [str(fault) for fault in config.check(HERE)[1]] == ["./parley.toml cannot be read: is a directory"]
    HERE.rmdir()
    HERE.symlink_to("nowhere")
    with pytest.raises(Problem, match=r"\./parley\.toml cannot be read: no such file or directory"):
        config.load()


def test_the_file_of_ones_own_is_named_as_people_write_it(place: Path) -> None:
    own(place, "x = 1")
    with pytest.raises(Problem, match=r"~/\.config/parley/config\.toml: there is no setting x"):
        config.load()


# --- the environment, and all together -------------------------------------------------------------------------------


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PARLEY_HTTP_KEY", "PARLEY_TASK", "PARLEY_EPOCH", "PARLEY_DATA"):
        monkeypatch.setenv(name, "x")
    assert config.check_environment() == []
    monkeypatch.setenv("PARLEY_UP_SLOTZ", "1")
    monkeypatch.setenv("PARLEY_AGENT", "tcp://a:1 there")
    monkeypatch.setenv("PARLEY_NODE", "n1")
    monkeypatch.setenv("PARLEY_UP_SPEED", "fast")
    assert config.check_environment() == [
        Fault("PARLEY_AGENT", "PARLEY_AGENT", "'there' is no address: write tcp://host:port or ipc://path"),
        Fault("PARLEY_NODE", "PARLEY_NODE", "there is no such setting"),
        Fault("PARLEY_UP_SLOTZ", "PARLEY_UP_SLOTZ", "there is no such setting: did you mean PARLEY_UP_SLOTS?"),
        Fault("PARLEY_UP_SPEED", "PARLEY_UP_SPEED", "'fast' is no number"),
    ]
    with pytest.raises(Problem, match="PARLEY_AGENT: 'there' is no address") as problem:
        config.everything(Settings())
    assert problem.value.code is Exit.USAGE
    monkeypatch.delenv("PARLEY_AGENT")
    monkeypatch.delenv("PARLEY_UP_SPEED")
    assert config.everything(Settings()), "a stranger among the variables is no reason to stop"


def test_where_everything_comes_from(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(place, "[up]\nseed = 2\nspeed = 2")
    HERE.write_text("agent = 'tcp://a:1'\n[up]\nspeed = 3")
    monkeypatch.setenv("PARLEY_UP_SLOTS", "4")
    monkeypatch.setenv("PARLEY_UP_TAG", "gpu site=lab")
    known = {one.key: one[1:] for one in config.everything(config.load())}
    assert list(known) == list(config.flags())
    assert known["agent"] == (("tcp://a:1",), Origin.FILE, "./parley.toml")
    assert known["up.speed"] == (3, Origin.FILE, "./parley.toml")
    assert known["up.seed"] == (2, Origin.FILE, "~/.config/parley/config.toml")
    assert known["up.slots"] == (4, Origin.ENVIRONMENT, "PARLEY_UP_SLOTS")
    assert known["up.tag"] == (("gpu", "site=lab"), Origin.ENVIRONMENT, "PARLEY_UP_TAG")
    assert known["up.join"] == ((), Origin.DEFAULT, "")
    assert known["up.folder"] == (None, Origin.DEFAULT, "")
    assert known["up.drain-timeout"] == ("30s", Origin.DEFAULT, "")
    assert config.holding("up.speed", config.load()) == 3
    assert config.variables() == ["PARLEY_UP_SLOTS", "PARLEY_UP_TAG"]


@pytest.mark.parametrize(
    "value", [True, False, 3, -1, 2.5, 1e300, "n1", 'a "quoted" \\ one', "tab\tend\nline", "é中", "", (), ("a", "b=c")]
)
def test_what_is_shown_is_what_a_file_would_say(value: config.Value) -> None:
    read = tomllib.loads(f"x = {config.as_toml(value)}")["x"]
    assert (tuple(read) if isinstance(read, list) else read) == value


def test_bytes_that_are_no_text_can_be_shown() -> None:
    assert tomllib.loads(f"x = {config.as_toml(chr(0xDC80))}")["x"] == "?"
