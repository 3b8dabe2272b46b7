"""What is said to a model server, and what its answers mean: the OpenAI API as bytes, without any connection.

    kind            path                     argument (any other key is an option for the server, such as max_tokens)
    chat:MODEL      /v1/chat/completions     {"messages": [...]}, or {"prompt": "text"} for a single one
    complete:MODEL  /v1/completions          {"prompt": "text"}
    embed:MODEL     /v1/embeddings           {"input": "text"} or {"input": ["text", ...]}

Texts are streamed: lines `data: {...}`, one piece of the answer each, a last one with the usage, then `data: [DONE]`
(https://platform.openai.com/docs/api-reference/chat/streaming). A server that does not stream answers with one object,
which is read as a single piece.

Invariant: bounded whatever the server sends; anything that is not the API is a `Failed` with one sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from ...protocols.performatives import Reason

if TYPE_CHECKING:
    import numpy as np

PATHS = {"chat": "/v1/chat/completions", "complete": "/v1/completions", "embed": "/v1/embeddings"}
LINE_BYTES_MAX = 1024 * 1024
"""A longer line is no piece of an answer."""
MESSAGE_CHARS_MAX = 300
"""So much of a server's own words goes into a sentence of ours."""
NOT_THE_TASK = frozenset({401, 403, 404, 408, 425, 429})
"""Refusals that are about this server (its key, its models, its load): another node may well succeed."""
OURS = ("model", "stream", "stream_options")
"""What the executor says itself."""
OTHER_SHAPES = ("tools", "functions", "best_of")
"""What would make the answer something else than one text."""

_Tokens = Annotated[int, Meta(ge=0, le=2**53)]
_T = TypeVar("_T")


class Failed(Exception):
    """It cannot succeed here; the text is one sentence that says why, `status` that of HTTP where that matters."""

    def __init__(self, reason: Reason, sentence: str, status: int = 200) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.status = status


# --- what we say -----------------------------------------------------------------------------------------------------


def request(verb: str, model: str, arguments: object) -> bytes:
    """The body of a request. Raises Failed (ERROR) if the arguments are not those of the kind."""
    if not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
        raise _wrong(f"{verb} takes named arguments")
    body: dict[str, object] = dict(arguments)
    if ours := [key for key in OURS if key in body]:
        raise _wrong(f'"{ours[0]}" is said by the node itself: leave it out')
    if body.get("n", 1) != 1 or body.keys() & OTHER_SHAPES:
        raise _wrong(f'an answer is one text: leave {", ".join(OTHER_SHAPES)} and "n" out')
    if verb == "embed":
        _check_input(body)
    else:
        _check_prompt(verb, body)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    try:
        return msgspec.json.encode({**body, "model": model})
    except (TypeError, ValueError, RecursionError) as error:
        raise _wrong(f"the arguments have no JSON form: {clean(str(error))}") from None


def texts(arguments: object) -> int:
    """How many texts an accepted embed request holds."""
    given = arguments["input"] if isinstance(arguments, dict) else ()
    return len(given) if isinstance(given, list) else 1


def _check_prompt(verb: str, body: dict[str, object]) -> None:
    if verb == "complete":
        if not isinstance(body.get("prompt"), str):
            raise _wrong('complete takes {"prompt": "text"}')
        return
    if ("messages" in body) == ("prompt" in body):
        raise _wrong('chat takes either {"messages": [...]} or {"prompt": "text"}')
    if "prompt" in body:
        prompt = body.pop("prompt")
        if not isinstance(prompt, str):
            raise _wrong("the prompt of a chat is a text")
        body["messages"] = [{"role": "user", "content": prompt}]
    messages = body["messages"]
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise _wrong('messages are a list of {"role": ..., "content": ...}, at least one')


def _check_input(body: dict[str, object]) -> None:
    given = body.get("input")
    many = given if isinstance(given, list) else [given]
    if not many or not all(isinstance(text, str) for text in many):
        raise _wrong('embed takes {"input": "text"} or {"input": ["text", ...]}')
    body["encoding_format"] = "float"  # the only one that every server knows


def _wrong(sentence: str) -> Failed:
    return Failed(Reason.ERROR, sentence)


# --- what it answers -------------------------------------------------------------------------------------------------


