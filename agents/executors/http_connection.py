"""The connection to one model server: where it may lead, and what its faults mean.

The idea: everything that can go wrong between here and the server becomes a `Failed` with one sentence, at this border
and nowhere else; whoever asks sees bytes or that.

    refused, reset, half an answer, no HTTP  -> DIED     (another node may succeed)
    an answer other than 200                 -> what `http_words.refusal` makes of it
    slow                                     -> whoever asks sets the limit

A prompt is somebody's own words: they go to a server on this machine or in this network, not to the internet, unless
the node's owner says so. Names are looked up with every connection, and the addresses found are held to the same rule.
No proxies, no cookies, no redirects, no compression, and a connection per request: leaving one is what stops a server
from generating further.

Invariant: no answer is read that is longer than its reader allows; the key appears in no sentence.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...protocols.performatives import Reason
from .http_words import Failed, clean, garbage, refusal

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

CONNECT_S = 5.0
QUESTION_S = 5.0
"""How long the answer to a question may take."""
QUESTION_BYTES_MAX = 1024 * 1024
REFUSAL_BYTES_MAX = 64 * 1024


class HttpError(Exception):
    """The executor cannot be had like this; the text is one sentence for the person who starts the node."""


def server_url(url: str, allow_public: bool = False) -> str:
    """The server's URL as far as the API's paths. Raises HttpError for one that is none, or leads to the internet."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise HttpError(f"{url} is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise HttpError(f"{url} is no URL of a model server: say something like http://127.0.0.1:11434")
    if parts.username is not None or parts.password is not None:
        raise HttpError(f"the URL of {host} must hold no user or password: put a key into PARLEY_HTTP_KEY")
    if parts.query or parts.fragment:
        raise HttpError(f"{url} must end with its path: leave out what follows ? or #")
    if not allow_public and _is_public(host):
        raise HttpError(f"{host} is neither this machine nor in this network, and prompts would go there")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"


def _is_public(host: str) -> bool:
    """An address of the internet, written as such; a name is none."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_global or address.is_multicast


class Connection:
    """To be made on the asyncio loop. Raises HttpError."""

    def __init__(self, url: str, key: str | None = None, *, allow_public: bool = False) -> None:
        try:
            import aiohttp
        except ImportError:
            raise HttpError("a model server needs the extra `http`: pip install 'parley[http]'") from None
        self.url = server_url(url, allow_public)
        if key is not None and not (key.isascii() and key.isprintable() and key):
            raise HttpError("the key in PARLEY_HTTP_KEY must be plain characters on one line")
        self._key = key
        headers = {"Accept-Encoding": "identity", "User-Agent": "parley"}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, force_close=True, use_dns_cache=False, resolver=None if allow_public else _private_resolver()
            ),
            headers=headers if key is None else headers | {"Authorization": f"Bearer {key}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        )

    async def get(self, path: str) -> bytes:
        """The answer to a small question. Raises Failed; TIMEOUT if it did not come within QUESTION_S."""
        try:
            async with asyncio.timeout(QUESTION_S), self._ask("GET", path, None) as response:
                return await self.read(response, QUESTION_BYTES_MAX)
        except TimeoutError:
            raise Failed(Reason.TIMEOUT, f"the model server at {self.url} is slow to answer") from None

    @asynccontextmanager
    async def post(self, path: str, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that has begun well. Leaving it closes the connection. Raises Failed, in its block as well."""
        async with self._ask("POST", path, body) as response:
            yield response

    async def read(self, response: aiohttp.ClientResponse, size_max: int) -> bytes:
        """All of a body that is no longer than that. Raises Failed."""
        body = bytearray()
        async for data in response.content.iter_any():
            body += data
            if len(body) > size_max:
                raise garbage(f"more than {size_max:,} bytes")
        return bytes(body)

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def _ask(self, method: str, path: str, body: bytes | None) -> AsyncIterator[aiohttp.ClientResponse]:
        import aiohttp

        headers: Mapping[str, str] = {} if body is None else {"Content-Type": "application/json"}
        try:
            response = await self._session.request(
                method, self.url + path, data=body, headers=headers, allow_redirects=False
            )
            try:
                if response.status != 200:
                    raise self._refusal(response.status, await self._beginning(response))
                yield response
            finally:
                response.close()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Failed(Reason.DIED, f"the model server at {self.url} does not answer: {_cause(error)}") from None
        except aiohttp.ClientPayloadError:
            raise Failed(Reason.DIED, "the model server broke off in the middle of its answer") from None
        except aiohttp.ClientConnectionError:
            raise Failed(Reason.DIED, "the model server broke off the connection") from None
        except aiohttp.ClientError as error:
            raise garbage(clean(str(getattr(error, "message", error)))) from None

    async def _beginning(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for data in response.content.iter_any():
            body += data
            if len(body) >= REFUSAL_BYTES_MAX:
                break
        return bytes(body[:REFUSAL_BYTES_MAX])

    def _refusal(self, status: int, body: bytes) -> Failed:
        """Some servers repeat the key that they do not like."""
        return refusal(status, body.replace(self._key.encode(), b"...") if self._key else body)


def _cause(error: Exception) -> str:
    """What the system says about a connection that does not come about."""
    cause = getattr(error, "os_error", error)
    number = getattr(cause, "errno", 0) or 0
    if number in errno.errorcode:
        return os.strerror(number).lower()
    return clean(getattr(cause, "strerror", None) or str(cause))


def _private_resolver() -> AbstractResolver:
    """Looks names up, and finds nothing on the internet."""
    from aiohttp import ThreadedResolver

    class PrivateResolver(ThreadedResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await super().resolve(host, port, family)
            private = [address for address in found if not _is_public(address["host"])]
            if not private:
                raise OSError(None, f"{host} is neither this machine nor in this network, and prompts would go there")
            return private

    return PrivateResolver()
