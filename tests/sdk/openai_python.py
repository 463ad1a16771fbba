"""The official `openai` Python package, unmodified, against a running gateway: only base_url and api_key are ours.

Run by tests/it/sdk. Takes from the environment: BASE_URL (with /v1), API_KEY, POOR_API_KEY (no credit, no own
keys), CONTROL_URL (the simulated providers), UPSTREAM_KEY (the credential the provider must see), BYOK
(true|false). Prints one line per case; exits 1 if any failed. It must never retry a case or skip one.
"""

import asyncio
import json
import os
import sys
import traceback
import urllib.request

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

BASE_URL = os.environ["BASE_URL"]
API_KEY = os.environ["API_KEY"]
POOR_API_KEY = os.environ["POOR_API_KEY"]
CONTROL_URL = os.environ["CONTROL_URL"]
UPSTREAM_KEY = os.environ["UPSTREAM_KEY"]
BYOK = os.environ["BYOK"] == "true"

MODEL = "openai/gpt-5.4-mini"
# Its tools go over the chat wire, where the answer passes unchanged.
TOOLS_MODEL = "openai/gpt-5.2"
ASK = [{"role": "user", "content": "Say something."}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {"type": "object", "properties": {"value": {"type": "string"}}},
        },
    }
]

client = OpenAI(base_url=BASE_URL, api_key=API_KEY)
once = client.with_options(max_retries=0)


def control(method, name, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{CONTROL_URL}/_simulator/{name}", data, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def script(**fields):
    control("POST", "scripts", {"provider": "openai", "script": fields})


def calls():
    return control("GET", "bill")


def same_text(left, right):
    """Equal as UTF-16, in which a pair of halves and the character they make are the same."""
    units = lambda text: text.encode("utf-16-le", "surrogatepass")
    assert units(left) == units(right), f"{left!r} is not {right!r}"


def raises(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


# Name, pieces as the provider writes them (insides of JSON strings), and what they mean.
ARGUMENTS = [
    ("a number no float can hold", ["1234567890", "1234567890"], "12345678901234567890"),
    ("a decimal that is whole", ["1", ".0"], "1.0"),
    ("an exponent", ["1e", "5"], "1e5"),
    ("an escape inside of the arguments", ['{\\"a\\":\\"\\\\u00', 'e3\\"}'], '{"a":"\\u00e3"}'),
    ("an escape of the provider's JSON", ['{\\"a\\":\\"\\u00e3', '\\"}'], '{"a":"\u00e3"}'),
    ("odd spaces", ['{ \\"a\\" :\\t1.0 ,', '  \\"b\\":\\n\\n1e5 }'], '{ "a" :\t1.0 ,  "b":\n\n1e5 }'),
    ("a surrogate pair over two chunks", ['{\\"a\\":\\"\\ud83d', '\\ude00\\"}'], '{"a":"\U0001f600"}'),
    ("a raw line separator", ['{\\"a\\":\\"x\u2028', 'y\u0085z\\"}'], '{"a":"x\u2028y\u0085z"}'),
    ("the empty string", [""], ""),
    ("null", ["null"], "null"),
]


def call_script(*pieces):
    return [{"id": f"call_{i}", "name": "look_up", "pieces": part} for i, part in enumerate(pieces)]


def gathered(stream):
    """The arguments of each streamed call, the text, and all chunks."""
    arguments, text, chunks = {}, "", []
    for chunk in stream:
        chunks.append(chunk)
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    return arguments, text, chunks


def check_note(extra, streamed=False):
    note = extra["x_kairosroute"]
    assert note["provider"] == "OpenAI", note
    assert note["byok"] is BYOK, note
    assert note["receipt_id"].startswith("rcpt_"), note
    assert note["provider_cost_usd"] > 0, note
    if BYOK:
        assert note["charged_usd"] == 0 and note["cost_usd"] == 0, note
    else:
        assert note["charged_usd"] > note["provider_cost_usd"], note
        assert note["cost_usd"] == note["charged_usd"], note
    return note


def chat_text_and_the_extra_field():
    script(chunks=["Hello", ", ", "w\u00f6rld \U0001f600"], prompt_tokens=7, completion_tokens=5)
    answer = client.chat.completions.create(model=MODEL, messages=ASK)
    assert answer.choices[0].message.content == "Hello, w\u00f6rld \U0001f600"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 5)
    check_note(answer.model_extra)
    assert answer._request_id, "x-request-id"


def headers_by_with_raw_response():
    script()
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK)
    headers = raw.headers
    assert headers["x-kairosroute-byok"] == ("true" if BYOK else "false"), headers
    assert headers["x-kairosroute-provider"] == "OpenAI"
    assert headers["x-kairosroute-model"] == "gpt-5.4-mini"
    assert headers["x-kairosroute-attempts"] == "1"
    assert headers["x-kairosroute-cache"] == "off"
    assert "x-kairosroute-cost" in headers and "x-request-id" in headers
    note = check_note(raw.parse().model_extra)
    assert headers["x-kairosroute-receipt"] == note["receipt_id"]


