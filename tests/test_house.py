"""The house itself: who may import whom, and that every table is complete. Read from the sources."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

from parley.protocols.core import Event, Local, Message

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("protocols", "transport", "agents", "launch")
"""Each may import from those before it, and from itself."""
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
LINES_MAX = 700
FORBIDDEN = {"asyncio", "time", "os", "socket", "threading", "subprocess", "multiprocessing", "selectors", "signal"}
LIBRARIES = {"numpy", "msgspec"}
VOCABULARY = {
    "node.start", "node.stop", "peer.state",
    "task.submit", "task.accept", "task.start", "task.end", "task.lost", "task.reassign", "task.commit",
    "auction.open", "auction.plan", "auction.award", "auction.fail", "auction.price", "auction.close",
    "bid.submit", "bid.decline",
    "msg.send", "msg.recv", "msg.drop", "node.load", "gossip.merge", "round.end", "trade.meet", "price.round",
    "batch.open", "batch.column", "batch.divided", "batch.drop", "batch.move",
    "gang.reserve", "gang.break", "reserve.hold", "reserve.end", "member.start", "member.end",
    "metric.objective", "task.hold", "task.move", "epoch.open", "epoch.fence",
}  # fmt: skip


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), name(path))


@functools.cache
def imports(path: Path) -> list[tuple[str, int]]:
    """What a file imports, at its top or anywhere else: absolute names; our own from the root, as ".folder.module"."""
    package = path.relative_to(ROOT).parts[:-1]
    found: list[tuple[str, int]] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((node.module or "", node.lineno))
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= len(package) + 1, f"{name(path)}:{node.lineno} leaves the house"
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            base = [part for part in base if part]
            targets = [base] if len(base) > 0 else [[alias.name] for alias in node.names]
            found += [("." + ".".join(target), node.lineno) for target in targets]
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_go_one_way(folder: str) -> None:
    allowed = FOLDERS[: FOLDERS.index(folder) + 1]
    for path in (ROOT / folder).rglob("*.py"):
        for imported, line in imports(path):
            top = imported.lstrip(".").split(".")[0]
            if imported.startswith("."):
                assert top in allowed or top not in FOLDERS, f"{name(path)}:{line} imports {imported}"
            else:
                assert top not in (*FOLDERS, "tests"), f"{name(path)}:{line}: {imported} is somebody else's name"
                assert top != "parley", f"{name(path)}:{line}: inside the house imports are relative"


def test_protocols_are_pure() -> None:
    for path in (ROOT / "protocols").rglob("*.py"):
        check_pure(path)


def check_pure(path: Path) -> None:
    for imported, line in imports(path):
        if imported.startswith("."):
            continue
        top = imported.split(".")[0]
        assert top not in FORBIDDEN, f"{name(path)}:{line} imports {imported}"
        assert top in sys.stdlib_module_names or top in LIBRARIES, f"{name(path)}:{line} imports {imported}"
        assert top != "numpy" or path.name != "core.py", "core.py is imported by everybody, and starts fast"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
            assert node.attr == "Random", f"{name(path)}:{node.lineno}: random.{node.attr} is everybody's"
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            assert [alias.name for alias in node.names] == ["Random"], f"{name(path)}:{node.lineno}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_file_is_one_idea(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        check_one_idea(path)


def check_one_idea(path: Path) -> None:
    assert path.read_text().count("\n") <= LINES_MAX, f"{name(path)} is too long"
    if path.name == "__init__.py":
        for node in tree(path).body:
            doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            exports = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
            assert doc or exports or isinstance(node, (ast.Import, ast.ImportFrom)), f"code in {name(path)}"
    else:
        assert ast.get_docstring(tree(path)), f"{name(path)} does not say what it is"


def test_the_root_imports_nothing_at_run_time() -> None:
    body = tree(ROOT / "__init__.py").body
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert modules & {"__future__", "importlib", "typing", "sys"}, ast.unparse(node)
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    assert functions <= {"__getattr__", "__dir__"}


def test_the_packages_are_those_of_the_tree() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = ["parley"] + [
        ".".join(("parley", *path.parent.relative_to(ROOT).parts)) for path in FILES if path.name == "__init__.py"
    ]
    assert settings["tool"]["setuptools"]["packages"] == sorted(packages)
    assert {path.parent for path in FILES} == {path.parent for path in FILES if path.name == "__init__.py"}


def test_the_map_has_every_room() -> None:
    drawn: set[str] = set()
    folder = ""
    for row in re.findall(r"^\| (.+?) \|", (ROOT / "docs/house.md").read_text(), re.MULTILINE):
        if heading := re.fullmatch(r"\*\*(.+/)\*\*", row):
            folder = heading[1]
        elif folder:
            drawn |= {folder + file for file in re.findall(r"`([\w/]+(?:\.py|/))`", row)}
        if row == "hop":
            break
    rooms = {name(path) for path in FILES if path.name != "__init__.py" and path.parent.name != "commands"}
    assert drawn - {"launch/commands/"} == rooms


def modules() -> dict[str, object]:
    names = [path.stem for path in FILES if path.parent.name == "protocols" and path.name != "__init__.py"]
    return {stem: importlib.import_module(f"parley.protocols.{stem}") for stem in names}


def subclasses(base: type[object]) -> set[type[object]]:
    direct: list[type[object]] = type.__subclasses__(base)
    return set(direct).union(*map(subclasses, direct))


def tables(table: str) -> list[type[object]]:
    return [entry for module in modules().values() for entry in getattr(module, table, ())]


def test_every_message_is_in_one_table_or_local() -> None:
    listed = tables("MESSAGES")
    declared = {cls for cls in subclasses(Message) if cls.__module__.startswith("parley.protocols.")}
    remote = {cls for cls in declared if not issubclass(cls, Local)}
    assert sorted(cls.__name__ for cls in listed) == sorted(cls.__name__ for cls in remote)
    assert len({cls.__name__ for cls in listed}) == len(listed), "a message is known by its name"


def test_every_event_is_in_one_table_and_in_the_vocabulary() -> None:
    listed = tables("EVENTS")
    declared = {cls for cls in subclasses(Event) if cls.__module__.startswith("parley.protocols.")}
    assert sorted(cls.__name__ for cls in listed) == sorted(cls.__name__ for cls in declared)
    words = [cls.name for cls in listed if issubclass(cls, Event)]
    assert len(set(words)) == len(words)
    assert set(words) <= VOCABULARY
