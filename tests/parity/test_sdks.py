"""The official SDKs, as their users call them, through a proxy that has the plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

import anthropic
import openai
import pytest
from anthropic.types import TextBlock
from google import genai
from google.genai import errors as genai_errors
from google.genai.types import HttpOptions
from openai.types.chat import ChatCompletionUserMessageParam

from tests.parity import answers
from tests.parity.conftest import USER_KEY
from tests.parity.fake_provider import FakeProvider, Received
from tests.support import processes
from tests.support.proxy import ANSWER, MODEL, Proxy

HI: Final[list[ChatCompletionUserMessageParam]] = [{"role": "user", "content": "hi"}]
UNKNOWN: Final = "sk-nobody-knows-this-key"
CLAUDE: Final = "claude-of-the-fake-provider"
"""A real name warns as soon as Anthropic retires it."""
GEMINI: Final = "gemini-2.5-flash"


def openai_client(proxy: Proxy, key: str | None = None) -> openai.OpenAI:
    """The client of OpenAI's documentation, with the proxy as its base URL."""
    return openai.OpenAI(base_url=f"{proxy.base_url}/v1", api_key=key or proxy.master_key, max_retries=0)


def azure_client(proxy: Proxy, key: str | None = None) -> openai.AzureOpenAI:
    """Azure's client, which puts the deployment into the path and the key into `api-key`."""
    return openai.AzureOpenAI(
        azure_endpoint=proxy.base_url, api_version="2024-10-21", api_key=key or proxy.master_key, max_retries=0
    )


def anthropic_client(proxy: Proxy, path: str = "", key: str | None = None) -> anthropic.Anthropic:
    """Anthropic's client, on LiteLLM's own endpoint or on its pass-through."""
    return anthropic.Anthropic(base_url=proxy.base_url + path, api_key=key or proxy.master_key, max_retries=0)


def genai_client(proxy: Proxy, key: str | None = None) -> genai.Client:
    """Google's client, on LiteLLM's pass-through."""
    return genai.Client(
        api_key=key or proxy.master_key, http_options=HttpOptions(base_url=f"{proxy.base_url}/gemini", timeout=60_000)
    )


def carries(request: Received, secret: str) -> bool:
    """Say whether a secret is anywhere in what the provider received."""
    return secret in json.dumps([request.path, dict(request.query), dict(request.headers)])


@pytest.mark.requirement("SDK-01")
@pytest.mark.parametrize(("model", "text"), [(MODEL, ANSWER), ("gpt-4o", answers.TEXT)])
def test_openai_chat(plugged: Proxy, model: str, text: str) -> None:
    with openai_client(plugged) as client:
        completion = client.chat.completions.create(model=model, messages=HI)
    assert completion.choices[0].message.content == text
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0


@pytest.mark.requirement("SDK-01")
@pytest.mark.parametrize(("model", "text"), [(MODEL, ANSWER), ("gpt-4o", answers.TEXT)])
def test_openai_stream(plugged: Proxy, model: str, text: str) -> None:
    with (
        openai_client(plugged) as client,
        client.chat.completions.create(model=model, messages=HI, stream=True) as stream,
    ):
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert len(chunks) > 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


@pytest.mark.requirement("SDK-01")
async def test_openai_asynchronous_client(plugged: Proxy) -> None:
    async with openai.AsyncOpenAI(base_url=f"{plugged.base_url}/v1", api_key=plugged.master_key) as client:
        completion = await client.chat.completions.create(model="gpt-4o", messages=HI)
    assert completion.choices[0].message.content == answers.TEXT


@pytest.mark.requirement("SDK-01")
def test_openai_embeddings_models_and_more(plugged: Proxy) -> None:
    with openai_client(plugged) as client:
        embedding = client.embeddings.create(model="text-embedding-3-small", input="hi", encoding_format="float")
        models = [model.id for model in client.models.list()]
        response = client.responses.create(model="gpt-4o", input="hi")
        verdict = client.moderations.create(model="omni-moderation-latest", input="hi")
        speech = client.audio.speech.create(model="tts-1", voice="alloy", input="hi").content
        picture = client.images.generate(model="gpt-image-1", prompt="hi")
        file = client.files.create(file=("a.txt", b"hi"), purpose="assistants")
    assert tuple(embedding.data[0].embedding) == answers.VECTOR
    assert {MODEL, "gpt-4o", "text-embedding-3-small"} <= set(models)
    assert response.output_text == answers.TEXT
    assert verdict.results[0].flagged is False
    assert speech == answers.AUDIO
    assert picture.data is not None
    assert picture.data[0].b64_json
    assert file.id


@pytest.mark.requirement("SDK-01")
def test_openai_errors_are_those_of_the_sdk(plugged: Proxy) -> None:
    with openai_client(plugged) as client, pytest.raises(openai.BadRequestError, match="no-such-model"):
        client.chat.completions.create(model="no-such-model", messages=HI)
    with openai_client(plugged, UNKNOWN) as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model=MODEL, messages=HI)
    with openai_client(plugged, USER_KEY) as client:
        assert client.chat.completions.create(model=MODEL, messages=HI).choices[0].message.content == ANSWER


@pytest.mark.requirement("SDK-02")
@pytest.mark.parametrize(("model", "text"), [(MODEL, ANSWER), ("gpt-4o", answers.TEXT), ("azure-gpt-4o", answers.TEXT)])
def test_azure_chat(plugged: Proxy, model: str, text: str) -> None:
    with azure_client(plugged) as client:
        completion = client.chat.completions.create(model=model, messages=HI)
        with client.chat.completions.create(model=model, messages=HI, stream=True) as stream:
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert completion.choices[0].message.content == text
    assert streamed == text


