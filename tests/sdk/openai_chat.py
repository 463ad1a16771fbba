"""chat.completions of the official `openai` Python package, against models of four wire formats."""

import openai
from openai import OpenAI
from pydantic import BaseModel

from harness import (
    API_KEY,
    ARGUMENTS,
    BASE_URL,
    DOT,
    MODELS,
    WEATHER,
    calls,
    check_note,
    on_each,
    raises,
    run,
    script,
    sent_arguments,
    tool_call,
)

ASK = [{"role": "user", "content": "Say something."}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "d", "parameters": PARAMETERS}}]

client = OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)


class Weather(BaseModel):
    city: str
    degrees: float


def create(provider, **fields):
    return client.chat.completions.create(model=MODELS[provider], **{"messages": ASK, **fields})


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


def text(provider):
    script(provider, chunks=["Hello", ", ", "w\u00f6rld \U0001f600"], prompt_tokens=7, completion_tokens=5)
    answer = create(provider)
    assert answer.choices[0].message.content == "Hello, w\u00f6rld \U0001f600"
    assert answer.choices[0].message.role == "assistant" and answer.object == "chat.completion"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 5, 12)
    check_note(answer.model_extra, provider)
    assert answer._request_id, "x-request-id"


def a_system_message(provider):
    script(provider)
    create(provider, messages=[{"role": "system", "content": "Be wordless."}, *ASK])
    (call,) = calls()
    assert "Be wordless." in call["body"] and "Say something." in call["body"], call["body"]


def stream_with_usage(provider):
    script(provider, chunks=["a\u2028", "b", "\U0001f600"], prompt_tokens=9, completion_tokens=4, split_bytes=7)
    _, told, chunks = gathered(create(provider, stream=True, stream_options={"include_usage": True}))
    assert told == "a\u2028b\U0001f600"
    empty = [chunk for chunk in chunks if not chunk.choices]
    assert len(empty) == 1 and empty[0] is chunks[-1]
    assert (empty[0].usage.prompt_tokens, empty[0].usage.completion_tokens) == (9, 4)
    assert chunks[-2].choices[0].finish_reason == "stop"
    check_note(empty[0].model_extra, provider)


def stream_without_usage(provider):
    script(provider, chunks=["a", "b", "c"])
    _, told, chunks = gathered(create(provider, stream=True))
    assert told == "abc" and all(len(chunk.choices) == 1 for chunk in chunks), chunks
    check_note(chunks[-1].model_extra, provider)


def tools_over_two_steps(provider):
    script(provider, chunks=[], tool_calls=[tool_call()])
    first = create(provider, tools=TOOLS, tool_choice="auto")
    assert first.choices[0].finish_reason == "tool_calls"
    message = first.choices[0].message
    (call,) = message.tool_calls
    assert call.type == "function" and call.function.name == "look_up"
    assert call.function.arguments == ARGUMENTS, call.function.arguments
    script(provider, chunks=["Sunny."])
    result = {"role": "tool", "tool_call_id": call.id, "content": "27 degrees"}
    second = create(provider, tools=TOOLS, messages=[*ASK, message, result])
    assert second.choices[0].message.content == "Sunny."
    sent = calls()[1]
    assert "27 degrees" in sent["body"] and sent_arguments(provider, sent), sent["body"]


def parallel_tools(provider):
    script(provider, chunks=["Both."], tool_calls=[tool_call(1), tool_call(2, '{"city":"Oslo"}')])
    message = create(provider, tools=TOOLS).choices[0].message
    assert message.content == "Both."
    assert [call.function.arguments for call in message.tool_calls] == [ARGUMENTS, '{"city":"Oslo"}']
    script(provider, chunks=["Done."])
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"result {index}"}
        for index, call in enumerate(message.tool_calls)
    ]
    assert create(provider, tools=TOOLS, messages=[*ASK, message, *results]).choices[0].message.content == "Done."
    body = calls()[1]["body"]
    assert "result 0" in body and "result 1" in body, body


def tools_streamed(provider):
    script(provider, chunks=["Both."], tool_calls=[tool_call(1), tool_call(2, "{}")])
    arguments, told, chunks = gathered(create(provider, tools=TOOLS, stream=True))
    assert arguments == {0: ARGUMENTS, 1: "{}"} and told == "Both.", arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    script(provider, chunks=[], tool_calls=[tool_call()])
    with client.chat.completions.stream(model=MODELS[provider], messages=ASK, tools=TOOLS) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == ARGUMENTS


def structured_output(provider):
    script(provider, chunks=WEATHER)
    answer = client.chat.completions.parse(model=MODELS[provider], messages=ASK, response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="Oslo", degrees=-3.5)
    assert '"degrees"' in calls()[0]["body"], "the schema was not sent"
    script(provider, chunks=WEATHER)
    with client.chat.completions.stream(model=MODELS[provider], messages=ASK, response_format=Weather) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == Weather(city="Oslo", degrees=-3.5)


def image_in(provider):
    script(provider, chunks=["A dot."])
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DOT}"}}
    content = [{"type": "text", "text": "What is it?"}, image]
    answer = create(provider, messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content == "A dot."
    body = calls()[0]["body"]
    assert DOT in body and "image/png" in body and "What is it?" in body, body


def a_bad_request(provider):
    script(provider, status=400)
    error = raises(openai.BadRequestError, lambda: create(provider))
    assert error.status_code == 400 and "as scripted" in error.message, error.body
    error = raises(openai.BadRequestError, lambda: create(provider, messages=7))
    assert error.code == "invalid_request" and len(calls()) == 1, error.body


def a_rate_limit(provider):
    script(provider, status=429, headers=[["retry-after", "17"]])
    error = raises(openai.RateLimitError, lambda: create(provider))
    assert error.response.headers["retry-after"] == "17", dict(error.response.headers)
    assert isinstance(error.body["message"], str) and len(calls()) == 1, error.body


def a_failure_in_a_stream(provider):
    script(provider, chunks=["a", "b", "c", "d"], error_after=2)
    seen = []
    stream = create(provider, stream=True)
    error = raises(openai.APIError, lambda: [seen.append(chunk.choices[0].delta.content or "") for chunk in stream])
    assert "".join(seen) == "ab" and error.body["code"] == "upstream_error", (seen, error.body)


run(
    f"openai {openai.__version__} chat",
    on_each(
        text,
        a_system_message,
        stream_with_usage,
        stream_without_usage,
        tools_over_two_steps,
        parallel_tools,
        tools_streamed,
        structured_output,
        image_in,
        a_bad_request,
        a_rate_limit,
        a_failure_in_a_stream,
    ),
)
