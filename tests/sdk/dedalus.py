"""Dedalus' Python package: its client, its runner with local tools, and provider keys that come with requests."""

import asyncio
import json
import os
from unittest import mock

import dedalus_labs
from dedalus_labs import AsyncDedalus, Dedalus, DedalusRunner
from pydantic import BaseModel

from harness import (
    API_KEY,
    ARGUMENTS,
    DOT,
    MODELS,
    NAMES,
    ROOT_URL,
    WEATHER,
    bring,
    calls,
    check_note,
    on_each,
    once,
    raises,
    run,
    script,
    sent_arguments,
    tool_call,
)

ASK = [{"role": "user", "content": "Hello"}]
MODEL = MODELS["openai"]
SOUND = [[255, 251, 144, 0], [13, 10, 128], [254, 1, 0]]
MCP_URL = os.environ["MCP_URL"]


class Weather(BaseModel):
    city: str
    degrees: float


client = Dedalus(base_url=ROOT_URL, api_key=API_KEY, max_retries=0)


def create(provider, **fields):
    return client.chat.completions.create(**{"model": MODELS[provider], "messages": ASK, **fields})


def chat(provider):
    script(provider, chunks=["Good", " day."], prompt_tokens=7, completion_tokens=5)
    answer = create(provider, max_tokens=20)
    assert answer.choices[0].message.content == "Good day."
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 5)
    check_note(answer.model_extra, provider)


