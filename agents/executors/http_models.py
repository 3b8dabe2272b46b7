"""What a model server has now: its models, which of them are loaded, how many requests wait there.

The idea: it is asked again and again, a few small questions at a time, and whatever it does not say is not known. A
server that is down has nothing; when it is back it is asked anew what it can tell.

    GET /v1/models   which models (an older Ollama says it at /api/tags only)
    GET /api/ps      Ollama: which are loaded
    GET /slots       llama.cpp: its slots, and which of them are at work
    GET /metrics     vLLM: how many requests run, and how many wait

What is loaded: what /api/ps says; else what the list itself says of a model (llama.cpp's router); else all that vLLM
and llama.cpp have, which serve nothing else; else those used since the server came up. How long its queue is, a server
is asked only while somebody wants prices: asking for its slots keeps a llama.cpp awake that would like to sleep.

Slow is not down: a server that computes may be slow to answer, and keeps its models for PATIENCE_S.

Invariant: at most MODELS_MAX models with names that fit a kind and a tag, whatever the server says.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from ...protocols.core import Tag
from ...protocols.performatives import Reason
from .http_connection import Connection
from .http_words import PATHS, Failed, decode

MODELS_MAX = 48
LOADED_TOLD_MAX = 8
NAME_CHARS_MAX = 128 - len("complete:")
"""A kind and a tag have 128 characters."""
REQUESTS_MAX = 1_000_000
"""More than any server has."""
PATIENCE_S = 30.0
PRICED_S = 60.0
"""How long after a price was asked for the queue is watched."""
ALWAYS_LOADED = ("vllm", "llamacpp")
"""Who serves only what it has loaded."""
TELLS = ("/api/ps", "/slots", "/metrics")

_VLLM = re.compile(rb"^vllm:num_requests_(running|waiting)(?:\{[^\n]*\})? ([0-9.e+]{1,24})\s*$", re.MULTILINE)


class _Status(msgspec.Struct):
    value: str | None = None


class _Entry(msgspec.Struct):
    id: str
    owned_by: str | None = None
    status: _Status | None = None


class _List(msgspec.Struct):
    data: list[_Entry] | None


class _OllamaModel(msgspec.Struct):
    name: str


class _OllamaList(msgspec.Struct):
    models: list[_OllamaModel] | None


class _Slot(msgspec.Struct):
    is_processing: bool


class Queue(NamedTuple):
    """What stands between a new request and its start: so many requests, of which so many are done at a time."""

    ahead: int = 0
    parallel: int = 1


def plain(name: str) -> str:
    """A model's name as people write it: Ollama's ":latest" goes without saying."""
    return name.removesuffix(":latest")


class Models:
    """Of one server, as far as it is known. Models go by their `plain` names. `clock` is monotonic, in seconds."""

    def __init__(self, connection: Connection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        self._refreshing = asyncio.Lock()
        self._names: dict[str, str] = {}  # as people write them -> as the server does
        self._loaded: frozenset[str] = frozenset()
        self._used: set[str] = set()
        self._tells = set(TELLS)
        self._up = False
        self._heard_at = 0.0
        self._priced_at = -PRICED_S
        self._queue = Queue()
        self.trouble = ""
        """Why the server offers nothing, in one sentence; empty if it is there."""

    def own_name(self, model: str) -> str | None:
        """What the server calls a model; None: it has no such model now."""
        return self._names.get(model)

    def is_loaded(self, model: str) -> bool:
        return model in self._loaded

    def used(self, model: str) -> None:
        """It has answered."""
        if model in self._names:
            self._used.add(model)
            self._loaded |= {model}

    @property
    def tags(self) -> list[Tag]:
        """ "model=NAME" of each, "loaded=NAME" of those that are."""
        loaded = [name for name in self._names if name in self._loaded]
        return [f"model={name}" for name in self._names] + [f"loaded={name}" for name in loaded[:LOADED_TOLD_MAX]]

    def queue(self) -> Queue:
        """As last told; from now on it is asked for."""
        self._priced_at = self._clock()
        return self._queue

    async def refresh(self, ours: Callable[[], int]) -> None:
        """Ask the server; `ours` says how many of its requests are our own just now."""
        async with self._refreshing:
            try:
                entries = await self._entries()
            except Failed as failed:
                self._unheard(failed)
                return
            self._heard_at = self._clock()
            if not self._up:
                self._up, self._tells = True, set(TELLS)
                self._used.clear()
            names = {plain(entry.id): entry.id for entry in entries if _fits(entry.id)}
            loaded = await self._ask_loaded(entries)
            first = sorted(names, key=lambda name: name not in loaded)[:MODELS_MAX]  # stable: else the server's order
            self._names = {name: names[name] for name in first}
            self._used &= self._names.keys()
            self._loaded = loaded & self._names.keys()
            await self._ask_queue(ours())
            self.trouble = ""

    async def _entries(self) -> list[_Entry]:
        try:
            return decode(await self._connection.get("/v1/models"), _List).data or []
        except Failed as failed:
            if failed.status != 404:
                raise
            tags = decode(await self._connection.get("/api/tags"), _OllamaList).models or []
            return [_Entry(model.name) for model in tags]

    def _unheard(self, failed: Failed) -> None:
        self.trouble = str(failed)
        if failed.reason is Reason.TIMEOUT and self._up and self._clock() - self._heard_at < PATIENCE_S:
            return
        self._up = False
        self._names, self._loaded, self._queue = {}, frozenset(), Queue()

    async def _tell(self, path: str) -> bytes | None:
        """The answer to a question that not every server knows, None if there is none; it is asked again only if the
        server was slow."""
        if path not in self._tells:
            return None
        try:
            return await self._connection.get(path)
        except Failed as failed:
            if failed.reason is not Reason.TIMEOUT:
                self._tells.discard(path)
            return None

    async def _ask_loaded(self, entries: list[_Entry]) -> frozenset[str]:
        if body := await self._tell("/api/ps"):
            with suppress(Failed):
                return frozenset(plain(model.name) for model in decode(body, _OllamaList).models or ())
            self._tells.discard("/api/ps")  # some servers answer every question with 200
        if "/api/ps" in self._tells:
            return self._loaded
        told = [entry for entry in entries if (entry.status and entry.status.value) or entry.owned_by in ALWAYS_LOADED]
        if told:
            return frozenset(plain(entry.id) for entry in told if not entry.status or entry.status.value == "loaded")
        return frozenset(self._used)

    async def _ask_queue(self, ours: int) -> None:
        if self._clock() - self._priced_at >= PRICED_S:
            self._queue = Queue()
        elif body := await self._tell("/slots"):
            self._read_slots(body, ours)
        elif body := await self._tell("/metrics"):
            self._read_metrics(body, ours)

    def _read_slots(self, body: bytes, ours: int) -> None:
        try:
            slots = decode(body, list[_Slot])
        except Failed:
            self._tells.discard("/slots")
            return
        busy = sum(slot.is_processing for slot in slots)
        full = busy == len(slots) > ours
        self._queue = Queue(int(full), max(len(slots), 1))

    def _read_metrics(self, body: bytes, ours: int) -> None:
        counts = {b"running": 0, b"waiting": 0}
        for what, count in (found := _VLLM.findall(body)):
            with suppress(ValueError):
                counts[what] += int(min(float(count), REQUESTS_MAX))
        if not found:
            self._tells.discard("/metrics")
        others = max(counts[b"running"] + counts[b"waiting"] - ours, 0)
        self._queue = Queue(min(counts[b"waiting"], others), max(counts[b"running"], 1))


def _fits(name: str) -> bool:
    return 0 < len(name) <= NAME_CHARS_MAX and name.isprintable() and not any(char.isspace() for char in name)


def parse(kind: str) -> tuple[str, str] | None:
    """The verb of a kind, and its model as people write it; None: it is no kind of a model server."""
    verb, _, model = kind.partition(":")
    return (verb, plain(model)) if verb in PATHS and model else None
