"""Runs the models of a server beside this node: Ollama, llama.cpp, vLLM, LM Studio, whatever speaks the OpenAI API.

The idea: the server's models are what the node offers, for as long as the server has them; a task is one request to it.
What the API is stands in `http_words`, the connection in `http_connection`, what the server has in `http_models`, and
what an answer will take in `http_rates`.

    runtime                          executor                              model server
      |                                | every ASK_EVERY_S: models? loaded? ---> |
      | price(task) -----------------> | run, load_model, server_queue           |
      | start(chat:llama3.2) --------> | POST, stream ------------------------>  |
      | <------- Output("Once"), ...   | <------------- data: {...}, as it comes |
      | <------- Finished(text)        | <------------------------- data: [DONE] |
      | stop ------------------------> | closes the connection: the server stops |

Prices come from measured speeds, and are None until this server has answered once. A server that cannot be reached, or
breaks off, is asked at once whether it is still there; until it is, nothing is offered.

Invariant: at most `slots` requests at once, each a connection of its own, which is closed when its attempt ends or is
stopped. While OUTPUT_UNREAD_MAX bytes of an answer are told and not read, nothing more of it is read from the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from ...protocols.core import ProtocolError, Tag, Task
from ...protocols.performatives import OUTPUT_BYTES_MAX, OUTPUT_UNREAD_MAX, Finished, Output, Reason, Stream, Term
from ..blob_folder import BlobError, BlobFolder
from ..payload import BYTES_MAX, PayloadError, pack, unpack
from .base import Attempt, Key, Tell
from .http_connection import Connection
from .http_models import Models, parse
from .http_rates import SECONDS_MAX, Rates, Seen, Start
from .http_words import PATHS, DataLines, Failed, Piece, decode_piece, decode_vectors, garbage, request, texts

if TYPE_CHECKING:
    import aiohttp

ASK_EVERY_S = 2.0
CLOSE_S = 5.0
TEXT_BYTES_MAX = BYTES_MAX - 64 * 1024
"""The longest text that fits a result."""
STREAM_BYTES_MAX = 256 * 1024 * 1024
"""What a server may send for one such text: each token comes in an object of its own."""
ANSWER_BYTES_MAX = 32 * 1024 * 1024
"""An answer in one piece: the JSON of as many numbers as fit a result."""


class _Request:
    """One attempt: what has come of its answer, and what of that is told and not read yet."""

    def __init__(self, attempt: Attempt, verb: str, model: str, tell: Tell | None) -> None:
        self.task = attempt.task
        self.epoch = attempt.epoch
        self.verb = verb
        self.model = model
        self.payload_bytes = len(attempt.payload)
        self.running: asyncio.Task[Finished]
        self._tell = tell
        self._unread = 0
        self._room = asyncio.Event()
        self._held = False  # it had to wait for its reader, and its speed says nothing about the server
        self.sent_at: float | None = None
        self.first_at: float | None = None
        self.start = Start.AT_ONCE
        self.text: list[str] = []
        self._text_bytes = 0
        self._pieces = 0
        self._counted: int | None = None
        self.finish: str | None = None
        self.prompt_tokens: int | None = None

    @property
    def completion_tokens(self) -> int:
        """As the server counts them, or else the pieces in which they came."""
        return self._counted or self._pieces

    def take(self, piece: Piece, now: float) -> bytes:
        """One more piece has come; its text. Raises Failed if the answer gets too long."""
        self.prompt_tokens = piece.prompt_tokens or self.prompt_tokens
        self._counted = piece.completion_tokens or self._counted
        self.finish = piece.finish or self.finish
        if not piece.spoke:
            return b""
        self._pieces += 1
        if self.first_at is None:
            self.first_at = now
        data = piece.text.encode()
        self._text_bytes += len(data)
        if self._text_bytes > TEXT_BYTES_MAX:
            raise Failed(Reason.ERROR, f"the answer is longer than {TEXT_BYTES_MAX:,} bytes: set max_tokens")
        self.text.append(piece.text)
        return data

    async def follow(self, data: bytes) -> None:
        """Tell it to whoever follows, as far as the window has room for it."""
        while data and self._tell:
            room = min(OUTPUT_UNREAD_MAX - self._unread, OUTPUT_BYTES_MAX)
            if room > 0:
                part, data = data[:room], data[room:]
                self._unread += len(part)
                self._tell(Output(self.task.id, self.epoch, Stream.OUT, part))
            else:
                self._held = True
                self._room.clear()
                await self._room.wait()

    def resume(self, size: int) -> None:
        self._unread = max(self._unread - size, 0)
        self._room.set()

    def seen(self, now: float, whole: bool) -> Seen | None:
        """What it says about the server's speed, if anything."""
        if self.sent_at is None or self._held:
            return None
        first_at = self.first_at if self.first_at is not None else now
        timing = first_at - self.sent_at, now - self.sent_at
        return Seen(self.payload_bytes, self.prompt_tokens, self.completion_tokens, *timing, self.start, whole)