class DataLines:
    """Bytes of an event stream in as they come, the contents of its `data:` lines out."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[bytes]:
        """What these bytes complete; all of an unfinished line with b"". Raises Failed at a line without an end."""
        self._rest += data if data else b"\n"
        found: list[bytes] = []
        begin = 0
        while (end := self._rest.find(b"\n", self._searched)) >= 0:
            line = bytes(self._rest[begin:end]).rstrip(b"\r")
            begin = self._searched = end + 1
            if line.startswith(b"data:"):
                found.append(line[5:].strip())
        del self._rest[:begin]
        self._searched = len(self._rest)
        if self._searched > LINE_BYTES_MAX:
            raise garbage(f"a line of more than {LINE_BYTES_MAX:,} bytes")
        return found


class Piece(NamedTuple):
    """Of an answer: some text (or, with `spoke` alone, thoughts that are no part of it), how it ended, its usage."""

    text: str
    spoke: bool
    finish: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


class _Said(msgspec.Struct):
    content: str | None = None
    reasoning_content: object = None
    reasoning: object = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None


class _Error(msgspec.Struct):
    """The ways in which servers say what is wrong."""

    error: object = None
    form: str | None = msgspec.field(default=None, name="object")
    message: object = None
    detail: object = None
    code: object = None


class _Chunk(_Error):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Vectors(_Error):
    data: list[_Vector] | None = None
    usage: _Usage | None = None


def decode_piece(data: bytes) -> Piece:
    """One `data:` line, or the whole answer of a server that does not stream. Raises Failed."""
    chunk = decode(data, _Chunk)
    _check_error(chunk)
    usage = chunk.usage or _Usage()
    text, spoke, finish = "", False, None
    for choice in chunk.choices or ():
        if choice.index == 0:
            said = choice.delta or choice.message or _Said(choice.text)
            text += said.content or ""
            spoke = spoke or bool(said.content or said.reasoning_content or said.reasoning)
            finish = choice.finish_reason or finish
    return Piece(text, spoke, finish, usage.prompt_tokens, usage.completion_tokens)


def decode_vectors(body: bytes, texts: int) -> tuple[np.ndarray, int | None]:
    """One float32 row per text, and the prompt's tokens if the server tells. Raises Failed."""
    import numpy as np

    answer = decode(body, _Vectors)
    _check_error(answer)
    data = answer.data or []
    rows = {row.index if row.index is not None else at: row.embedding for at, row in enumerate(data)}
    if sorted(rows) != list(range(texts)) or len(data) != texts or len({len(row) for row in rows.values()}) != 1:
        raise garbage(f"{len(data)} vectors for {texts} texts, or of unequal lengths")
    vectors = np.array([rows[at] for at in range(texts)], dtype=np.float32)
    return vectors, answer.usage.prompt_tokens if answer.usage else None


def decode(data: bytes, form: type[_T]) -> _T:
    """JSON of this form. Raises Failed (DIED)."""
    try:
        return msgspec.json.decode(data, type=form)
    except (ValueError, RecursionError) as error:
        raise garbage(clean(str(error))) from None


def refusal(status: int, body: bytes) -> Failed:
    """What an answer other than 200 means, in the server's own words as far as it has any."""
    try:
        said = _words(msgspec.json.decode(body, type=_Error))
    except (ValueError, RecursionError):
        said = "" if body.lstrip().startswith(b"<") else body.decode(errors="replace")
    words = clean(said) or "it does not say why"
    if 300 <= status < 400:
        sentence = f"the model server redirects ({status}), which is not followed: give the URL that it redirects to"
        return Failed(Reason.DIED, sentence, status)
    if 400 <= status < 500 and status not in NOT_THE_TASK:
        return Failed(Reason.ERROR, f"the model server refused the request ({status}): {words}", status)
    return Failed(Reason.DIED, f"the model server failed ({status}): {words}", status)


def garbage(what: str) -> Failed:
    return Failed(Reason.DIED, f"the model server's answer makes no sense: {what}")


def clean(text: str) -> str:
    """A server's words as part of one line."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * MESSAGE_CHARS_MAX]).split())
    return line if len(line) <= MESSAGE_CHARS_MAX else line[: MESSAGE_CHARS_MAX - 1] + "…"


def _check_error(answer: _Error) -> None:
    """Servers tell errors in the middle of an answer that had begun with 200."""
    if answer.error is None and answer.form != "error":
        return
    inner = answer.error if isinstance(answer.error, dict) else {"code": answer.code}
    code = inner.get("code")
    raise refusal(code if isinstance(code, int) and 400 <= code < 600 else 500, msgspec.json.encode(answer))


def _words(error: _Error) -> str:
    inner = error.error
    said = inner.get("message") if isinstance(inner, dict) else inner
    return next((text for text in (said, error.message, error.detail) if isinstance(text, str)), "")