def the_provider_sees_its_own_credential_and_nothing_of_ours():
    control("POST", "clear")
    client.chat.completions.create(model=MODEL, messages=ASK, user="u", seed=3, extra_body={"metadata": {"a": "b"}})
    (call,) = calls()
    assert call["authorization"] == UPSTREAM_KEY, call["authorization"]
    assert call["leaked"] == [], call["leaked"]
    assert API_KEY not in json.dumps(call)
    body = json.loads(call["body"])
    assert body["model"] == "gpt-5.4-mini" and body["metadata"] == {"a": "b"} and body["seed"] == 3


def stream_without_usage_has_no_empty_choices():
    script(chunks=["a", "b", "c"])
    _, text, chunks = gathered(client.chat.completions.create(model=MODEL, messages=ASK, stream=True))
    assert text == "abc"
    assert all(len(chunk.choices) == 1 for chunk in chunks), chunks
    assert all(chunk.usage is None for chunk in chunks), "usage that nobody asked for"
    noted = [chunk for chunk in chunks if "x_kairosroute" in (chunk.model_extra or {})]
    assert len(noted) == 1 and noted[0] is chunks[-1]
    assert noted[0].choices[0].finish_reason == "stop"
    check_note(noted[0].model_extra)


def stream_with_usage_has_one_chunk_of_it():
    script(chunks=["a", "b"], prompt_tokens=9, completion_tokens=4)
    asked = client.chat.completions.create(
        model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    _, text, chunks = gathered(asked)
    assert text == "ab"
    empty = [chunk for chunk in chunks if not chunk.choices]
    assert len(empty) == 1 and empty[0] is chunks[-1]
    assert (empty[0].usage.prompt_tokens, empty[0].usage.completion_tokens) == (9, 4)
    check_note(empty[0].model_extra)


def tool_arguments_unary():
    for name, pieces, meaning in ARGUMENTS:
        script(chunks=[], tool_calls=call_script(pieces))
        answer = client.chat.completions.create(model=TOOLS_MODEL, messages=ASK, tools=TOOLS)
        (call,) = answer.choices[0].message.tool_calls
        assert call.id == "call_0" and call.function.name == "look_up", name
        same_text(call.function.arguments, meaning)
        assert answer.choices[0].finish_reason == "tool_calls"


def tool_arguments_streamed():
    for name, pieces, meaning in ARGUMENTS:
        for split in (None, 7):
            script(chunks=[], tool_calls=call_script(pieces), split_bytes=split)
            stream = client.chat.completions.create(model=TOOLS_MODEL, messages=ASK, tools=TOOLS, stream=True)
            arguments, _, chunks = gathered(stream)
            assert list(arguments) == [0], name
            same_text(arguments[0], meaning)
            check_note(chunks[-1].model_extra)


def parallel_tool_calls_both_ways():
    every = [pieces for _, pieces, _ in ARGUMENTS]
    script(chunks=[], tool_calls=call_script(*every))
    answer = client.chat.completions.create(model=TOOLS_MODEL, messages=ASK, tools=TOOLS)
    for call, (_, _, meaning) in zip(answer.choices[0].message.tool_calls, ARGUMENTS, strict=True):
        same_text(call.function.arguments, meaning)
    script(chunks=[], tool_calls=call_script(*every))
    arguments, _, _ = gathered(client.chat.completions.create(model=TOOLS_MODEL, messages=ASK, tools=TOOLS, stream=True))
    assert sorted(arguments) == list(range(len(ARGUMENTS)))
    for index, (_, _, meaning) in enumerate(ARGUMENTS):
        same_text(arguments[index], meaning)


def separators_of_lines_are_never_raw_in_a_stream():
    script(chunks=["one\u2028two", "\u2029three\u0085four"])
    asked = client.chat.completions.with_streaming_response.create(model=MODEL, messages=ASK, stream=True)
    with asked as response:
        wire = response.read().decode()
    assert not any(mark in wire for mark in "\u2028\u2029\u0085"), "a client that splits by them loses the chunk"
    script(chunks=["one\u2028two", "\u2029three\u0085four"])
    _, text, _ = gathered(client.chat.completions.create(model=MODEL, messages=ASK, stream=True))
    assert text == "one\u2028two\u2029three\u0085four"


def the_stream_helper():
    script(chunks=["x", "y", "z"], prompt_tokens=3, completion_tokens=3)
    with client.chat.completions.stream(model=MODEL, messages=ASK, stream_options={"include_usage": True}) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert text == "xyz" and final.choices[0].message.content == "xyz"
    assert final.usage.completion_tokens == 3
    script(chunks=[], tool_calls=call_script(['{\\"value\\":', '\\"1.0\\"}']))
    with client.chat.completions.stream(model=TOOLS_MODEL, messages=ASK, tools=TOOLS) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"value":"1.0"}'