@pytest.mark.requirement("SDK-02")
def test_azure_embeddings_and_errors(plugged: Proxy) -> None:
    with azure_client(plugged) as client:
        embedding = client.embeddings.create(model="text-embedding-3-small", input="hi", encoding_format="float")
    assert tuple(embedding.data[0].embedding) == answers.VECTOR
    with azure_client(plugged, UNKNOWN) as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model=MODEL, messages=HI)


@pytest.mark.requirement("SDK-03")
@pytest.mark.parametrize(("path", "model"), [("", "claude"), ("/anthropic", CLAUDE)], ids=["own", "pass-through"])
def test_anthropic_messages(plugged: Proxy, provider: FakeProvider, path: str, model: str) -> None:
    with anthropic_client(plugged, path) as client:
        message = client.messages.create(model=model, max_tokens=16, messages=[{"role": "user", "content": "hi"}])
        with client.messages.stream(model=model, max_tokens=16, messages=[{"role": "user", "content": "hi"}]) as stream:
            streamed = stream.get_final_text()
    assert isinstance(message.content[0], TextBlock)
    assert message.content[0].text == answers.TEXT
    assert message.usage.output_tokens > 0
    assert streamed == answers.TEXT
    upstream = provider.last("/v1/messages")
    assert upstream.headers["x-api-key"] == ("upstream-anthropic" if path else "upstream-model")
    assert not carries(upstream, plugged.master_key)


@pytest.mark.requirement("SDK-03")
@pytest.mark.parametrize("path", ["", "/anthropic"], ids=["own", "pass-through"])
def test_anthropic_refuses_an_unknown_key(plugged: Proxy, path: str) -> None:
    with anthropic_client(plugged, path, UNKNOWN) as client, pytest.raises(anthropic.AuthenticationError):
        client.messages.create(model="claude", max_tokens=16, messages=[{"role": "user", "content": "hi"}])


@pytest.mark.requirement("SDK-04")
def test_google_content(plugged: Proxy, provider: FakeProvider) -> None:
    with genai_client(plugged) as client:
        content = client.models.generate_content(model=GEMINI, contents="hi")
        upstream = provider.last(f"/models/{GEMINI}:generateContent")
        chunks = list(client.models.generate_content_stream(model=GEMINI, contents="hi"))
        counted = client.models.count_tokens(model=GEMINI, contents="hi")
    assert content.text == answers.TEXT
    assert content.usage_metadata is not None
    assert content.usage_metadata.total_token_count == 8
    assert "".join(chunk.text or "" for chunk in chunks) == answers.TEXT
    assert counted.total_tokens == 3
    assert upstream.query["key"] == "upstream-gemini"


@pytest.mark.requirement("SDK-04")
def test_google_refuses_an_unknown_key(plugged: Proxy) -> None:
    with genai_client(plugged, UNKNOWN) as client, pytest.raises(genai_errors.ClientError) as refused:
        client.models.generate_content(model=GEMINI, contents="hi")
    assert refused.value.code == 401


LITELLM_USER: Final = """
import asyncio, json, sys
import litellm

url, key, mocked = sys.argv[1:]
hi = [{"role": "user", "content": "hi"}]
proxy = {"api_base": url, "api_key": key}

async def asynchronous():
    answer = await litellm.acompletion(model=f"litellm_proxy/{mocked}", messages=hi, **proxy)
    return answer.choices[0].message.content

def text(model):
    return litellm.completion(model=model, messages=hi, **proxy).choices[0].message.content

def streamed():
    chunks = litellm.completion(model="litellm_proxy/gpt-4o", messages=hi, stream=True, **proxy)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

def refusal():
    try:
        litellm.completion(model="litellm_proxy/gpt-4o", messages=hi, api_base=url, api_key="sk-nobody-knows-this-key")
    except litellm.AuthenticationError as error:
        return error.status_code

router = litellm.Router([{"model_name": "r", "litellm_params": {"model": f"litellm_proxy/{mocked}", **proxy}}])
print("result: " + json.dumps({
    "asynchronous": asyncio.run(asynchronous()),
    "proxied": text("litellm_proxy/gpt-4o"),
    "as_openai": text(f"openai/{mocked}"),
    "streamed": streamed(),
    "router": router.completion("r", messages=hi).choices[0].message.content,
    "vector": litellm.embedding("litellm_proxy/text-embedding-3-small", input=["hi"], **proxy).data[0]["embedding"],
    "refusal": refusal(),
}))
"""
"""A program of a LiteLLM user; a process of its own, because importing LiteLLM changes the process that does."""


@pytest.mark.requirement("SDK-07")
def test_the_litellm_sdk(plugged: Proxy) -> None:
    assert as_litellm_user(plugged) == {
        "asynchronous": ANSWER,
        "proxied": answers.TEXT,
        "as_openai": ANSWER,
        "streamed": answers.TEXT,
        "router": ANSWER,
        "vector": list(answers.VECTOR),
        "refusal": 401,
    }


def as_litellm_user(proxy: Proxy) -> Mapping[str, Any]:
    """Run the program above and return what it saw."""
    environment = processes.clean_environment({"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(proxy.workdir)})
    done = subprocess.run(
        [sys.executable, "-c", LITELLM_USER, f"{proxy.base_url}/v1", proxy.master_key, MODEL],
        cwd=proxy.workdir,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    results = [line for line in done.stdout.splitlines() if line.startswith("result: ")]
    assert len(results) == 1, done.stdout + done.stderr
    return dict(json.loads(results[0].removeprefix("result: ")))
