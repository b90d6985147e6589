"""What a request asks, whichever API it came by: chat, text completions, responses, messages, Gemini."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_IMAGES: Final = frozenset({"image_url", "image", "input_image", "inline_data", "inlineData"})
_TEXTS: Final = ("text", "input_text", "output_text")
_USER: Final = frozenset({"user", ""})
_SYSTEM: Final = frozenset({"system", "developer"})
_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request's content; texts of it are never logged."""

    first: str
    """The first user turn."""
    last: str
    """The latest user turn."""
    system: str
    text_bytes: int
    """Of everything that is text."""
    chars: int
    has_image: bool
    has_tools: bool
    continued: bool
    """Somebody has answered already: this is not a thread's first turn."""
    answer_tokens: int
    """What the caller allows for the answer, 0 where they do not say."""


def prompt_of(data: Mapping[str, Any]) -> Prompt:
    """Read a request's body; what does not look as expected counts as absent, LiteLLM will complain of it."""
    users: list[str] = []
    system: list[str] = []
    chars = text_bytes = 0
    has_image = continued = False
    for role, content in _turns(data):
        text = "\n".join(_texts(content))
        chars += len(text)
        text_bytes += len(text.encode(errors="replace"))
        has_image = has_image or _holds_image(content)
        if role in _SYSTEM:
            system.append(text)
        elif role in _USER:
            users.append(text)
        else:
            continued = True
    return Prompt(
        first=next((text for text in users if text), ""),
        last=next((text for text in reversed(users) if text), ""),
        system="\n".join(system),
        text_bytes=text_bytes,
        chars=chars,
        has_image=has_image,
        has_tools=bool(data.get("tools") or data.get("functions")),
        continued=continued or bool(data.get("previous_response_id")),
        answer_tokens=next((value for name in _LIMITS if isinstance(value := data.get(name), int)), 0),
    )


def _turns(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in ("system", "instructions", "systemInstruction", "system_instruction"):
        if data.get(name):
            yield "system", data[name]
    for name in ("messages", "input", "contents", "prompt"):
        given = data.get(name)
        if isinstance(given, str):
            yield "user", given
        elif isinstance(given, list):
            yield from map(_turn, given)
        elif isinstance(given, Mapping):
            yield _turn(given)


def _turn(item: Any) -> tuple[str, Any]:
    if not isinstance(item, Mapping):
        return "user", item
    role = item.get("role")
    if role is None:  # an item of the responses API that is no message: a tool call, its output, a reference
        return ("assistant" if item.get("type") not in (None, "message", *_IMAGES) else "user"), item
    return str(role), item.get("content", item.get("parts"))


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            yield from _texts(part)
    elif isinstance(content, Mapping):
        text = content.get("text")
        if isinstance(text, str) and content.get("type", "text") in _TEXTS:
            yield text
        else:
            for name in ("content", "parts", "output"):
                yield from _texts(content.get(name))


def _holds_image(content: Any) -> bool:
    if isinstance(content, list):
        return any(map(_holds_image, content))
    if isinstance(content, Mapping):
        return (
            content.get("type") in _IMAGES
            or not _IMAGES.isdisjoint(content)
            or any(_holds_image(content.get(name)) for name in ("content", "parts"))
        )
    return False
