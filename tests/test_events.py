"""The log of a node: what a line holds, that it fits the schema, and that nothing about a disk stops the agent."""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parley.agents import events
from parley.agents.events import VOCABULARY, EventLog, Header, Level, LogError
from parley.agents.node_events import NodeLoad, NodeStopped
from parley.protocols.contract_events import DeclineLine, MessageDropped, TaskEnded
from parley.protocols.core import Event
from parley.protocols.performatives import Reason
from parley.transport.clock import HybridClock
from parley.transport.links import Cause

SCHEMA = Path(__file__).parent.parent / "docs" / "log.schema.json"
WALL = 1_760_000_000.000123
ENDED = TaskEnded(task="T1", epoch=2, seconds=0.5, reason=None, detail="")

Json = Mapping[str, object]


def open_log(path: Path, level: Level = "info", complaints: list[str] | None = None) -> EventLog:
    complain = (complaints if complaints is not None else []).append
    clock = HybridClock(lambda: WALL)
    return EventLog(path, run="r1", node="n1", clock=clock, level=level, wall=lambda: WALL, complain=complain)


def test_a_line_is_the_header_and_the_fields_in_the_order_people_read(tmp_path: Path) -> None:
    log = open_log(tmp_path / "n1.jsonl")
    log.write(ENDED, 12.5, Cause("n2", 17, 0))
    log.close()
    assert (tmp_path / "n1.jsonl").read_text() == (
        '{"ts":"2025-10-09T08:53:20.000123Z","mono":12.5,"hlc":115343360000000000,"level":"info","event":"task.end","v":1,'
        '"run":"r1","node":"n1","seq":1,"cause":"n2:17.0",'
        '"task":"T1","epoch":2,"seconds":0.5,"reason":null,"detail":""}\n'
    )


def test_enums_are_their_values_and_nested_lines_are_objects(tmp_path: Path) -> None:
    log = open_log(tmp_path / "n1.jsonl")
    log.write(
        msgspec.convert(
            {"auction": "a", "task": "t", "declines": [DeclineLine("n2", Reason.BUSY, "")], "silent": ["n3"]},
            next(event for event in VOCABULARY if event.name == "auction.fail"),
        ),
        0.0,
    )
    log.close()
    line = json.loads((tmp_path / "n1.jsonl").read_text())
    assert line["level"] == "warning"
    assert line["declines"] == [{"node": "n2", "reason": "busy", "detail": ""}]
    assert "cause" not in line


def test_lines_are_numbered_and_wait_for_the_flush(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "n1.jsonl"
    log = open_log(path)
    for _ in range(3):
        log.write(ENDED, 0.0)
    assert path.read_bytes() == b""
    log.flush()
    log.write(ENDED, 0.0)
    assert [json.loads(line)["seq"] for line in path.read_text().splitlines()] == [1, 2, 3]
    log.close()
    log.close()
    log.write(ENDED, 0.0)
    log.flush()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4]
    assert len({line["hlc"] for line in lines}) == 4


def test_the_buffer_is_bounded(tmp_path: Path) -> None:
    log = open_log(tmp_path / "n1.jsonl")
    for _ in range(2 * events.UNWRITTEN_MAX + 10):
        log.write(ENDED, 0.0)
    assert (tmp_path / "n1.jsonl").read_bytes().count(b"\n") == 2 * events.UNWRITTEN_MAX
    log.close()
    assert (tmp_path / "n1.jsonl").read_bytes().count(b"\n") == 2 * events.UNWRITTEN_MAX + 10


def test_what_lies_below_the_level_costs_no_number(tmp_path: Path) -> None:
    log = open_log(tmp_path / "n1.jsonl", level="warning")
    log.write(ENDED, 0.0)
    log.write(MessageDropped(reason="nonsense"), 0.0)
    log.close()
    assert [json.loads(line)["seq"] for line in (tmp_path / "n1.jsonl").read_text().splitlines()] == [1]