class Weather(BaseModel):
    city: str
    degrees: float


def parse_with_a_json_schema():
    control("POST", "clear")
    script(chunks=['{"city":', '"Oslo","degrees":-3.5}'])
    answer = client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="Oslo", degrees=-3.5)
    asked = json.loads(calls()[0]["body"])["response_format"]
    assert asked["type"] == "json_schema" and asked["json_schema"]["strict"] is True, asked
    assert asked["json_schema"]["schema"]["additionalProperties"] is False, asked
    script(chunks=['{"city":', '"Oslo","degrees":-3.5}'])
    with client.chat.completions.stream(model=MODEL, messages=ASK, response_format=Weather) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed.city == "Oslo"


def several_choices():
    script(chunks=["p", "q"])
    answer = client.chat.completions.create(model=MODEL, messages=ASK, n=3)
    assert [choice.message.content for choice in answer.choices] == ["pq"] * 3
    script(chunks=["p", "q"])
    texts, noted = {}, 0
    for chunk in client.chat.completions.create(model=MODEL, messages=ASK, n=3, stream=True):
        noted += "x_kairosroute" in (chunk.model_extra or {})
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert texts == {0: "pq", 1: "pq", 2: "pq"} and noted == 1, (texts, noted)


def models_are_listed_and_found_by_an_id_with_a_slash():
    listed = {model.id for model in client.models.list()}
    assert MODEL in listed, sorted(listed)[:5]
    assert client.models.retrieve(MODEL).id == MODEL
    error = raises(openai.NotFoundError, lambda: once.models.retrieve("openai/no-such-model"))
    assert error.code == "model_not_found", error.body


def a_wrong_key_is_an_authentication_error():
    wrong = OpenAI(base_url=BASE_URL, api_key=API_KEY[:-1] + ("a" if API_KEY[-1] != "a" else "b"), max_retries=0)
    error = raises(
        openai.AuthenticationError, lambda: wrong.chat.completions.create(model=MODEL, messages=ASK)
    )
    assert error.status_code == 401 and error.code == "invalid_api_key", error.body
    assert API_KEY[3:20] not in str(error)


def a_rate_limit_is_raised_with_its_wait():
    control("POST", "clear")
    script(status=429, headers=[["retry-after", "17"]])
    error = raises(openai.RateLimitError, lambda: once.chat.completions.create(model=MODEL, messages=ASK))
    assert error.status_code == 429
    assert error.response.headers["retry-after"] == "17", dict(error.response.headers)
    assert isinstance(error.body["message"], str) and len(calls()) == 1