def stream(provider):
    script(provider, chunks=["Good", " day."], comments=True)
    chunks = list(create(provider, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Good day."
    assert chunks[-1].choices[0].finish_reason == "stop"
    check_note(chunks[-1].model_extra, provider)

    async def asked():
        async with AsyncDedalus(base_url=ROOT_URL, api_key=API_KEY, max_retries=0) as other:
            script(provider, chunks=["Good", " day."])
            stream = await other.chat.completions.create(model=MODELS[provider], messages=ASK, stream=True)
            return [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert "".join(asyncio.run(asked())) == "Good day."


def structured_output(provider):
    script(provider, chunks=WEATHER)
    answer = client.chat.completions.parse(model=MODELS[provider], messages=ASK, response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="Oslo", degrees=-3.5)
    assert '"degrees"' in calls()[0]["body"], "the schema was not sent"


seen = []


def look_up(city: str, n: int, x: float, y: float) -> str:
    """Finds the weather."""
    seen.append((city, n, x, y))
    return "27 degrees"


def add(a: int, b: int) -> int:
    """Adds."""
    seen.append((a, b))
    return a + b


def the_runner_with_two_tools_over_several_steps(provider):
    seen.clear()
    script(provider, chunks=[], tool_calls=[tool_call()])
    script(provider, chunks=[], tool_calls=[{"id": "toolcall2", "name": "add", "pieces": ['{\\"a\\":42,', '\\"b\\":17}']}])
    script(provider, chunks=["Sunny and 59."])
    result = DedalusRunner(client).run(input="Both?", model=MODELS[provider], tools=[look_up, add], max_steps=5)
    assert result.final_output == "Sunny and 59." and result.steps_used == 3, result
    assert result.tools_called == ["look_up", "add"], result
    assert seen == [("São Paulo", 12345678901234567890, 1.0, 1e5), (42, 17)], seen
    first, second, third = calls()
    assert sent_arguments(provider, second) and sent_arguments(provider, third), third["body"]
    assert "27 degrees" in second["body"] and "59" in third["body"]
    for own in ("mcp_servers", "credentials"):
        assert own not in first["body"], first["body"]


def the_streaming_runner(provider):
    seen.clear()
    script(provider, chunks=[], tool_calls=[tool_call()])
    script(provider, chunks=["Sunny."])
    running = DedalusRunner(client).run(input="Weather?", model=MODELS[provider], tools=[look_up], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in running) == "Sunny."
    assert seen == [("São Paulo", 12345678901234567890, 1.0, 1e5)], seen
    # Its second request leaves out the message that made the call; the provider sees one.
    _, second = calls()
    assert "27 degrees" in second["body"] and "look_up" in second["body"], second["body"]


def three_steps(provider):
    """A server's tool and a local one, another local one, the server's again and the end."""
    seen.clear()
    tide = {"id": "toolcall8", "name": "tide", "pieces": ['{\\"port\\":', '\\"Brest\\"}']}
    script(provider, chunks=[], tool_calls=[tide])
    script(provider, chunks=[], tool_calls=[tool_call()])
    script(provider, chunks=[], tool_calls=[{"id": "toolcall2", "name": "add", "pieces": ['{\\"a\\":42,', '\\"b\\":17}']}])
    script(provider, chunks=[], tool_calls=[{**tide, "id": "toolcall9"}])
    script(provider, chunks=["Sunny,", " 59 and 7 m."])
    return {
        "input": "All of it?",
        "model": MODELS[provider],
        "tools": [look_up, add],
        "mcp_servers": [MCP_URL],
        "max_steps": 5,
    }


def check_three_steps(provider, results):
    assert seen == [("São Paulo", 12345678901234567890, 1.0, 1e5), (42, 17)], seen
    _, _, second, *_ = calls()
    # What the server said and the runner does not know is still known, and the call is as the model made it.
    assert "7 m at Brest" in second["body"] and sent_arguments(provider, second), second["body"]
    asked, told, _, again, last = (call["body"] for call in calls())
    assert '"tide"' in asked and '"look_up"' in asked and "7 m at Brest" not in asked
    assert "7 m at Brest" in told and "27 degrees" in again and "59" in again and "7 m at Brest" in last
    assert [(result["tool_name"], result["result"]) for result in results] == [("tide", "7 m at Brest")], results


def the_runner_with_two_tools_and_a_server(provider):
    result = DedalusRunner(client).run(**three_steps(provider))
    assert result.final_output == "Sunny, 59 and 7 m." and result.steps_used == 3, result
    assert result.tools_called == ["look_up", "add"], result
    check_three_steps(provider, [vars(told) for told in result.mcp_results])


def the_streaming_runner_with_two_tools_and_a_server(provider):
    chunks = list(DedalusRunner(client).run(**three_steps(provider), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Sunny, 59 and 7 m."
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == [
        "tool_calls",
        "tool_calls",
        "stop",
    ]
    check_three_steps(provider, chunks[-1].model_extra["mcp_tool_results"])


def a_client_from_the_environment():
    with mock.patch.dict(os.environ, {"DEDALUS_BASE_URL": ROOT_URL, "DEDALUS_X_API_KEY": API_KEY}):
        with Dedalus(max_retries=0) as other:
            script("openai", chunks=["Set."])
            answer = other.chat.completions.create(model=MODEL, messages=ASK)
            assert answer.choices[0].message.content == "Set."


def a_client_with_other_options():
    wrong = Dedalus(base_url=ROOT_URL, api_key="kr-wrong", max_retries=0)
    raises(dedalus_labs.AuthenticationError, lambda: wrong.models.list())
    other = wrong.with_options(api_key=API_KEY, timeout=5)
    script("openai", chunks=["Right."])
    assert other.chat.completions.create(model=MODEL, messages=ASK).choices[0].message.content == "Right."


def embeddings():
    script("openai", kinds={"vectors": ["0.25,-0.5,0.125,1"]}, prompt_tokens=6)
    answer = client.embeddings.create(model="openai/text-embedding-3-small", input="one", encoding_format="float")
    assert answer.data[0].embedding == [0.25, -0.5, 0.125, 1], answer
    check_note(answer.model_extra, "openai")


def images():
    script("openai", kinds={"images": [DOT]}, prompt_tokens=8, completion_tokens=500)
    answer = client.images.generate(model="openai/gpt-image-2", prompt="A dot.", size="1024x1024")
    assert answer.data[0].b64_json == DOT


def speech():
    script("groq", kinds={"audio": SOUND}, prompt_tokens=8)
    ask = {"model": "groq/orpheus-v1-english", "voice": "autumn", "input": "Good day.", "response_format": "wav"}
    assert client.audio.speech.create(**ask).read() == bytes(sum(SOUND, []))


def transcripts():
    recording = ("a.wav", b"RIFF\x00\xff\r\n--\r\n", "audio/wav")
    script("groq", chunks=["Guten", " Tag."], kinds={"audio_ms": 62500})
    answer = client.audio.transcriptions.create(model="groq/whisper-large-v3", file=recording)
    assert answer.text == "Guten Tag."
    script("groq", chunks=["Good", " day."], kinds={"audio_ms": 2000})
    assert client.audio.translations.create(model="groq/whisper-large-v3", file=recording).text == "Good day."


def models_are_listed_and_found():
    listed = {model.id for model in client.models.list().data}
    for model in MODELS.values():
        assert model in listed and client.models.retrieve(model).id == model
    raises(dedalus_labs.NotFoundError, lambda: client.models.retrieve("openai/never-made"))


def a_list_of_models_is_tried_in_order():
    script("openai", status=503)
    script("mistral", chunks=["Second."])
    result = DedalusRunner(client).run(input="Hello", model=[MODEL, MODELS["mistral"]])
    assert result.final_output == "Second."
    assert {call["provider"] for call in calls()} == {"openai", "mistral"}


def errors():
    script("openai", status=400)
    error = raises(dedalus_labs.BadRequestError, lambda: create("openai"))
    assert "as scripted" in error.body["detail"] and "as scripted" in error.body["error"]["message"], error.body
    script("openai", status=429, headers=[["retry-after", "17"]])
    error = raises(dedalus_labs.RateLimitError, lambda: create("openai"))
    assert error.response.headers["retry-after"] == "17"
    poor = client.with_options(api_key=os.environ["POOR_API_KEY"])
    error = raises(dedalus_labs.APIStatusError, lambda: poor.chat.completions.create(model=MODEL, messages=ASK))
    assert error.status_code == 402, error.body


def a_failure_in_a_stream():
    script("openai", chunks=["a", "b", "c", "d"], error_after=2)
    read = []
    stream = create("openai", stream=True)
    error = raises(
        dedalus_labs.APIError, lambda: [read.append(chunk.choices[0].delta.content or "") for chunk in stream]
    )
    assert "".join(read) == "ab" and "upstream_error" in json.dumps(error.body), (read, error.body)


def mine(answer, provider):
    note = answer.model_extra["x_kairosroute"]
    assert note["byok"] is True and note["charged_usd"] == 0 and note["provider"] == NAMES[provider], note
    return answer.choices[0].message


def a_key_in_the_headers():
    own = {"provider": "openai", "provider_key": bring("openai"), "provider_model": "gpt-5.4-mini"}
    with Dedalus(base_url=ROOT_URL, api_key=API_KEY, max_retries=0, **own) as other:
        script("openai", chunks=[], tool_calls=[tool_call()])
        (call,) = mine(other.chat.completions.create(model=MODEL, messages=ASK), "openai").tool_calls
        assert call.function.arguments == ARGUMENTS
        script("openai", kinds={"vectors": ["0.25"]})
        # The model of the headers converses; it is not asked for vectors.
        ask = {"model": "openai/text-embedding-3-small", "input": "one", "encoding_format": "float"}
        assert other.embeddings.create(**ask).data[0].embedding == [0.25]
        assert other.models.list().data


def a_key_from_the_environment():
    own = {"DEDALUS_PROVIDER": "anthropic", "DEDALUS_PROVIDER_KEY": bring("anthropic")}
    with mock.patch.dict(os.environ, own):
        with Dedalus(base_url=ROOT_URL, api_key=API_KEY, max_retries=0) as other:
            script("anthropic", chunks=["Mine."])
            answer = other.chat.completions.create(model=MODELS["anthropic"], messages=ASK)
            assert mine(answer, "anthropic").content == "Mine."


def another_provider_for_one_request():
    own = {"provider": "openai", "provider_key": bring("openai"), "provider_model": "gpt-5.4-mini"}
    with Dedalus(base_url=ROOT_URL, api_key=API_KEY, max_retries=0, **own) as other:
        # The client's own model stays in its header: it is not the other provider's and must not count.
        headers = {"X-Provider": "google", "X-Provider-Key": bring("google")}
        script("google", chunks=["Other."])
        ask = {"model": MODELS["google"], "messages": ASK, "extra_headers": headers}
        assert mine(other.chat.completions.create(**ask), "google").content == "Other."
        changed = other.with_options(provider="mistral", provider_key=bring("mistral"))
        script("mistral", chunks=["Changed."])
        answer = changed.chat.completions.create(model=MODELS["mistral"], messages=ASK)
        assert mine(answer, "mistral").content == "Changed."


def a_refused_key_comes_back_with_the_providers_words():
    own = {"provider": "openai", "provider_key": bring("openai")}
    with Dedalus(base_url=ROOT_URL, api_key=API_KEY, max_retries=0, **own) as other:
        script("openai", accepted_keys=["another"])
        error = raises(
            dedalus_labs.AuthenticationError, lambda: other.chat.completions.create(model=MODEL, messages=ASK)
        )
        assert error.body["error"]["metadata"]["provider"] == "OpenAI", error.body
        assert own["provider_key"] not in json.dumps(error.body) and len(calls()) == 1


def an_unknown_provider_is_refused_with_the_list():
    with Dedalus(base_url=ROOT_URL, api_key=API_KEY, max_retries=0, provider="nobody", provider_key="k") as other:
        error = raises(
            dedalus_labs.BadRequestError, lambda: other.chat.completions.create(model=MODEL, messages=ASK)
        )
        assert error.body["error"]["code"] == "unknown_provider", error.body
        assert len(error.body["error"]["supported_providers"]) == 13 and calls() == []


run(
    f"dedalus {dedalus_labs.__version__}",
    on_each(
        chat,
        stream,
        structured_output,
        the_runner_with_two_tools_over_several_steps,
        the_streaming_runner,
        the_runner_with_two_tools_and_a_server,
        the_streaming_runner_with_two_tools_and_a_server,
    )
    + once(
        a_client_from_the_environment,
        a_client_with_other_options,
        embeddings,
        images,
        speech,
        transcripts,
        models_are_listed_and_found,
        a_list_of_models_is_tried_in_order,
        errors,
        a_failure_in_a_stream,
        a_key_in_the_headers,
        a_key_from_the_environment,
        another_provider_for_one_request,
        a_refused_key_comes_back_with_the_providers_words,
        an_unknown_provider_is_refused_with_the_list,
    ),
)