def test_what_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match=r"the log .*n1.jsonl cannot be written \(.*\): choose another folder"):
        open_log(tmp_path / "file" / "n1.jsonl")
    with pytest.raises(LogError, match="Is a directory"):
        open_log(tmp_path)


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="no /dev/full here")
def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "n1.jsonl").symlink_to("/dev/full")
    complaints: list[str] = []
    log = open_log(tmp_path / "n1.jsonl", complaints=complaints)
    for _ in range(2000):
        log.write(ENDED, 0.0)
    log.flush()
    log.close()
    assert len(complaints) == 1
    assert re.fullmatch(r"the log .* loses lines \(No space left on device\); the agent goes on.*", complaints[0])


def test_a_line_cut_off_by_a_full_disk_spoils_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[str] = []
    log = open_log(tmp_path / "n1.jsonl", complaints=complaints)
    room = 300
    write = os.write

    def scarce(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written = write(descriptor, bytes(data)[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", scarce)
    for _ in range(4):
        log.write(ENDED, 0.0)
    log.flush()
    room = 10_000
    log.write(ENDED, 0.0)
    log.close()
    whole, torn, last = (tmp_path / "n1.jsonl").read_text().splitlines()
    assert json.loads(whole)["seq"] == 1
    assert json.loads(last)["seq"] == 5
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn)
    assert len(complaints) == 1


def test_a_node_that_was_killed_while_writing_begins_on_a_new_line(tmp_path: Path) -> None:
    path = tmp_path / "n1.jsonl"
    path.write_text('{"ts":"2025')
    log = open_log(path)
    log.write(ENDED, 0.0)
    log.close()
    torn, line = path.read_text().splitlines()
    assert torn == '{"ts":"2025'
    assert json.loads(line)["seq"] == 1


def test_text_that_is_not_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    log = open_log(tmp_path / "n1.jsonl")
    log.write(NodeStopped(reason=os.fsdecode(b"caf\xe9 \xc3\xa9")), 0.0)
    log.close()
    assert json.loads((tmp_path / "n1.jsonl").read_text("utf-8"))["reason"] == "caf? é"


def test_the_wall_clock_gives_the_time_of_a_line(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "n1.jsonl", run="r", node="n1", clock=HybridClock(time.time))
    before = time.time()
    log.write(NodeLoad(slots=1, running=0, waiting=0, queued_s=0.0), 1.0)
    log.close()
    line = msgspec.json.decode((tmp_path / "n1.jsonl").read_bytes(), type=Header)
    assert before - 0.001 <= line.ts.timestamp() <= time.time()


# --- the schema ------------------------------------------------------------------------------------------------------


def test_words_are_unique_and_no_field_hides_one_of_the_header() -> None:
    assert len({event.name for event in VOCABULARY}) == len(VOCABULARY)
    header = set(Header.__struct_fields__)
    assert [event for event in VOCABULARY if header & set(event.__struct_fields__)] == []


def test_the_schema_in_the_documentation_is_what_the_types_say() -> None:
    assert SCHEMA.read_text("utf-8") == events.schema_text(), "python -m parley.agents.events > docs/log.schema.json"


def values(kind: msgspec.inspect.Type) -> st.SearchStrategy[object]:
    """Anything that a field of this type may hold."""
    match kind:
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.IntType():
            return st.integers(0, 2**53)
        case msgspec.inspect.FloatType():
            return st.floats(0.0, 1e9)
        case msgspec.inspect.StrType(min_length=low, max_length=high):
            return st.text(min_size=low or 0, max_size=min(high or 8, 8))
        case msgspec.inspect.EnumType(cls=enum):
            return st.sampled_from(list(enum))
        case msgspec.inspect.UnionType(types=types):
            return st.one_of(*map(values, types))
        case msgspec.inspect.VarTupleType(item_type=item):
            return st.lists(values(item), max_size=2).map(tuple)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*map(values, items))
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(values(key), values(value), max_size=2)
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: values(field.type) for field in fields})
    raise NotImplementedError(f"no values for {kind}: add a case here")