class HttpExecutor:
    """An `Executor` for the models of the server at `url`; to be made on the asyncio loop, where it asks at once.

    `key` goes to the server as a bearer token. `allow_public`: the server may be on the internet. `clock` is monotonic,
    in seconds (the loop's own). Raises HttpError, one sentence for the person: no such URL, or aiohttp is missing.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        slots: int = 1,
        allow_public: bool = False,
        clock: Callable[[], float] | None = None,
        blobs: BlobFolder | None = None,
    ) -> None:
        if slots < 1:
            raise ValueError(f"a node has at least one slot, not {slots}")
        loop = asyncio.get_running_loop()
        self._slots = slots
        self._blobs = blobs  # where a large prompt lies
        self._clock = clock or loop.time
        self._connection = Connection(url, key, allow_public=allow_public)
        self._models = Models(self._connection, self._clock)
        self._rates = Rates()
        self._requests: dict[Key, _Request] = {}
        self._ask_now = asyncio.Event()
        self._asking = loop.create_task(self._keep_asking())

    @property
    def url(self) -> str:
        """Where the server is, without the paths of its API."""
        return self._connection.url

    @property
    def trouble(self) -> str:
        """Why nothing is offered, in one sentence; empty while the server answers."""
        return self._models.trouble

    async def refresh(self) -> None:
        """Ask the server now what it has, and return when it has answered, or has not; never raises."""
        await self._models.refresh(lambda: len(self._requests))

    def offers(self, kind: str) -> bool:
        named = parse(kind)
        return named is not None and self._models.own_name(named[1]) is not None

    @property
    def tags(self) -> Sequence[Tag]:
        return self._models.tags

    def price(self, task: Task) -> Sequence[Term] | None:
        named = parse(task.kind)
        if named is None or not self.offers(task.kind):
            return None
        verb, model = named
        expected = dict(task.conditions.about).get("tokens")
        tokens = float(expected) if isinstance(expected, (int, float)) and expected > 0 else None
        run_s = self._rates.run_s(verb, model, task.payload_bytes, tokens, self._clock())
        if run_s is None:
            return None
        terms = [("run", run_s)]
        if not self._models.is_loaded(model) and not self._asked_for(model):
            terms.append(("load_model", self._rates.load_s(model)))
        if (queue := self._models.queue()).ahead:
            terms.append(("server_queue", min(queue.ahead * run_s / queue.parallel, SECONDS_MAX)))
        return terms

    def start(self, attempt: Attempt, tell: Tell, /) -> None:
        key = attempt.key
        named = parse(attempt.task.kind)
        if named is None:
            raise ProtocolError(f"{attempt.task.kind} is no kind of a model server")
        if key in self._requests or len(self._requests) >= self._slots:
            raise ProtocolError(f"attempt {key} was started twice, or without one of {self._slots} slots free")
        asked = _Request(attempt, *named, tell if attempt.follow else None)
        asked.running = asyncio.get_running_loop().create_task(self._run(asked, attempt.payload))
        self._requests[key] = asked

        def ended(running: asyncio.Task[Finished]) -> None:
            if self._requests.get(key) is asked and not running.cancelled():
                del self._requests[key]
                tell(_surprise(asked, failure) if (failure := running.exception()) else running.result())

        asked.running.add_done_callback(ended)

    def resume(self, task: str, epoch: int, size: int) -> None:
        if asked := self._requests.get((task, epoch)):
            asked.resume(size)

    def stop(self, task: str, epoch: int) -> None:
        if asked := self._requests.pop((task, epoch), None):
            asked.running.cancel()

    async def close(self) -> None:
        ends: list[asyncio.Task[Finished] | asyncio.Task[None]] = [asked.running for asked in self._requests.values()]
        ends.append(self._asking)
        self._requests.clear()
        for end in ends:
            end.cancel()
        await asyncio.wait(ends, timeout=CLOSE_S)
        await self._connection.close()

    async def _keep_asking(self) -> None:
        while True:
            self._ask_now.clear()
            await self.refresh()
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY_S):
                    await self._ask_now.wait()

    def _asked_for(self, model: str) -> bool:
        """A request of ours is using it, or having it loaded."""
        return any(asked.model == model and asked.sent_at is not None for asked in self._requests.values())

    def _start(self, model: str) -> Start:
        """What a request that is sent now will meet."""
        if not self._models.is_loaded(model):
            return Start.WAITED if self._asked_for(model) else Start.LOADED
        return Start.WAITED if self._models.queue().ahead else Start.AT_ONCE

    async def _run(self, asked: _Request, payload: bytes) -> Finished:
        task, epoch = asked.task, asked.epoch
        began = self._clock()
        try:
            async with asyncio.timeout(task.timeout_s):
                value = await self._answer(asked, payload)
            return Finished(task.id, epoch, value=value, seconds=self._clock() - began)
        except Failed as failed:
            reason, error = failed.reason, str(failed)
            if reason is Reason.DIED:
                self._ask_now.set()
        except PayloadError as failure:
            reason, error = Reason.ERROR, str(failure)
        except TimeoutError:
            reason, error = Reason.TIMEOUT, f"no whole answer within {task.timeout_s:g} s; the request was given up"
            self._observe(asked, whole=False)
        return Finished(task.id, epoch, reason, error=error, seconds=self._clock() - began)

    async def _answer(self, asked: _Request, payload: bytes) -> bytes:
        verb, model = asked.verb, asked.model
        own_name = self._models.own_name(model)
        if own_name is None:
            raise Failed(Reason.DIED, self.trouble or f"the model server at {self.url} does not have {model} now")
        try:
            arguments = unpack(payload, self._blobs)
        except BlobError as error:
            raise Failed(Reason.DIED, str(error)) from None
        body = request(verb, own_name, arguments)
        asked.start = self._start(model)
        asked.sent_at = self._clock()
        result: dict[str, object]
        async with self._connection.post(PATHS[verb], body) as response:
            if verb == "embed":
                answer = await self._connection.read(response, ANSWER_BYTES_MAX)
                vectors, asked.prompt_tokens = decode_vectors(answer, texts(arguments))
                result = {"vectors": vectors}
            else:
                await self._listen(asked, response)
                result = {"text": "".join(asked.text), "finish_reason": asked.finish}
        self._models.used(model)
        self._observe(asked, whole=True)
        now = self._clock()
        result |= {"model": model, "prompt_tokens": asked.prompt_tokens, "seconds": now - asked.sent_at}
        if verb != "embed":
            first_at = asked.first_at if asked.first_at is not None else now
            result |= {"completion_tokens": asked.completion_tokens, "first_token_s": first_at - asked.sent_at}
        return pack(result)

    async def _listen(self, asked: _Request, response: aiohttp.ClientResponse) -> None:
        """Take the answer, piece by piece, until it says that it is whole. Raises Failed."""
        if response.content_type == "application/json":
            piece = decode_piece(await self._connection.read(response, ANSWER_BYTES_MAX))
            await asked.follow(asked.take(piece, self._clock()))
        else:
            async with aclosing(_data_lines(response)) as lines:
                async for line in lines:
                    if line == b"[DONE]":
                        return
                    await asked.follow(asked.take(decode_piece(line), self._clock()))
        if asked.finish is None:
            raise Failed(Reason.DIED, "the model server ended in the middle of its answer")

    def _observe(self, asked: _Request, *, whole: bool) -> None:
        now = self._clock()
        if seen := asked.seen(now, whole):
            self._rates.observe(asked.verb, asked.model, seen, now)


def _surprise(asked: _Request, failure: BaseException) -> Finished:
    """A server may surprise us; it must not cost us the slot."""
    asyncio.get_running_loop().call_exception_handler({"message": "a model server surprised us", "exception": failure})
    sentence = f"this node could not make anything of the model server's answer: {type(failure).__name__}"
    return Finished(asked.task.id, asked.epoch, Reason.DIED, error=sentence)


async def _data_lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The contents of its `data:` lines, as they come. Raises Failed if they never end."""
    lines, size = DataLines(), 0
    async for data in response.content.iter_any():
        size += len(data)
        if size > STREAM_BYTES_MAX:
            raise garbage(f"more than {STREAM_BYTES_MAX:,} bytes")
        for line in lines.feed(data):
            yield line
    for line in lines.feed(b""):
        yield line
