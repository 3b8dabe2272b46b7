"""An http executor beside a model server, as the tests of it see one: tasks in, what it tells out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from openai_server import ModelServer, running

from parley.agents.executors.base import Attempt
from parley.agents.executors.http import HttpExecutor
from parley.agents.executors.http_words import MESSAGE_CHARS_MAX
from parley.agents.payload import pack, unpack
from parley.protocols.core import Conditions, Task
from parley.protocols.performatives import Finished, Output, Reason

PATIENCE_TESTS_S = 20.0
HELLO = {"prompt": "Hello"}


class Node:
    """An executor, and what it tells."""

    def __init__(self, executor: HttpExecutor) -> None:
        self.executor = executor
        self.outputs: asyncio.Queue[bytes] = asyncio.Queue()
        self._count = 0

    def begin(
        self,
        kind: str,
        arguments: object = HELLO,
        *,
        timeout_s: float = PATIENCE_TESTS_S,
        follow: bool = False,
        epoch: int = 1,
        name: str | None = None,
    ) -> tuple[str, asyncio.Future[Finished]]:
        self._count += 1
        payload = arguments if isinstance(arguments, bytes) else pack(arguments)
        task = Task(id=name or f"t{self._count}", kind=kind, timeout_s=timeout_s, payload_bytes=len(payload))
        end: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()

        def tell(message: Finished | Output) -> None:
            assert (message.task, message.epoch) == (task.id, epoch)
            if isinstance(message, Output):
                assert not end.done(), "nothing is told after the end"
                self.outputs.put_nowait(message.data)
            else:
                end.set_result(message)

        self.executor.start(Attempt(task, epoch, payload, follow), tell)
        assert not end.done(), "nothing is told from within start"
        return task.id, end

    async def run(self, kind: str, arguments: object = HELLO, **options: Any) -> Finished:
        return await self.begin(kind, arguments, **options)[1]

    async def result(self, kind: str, arguments: object = HELLO, **options: Any) -> dict[str, Any]:
        finished = await self.run(kind, arguments, **options)
        assert finished.reason is None, finished.error
        value = unpack(finished.value)
        assert isinstance(value, dict)
        return value

    async def failure(self, kind: str, arguments: object = HELLO, **options: Any) -> tuple[Reason | None, str]:
        finished = await self.run(kind, arguments, **options)
        assert finished.value == b""
        assert "\n" not in finished.error
        assert 0 < len(finished.error) < MESSAGE_CHARS_MAX + 100
        return finished.reason, finished.error

    def price(self, kind: str, payload_bytes: int = 100, tokens: float | str | None = None) -> dict[str, float] | None:
        terms = Conditions(about=(("tokens", tokens),)) if tokens is not None else None
        price = self.executor.price(Task(id="p", kind=kind, payload_bytes=payload_bytes, terms=terms))
        return None if price is None else dict(price)


@asynccontextmanager
async def node(url: str, **options: Any) -> AsyncIterator[Node]:
    async with asyncio.timeout(PATIENCE_TESTS_S):
        executor = HttpExecutor(url, **options)
        try:
            await executor.refresh()
            yield Node(executor)
        finally:
            await executor.close()


@asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[tuple[ModelServer, Node]]:
    async with running() as server, node(server.url, **options) as beside:
        yield server, beside
