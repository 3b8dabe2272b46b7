"""A model server on loopback, for tests: the OpenAI API, Ollama's and llama.cpp's and vLLM's own questions, and every
way in which such servers fail.

What it answers is a `Script`. With a `gate`, each token waits until the test lets it through. What was asked stands in
`asked`, and whoever leaves before the end of an answer is told to `left`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

PADDING = "x" * 65_536


@dataclasses.dataclass
class Script:
    """How the next requests are answered."""

    tokens: tuple[str, ...] = ("Once", " upon", " a", " time")
    thoughts: int = 0
    usage: bool = True
    streams: bool = True
    finish: str | None = "stop"
    done: bool = True
    status: int = 200
    body: object = None
    """Instead of an answer; a str goes out as it is."""
    cut_after: int | None = None
    """So many tokens, then the connection is dropped."""
    error_after: dict[str, object] | None = None
    """What the stream says after its tokens, instead of an end."""
    padding: bool = False
    """Each piece is 64 KiB longer than it need be."""
    gate: asyncio.Semaphore | None = None
    vectors: list[Any] | None = None
    """Instead of those that belong to the texts."""


class ModelServer:
    """Use `running`."""

    def __init__(self) -> None:
        self.models: list[dict[str, object]] = [{"id": "tiny", "object": "model"}]
        self.loaded: list[str] | None = None
        """What Ollama's /api/ps says; None: this is no Ollama."""
        self.tags: list[str] | None = None
        """What Ollama's /api/tags says, where there is no /v1/models."""
        self.slots: list[bool] | None = None
        self.metrics: str | None = None
        self.always_200 = False
        """As LM Studio: also for what it does not know."""
        self.models_gate = asyncio.Event()
        self.models_gate.set()
        self.script = Script()
        self.asked: list[tuple[str, dict[str, object]]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.lists = asyncio.Semaphore(0)
        """Released whenever the list of models was asked for."""
        self.left: asyncio.Queue[str] = asyncio.Queue()
        self.written = 0
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """On any port at first, later on the same again."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        match request.method, request.path:
            case "GET", "/v1/models" if self.tags is None:
                self.lists.release()
                await self.models_gate.wait()
                if self.script.status in (401, 503):
                    return web.json_response({"error": "not you"}, status=self.script.status)
                return web.json_response({"object": "list", "data": self.models})
            case "GET", "/api/tags" if self.tags is not None:
                return web.json_response({"models": [{"name": name, "size": 1} for name in self.tags]})
            case "GET", "/api/ps" if self.loaded is not None:
                return web.json_response({"models": [{"name": name, "size_vram": 1} for name in self.loaded]})
            case "GET", "/slots" if self.slots is not None:
                return web.json_response([{"id": at, "is_processing": busy} for at, busy in enumerate(self.slots)])
            case "GET", "/metrics" if self.metrics is not None:
                return web.Response(text=self.metrics)
            case "POST", "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings":
                return await self._post(request)
        if self.always_200:
            return web.json_response({"error": f"Unexpected endpoint or method. ({request.method} {request.path})"})
        return web.json_response({"error": {"message": "no such page", "code": 404}}, status=404)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        said = await request.json()
        self.asked.append((request.path, said))
        self.keys.append(request.headers.get("Authorization"))
        script = self.script
        if script.status != 200 or script.body is not None:
            text = script.body if isinstance(script.body, str) else json.dumps(script.body)
            kind = "text/html" if text.startswith("<") else "application/json"
            headers = {"Location": "http://127.0.0.1:9/elsewhere"} if 300 <= script.status < 400 else None
            return web.Response(status=script.status, text=text, content_type=kind, headers=headers)
        try:
            if request.path == "/v1/embeddings":
                return await self._embed(said, script)
            if not (said.get("stream") and script.streams):
                return self._whole(request.path, script)
            return await self._stream(request, script)
        except (asyncio.CancelledError, ConnectionResetError):
            self.left.put_nowait(request.path)
            raise

    async def _embed(self, said: dict[str, object], script: Script) -> web.StreamResponse:
        if script.gate:
            await script.gate.acquire()
        given = said["input"]
        texts = given if isinstance(given, list) else [given]
        rows = script.vectors
        if rows is None:  # last first: the order is told by the index
            rows = [{"index": at, "embedding": [float(len(text)), float(at)]} for at, text in enumerate(texts)][::-1]
        answer: dict[str, object] = {"object": "list", "data": rows}
        if script.usage:
            answer["usage"] = {"prompt_tokens": 8, "total_tokens": 8}
        return web.json_response(answer)

    def _whole(self, path: str, script: Script) -> web.Response:
        text = "".join(script.tokens)
        choice: dict[str, object] = {"index": 0, "finish_reason": script.finish}
        choice |= {"message": {"role": "assistant", "content": text}} if "chat" in path else {"text": text}
        return web.json_response({"choices": [choice]} | self._usage(script))

    async def _stream(self, request: web.Request, script: Script) -> web.StreamResponse:
        chat = "chat" in request.path
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)

        async def say(piece: dict[str, object]) -> None:
            data = b"data: " + json.dumps(piece).encode() + b"\n\n"
            await response.write(data)
            self.written += len(data)

        def chosen(text: str, finish: str | None = None, thought: str = "") -> dict[str, object]:
            choice: dict[str, object] = {"index": 0, "finish_reason": finish}
            said = {"reasoning_content": thought} if thought else {"content": text}
            choice |= {"delta": said} if chat else {"text": text}
            return {"choices": [choice], "padding": PADDING if script.padding else ""}

        if chat:
            await say({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
        await response.write(b": a comment that means nothing\r\n\r\n")
        for at in range(script.thoughts):
            await say(chosen("", thought=f"hm {at}"))
        for at, token in enumerate(script.tokens):
            if script.gate:
                await script.gate.acquire()
            if at == script.cut_after:
                assert request.transport is not None
                request.transport.abort()
                return response
            await say(chosen(token))
        if script.error_after is not None:
            await say(script.error_after)
            return response
        if script.finish:
            await say(chosen("", script.finish))
        if script.usage:
            await say({"choices": []} | self._usage(script))
        if script.done:
            await response.write(b"data: [DONE]\n\n")
        return response

    def _usage(self, script: Script) -> dict[str, object]:
        if not script.usage:
            return {}
        return {"usage": {"prompt_tokens": 10, "completion_tokens": len(script.tokens) + script.thoughts}}


@asynccontextmanager
async def running() -> AsyncIterator[ModelServer]:
    """A server that ends with the block."""
    server = ModelServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def rude(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that says it has the model "tiny", and answers every other request with raw bytes; its URL."""
    listing = json.dumps({"data": [{"id": "tiny"}]}).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /v1/models"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(listing) + listing)
            elif head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            else:
                await answer(writer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