def what_the_gateway_has_retried_the_sdk_does_not_retry_again():
    control("POST", "clear")
    for _ in range(9):
        script(status=503)
    error = raises(
        openai.InternalServerError, lambda: client.chat.completions.create(model=MODEL, messages=ASK)
    )
    assert error.status_code == 503, error
    assert error.response.headers["x-should-retry"] == "false", dict(error.response.headers)
    assert len(calls()) == 3, f"{len(calls())} calls reached the provider"
    control("POST", "clear")


def a_bad_request_keeps_the_providers_words():
    told = {"message": "the seed is not to our taste", "type": "invalid_request_error", "param": "seed", "code": None}
    script(status=400, error=json.dumps({"error": told}))
    error = raises(openai.BadRequestError, lambda: once.chat.completions.create(model=MODEL, messages=ASK, seed=9))
    assert error.status_code == 400 and "the seed is not to our taste" in error.message
    assert error.param == "seed", error.body
    error = raises(openai.BadRequestError, lambda: once.chat.completions.create(model=MODEL, messages=7))
    assert error.code == "invalid_request", error.body


def no_credit_is_a_402():
    poor = OpenAI(base_url=BASE_URL, api_key=POOR_API_KEY, max_retries=0)
    error = raises(openai.APIStatusError, lambda: poor.chat.completions.create(model="mistral/mistral-small-4", messages=ASK))
    assert error.status_code == 402 and error.code == "insufficient_credits", error.body


def a_provider_error_in_the_middle_of_a_stream_raises():
    script(chunks=["a", "b", "c", "d"], error_after=2)
    seen = []
    stream = client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
    error = raises(openai.APIError, lambda: [seen.append(chunk.choices[0].delta.content or "") for chunk in stream])
    assert "".join(seen) == "ab", seen
    assert error.body["code"] == "upstream_error", error.body


def a_stream_cut_without_a_finish_raises():
    for how in ({"cut_after": 2}, {"raw_frames": [
        'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"ab"},"finish_reason":null}]}\n\n',
        "data: [DONE]\n\n",
    ]}):
        script(**{"chunks": ["a", "b", "c", "d"], **how})
        seen = []
        stream = client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
        raises(openai.APIError, lambda: [seen.append(chunk.choices[0].delta.content or "") for chunk in stream])
        assert "".join(seen) == "ab", seen


def a_stream_that_finishes_without_the_end_mark_is_whole():
    script(chunks=["a", "b"], no_done=True)
    _, text, chunks = gathered(client.chat.completions.create(model=MODEL, messages=ASK, stream=True))
    assert text == "ab" and chunks[-1].choices[0].finish_reason == "stop"


def the_asynchronous_client():
    async def run():
        async with AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY) as waiting:
            script(chunks=["a", "b"])
            text = ""
            async for chunk in await waiting.chat.completions.create(model=MODEL, messages=ASK, stream=True):
                text += chunk.choices[0].delta.content or ""
            assert text == "ab"

    asyncio.run(run())


CASES = [
    chat_text_and_the_extra_field,
    headers_by_with_raw_response,
    the_provider_sees_its_own_credential_and_nothing_of_ours,
    stream_without_usage_has_no_empty_choices,
    stream_with_usage_has_one_chunk_of_it,
    tool_arguments_unary,
    tool_arguments_streamed,
    parallel_tool_calls_both_ways,
    separators_of_lines_are_never_raw_in_a_stream,
    the_stream_helper,
    parse_with_a_json_schema,
    several_choices,
    models_are_listed_and_found_by_an_id_with_a_slash,
    a_wrong_key_is_an_authentication_error,
    a_rate_limit_is_raised_with_its_wait,
    what_the_gateway_has_retried_the_sdk_does_not_retry_again,
    a_bad_request_keeps_the_providers_words,
    no_credit_is_a_402,
    a_provider_error_in_the_middle_of_a_stream_raises,
    a_stream_cut_without_a_finish_raises,
    a_stream_that_finishes_without_the_end_mark_is_whole,
    the_asynchronous_client,
]


def main():
    failed = 0
    for case in CASES:
        control("POST", "clear")
        try:
            case()
            print(f"ok {case.__name__}")
        except Exception:
            failed += 1
            print(f"FAILED {case.__name__}\n{traceback.format_exc()}")
    print(f"openai {openai.__version__}: {len(CASES) - failed} of {len(CASES)} passed")
    sys.exit(1 if failed else 0)


main()