def fits(value: object, schema: Json, root: Json) -> bool:
    """A JSON Schema validator, as far as msgspec's schemas go."""
    if "$ref" in schema:
        name = cast("str", schema["$ref"]).removeprefix("#/$defs/")
        return fits(value, cast("Mapping[str, Json]", root["$defs"])[name], root)
    for word, expected in schema.items():
        match word:
            case "type":
                kinds = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int}
                kinds |= {"null": type(None), "boolean": bool}
                if not isinstance(value, kinds[cast("str", expected)]):  # type: ignore[arg-type]
                    return False
            case "const" if value != expected:
                return False
            case "enum" if value not in cast("Sequence[object]", expected):
                return False
            case "anyOf" if not any(fits(value, each, root) for each in cast("Sequence[Json]", expected)):
                return False
            case "oneOf" if sum(fits(value, each, root) for each in cast("Sequence[Json]", expected)) != 1:
                return False
            case "required" if not set(cast("Sequence[str]", expected)) <= cast("Json", value).keys():
                return False
            case "properties":
                fields = cast("Json", value)
                parts = cast("Mapping[str, Json]", expected)
                if not all(fits(fields[name], part, root) for name, part in parts.items() if name in fields):
                    return False
            case "additionalProperties":
                if not all(fits(each, cast("Json", expected), root) for each in cast("Json", value).values()):
                    return False
            case "items" if expected is not False:
                if not all(fits(each, cast("Json", expected), root) for each in cast("Sequence[object]", value)):
                    return False
            case "prefixItems":
                places = zip(cast("Sequence[object]", value), cast("Sequence[Json]", expected), strict=True)
                if not all(fits(each, part, root) for each, part in places):
                    return False
            case "minLength" | "maxLength" | "minItems" | "maxItems" | "minimum":
                size = len(value) if isinstance(value, (str, list)) else cast("float", value)
                bound = cast("float", expected)
                if size > bound if word.startswith("max") else size < bound:
                    return False
            case _:
                known = {
                    "const",
                    "enum",
                    "anyOf",
                    "oneOf",
                    "required",
                    "title",
                    "description",
                    "format",
                    "default",
                    "items",
                }
                assert word in known | {"$defs", "$schema"}, f"add {word} here"
    return True


@pytest.mark.parametrize("event", VOCABULARY, ids=lambda event: event.name)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_line_fits_the_schema_and_gives_its_event_back(
    event: type[Event], data: st.DataObject, tmp_path: Path
) -> None:
    told = cast("Event", data.draw(values(msgspec.inspect.type_info(event))))
    path = tmp_path / "n1.jsonl"
    path.unlink(missing_ok=True)
    log = open_log(path, "debug")
    log.write(told, 0.5, data.draw(st.none() | st.just("n2:1.0")))
    log.close()
    line = path.read_bytes()
    assert line.endswith(b"}\n")
    assert b"\n" not in line[:-1]
    assert msgspec.json.decode(line, type=event) == told
    assert msgspec.json.decode(line, type=Header).event == event.name
    root = json.loads(SCHEMA.read_text("utf-8"))
    assert fits(json.loads(line), root, root)


@pytest.mark.parametrize(
    "wrong",
    [{"seq": 0}, {"v": 2}, {"event": "task.lost"}, {"level": "debug"}, {"epoch": "1"}, {"reason": "bored"}, {"ts": 1}],
)
def test_a_wrong_line_does_not_fit(wrong: dict[str, object], tmp_path: Path) -> None:
    log = open_log(tmp_path / "n1.jsonl")
    log.write(ENDED, 0.5)
    log.close()
    root = events.schema()
    line = json.loads((tmp_path / "n1.jsonl").read_text())
    assert fits(line, root, root)
    assert not fits(line | wrong, root, root)
