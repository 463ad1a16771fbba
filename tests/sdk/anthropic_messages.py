"""messages of the official `anthropic` Python package, against models of four wire formats."""

import json

import anthropic
from anthropic import Anthropic

from harness import (
    API_KEY,
    DOT,
    MODELS,
    ROOT_URL,
    WEATHER,
    calls,
    check_note,
    on_each,
    once,
    raises,
    run,
    script,
    tool_call,
)

ASK = [{"role": "user", "content": "Say something."}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "number"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
TOOLS = [{"name": "look_up", "description": "d", "input_schema": SCHEMA}]
INPUT = {"city": "S\u00e3o Paulo", "degrees": 12345678901234567890}
ARGUMENTS = '{"city":"S\\u00e3o Paulo", "degrees" :12345678901234567890}'

client = Anthropic(base_url=ROOT_URL, api_key=API_KEY, max_retries=0)


def asked(provider, **fields):
    return {"model": MODELS[provider], "max_tokens": 2048, "messages": ASK, **fields}


def create(provider, **fields):
    return client.messages.create(**asked(provider, **fields))


def told(message):
    return "".join(block.text for block in message.content if block.type == "text")


def used(message):
    return [block for block in message.content if block.type == "tool_use"]


def text(provider):
    script(provider, chunks=["Hello", ", ", "w\u00f6rld \U0001f600"], prompt_tokens=7, completion_tokens=5)
    message = create(provider, system="Be wordless.")
    assert [block.type for block in message.content] == ["text"], message.content
    assert told(message) == "Hello, w\u00f6rld \U0001f600"
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 5)
    check_note(message.model_extra, provider)
    body = calls()[0]["body"]
    assert "Be wordless." in body and "Say something." in body, body


def system_blocks(provider):
    script(provider)
    cached = {"type": "text", "text": "Second rule.", "cache_control": {"type": "ephemeral"}}
    create(provider, system=[{"type": "text", "text": "First rule."}, cached])
    body = calls()[0]["body"]
    assert "First rule." in body and "Second rule." in body, body
    assert ("cache_control" in body) is (provider == "anthropic"), body


def the_stream_helper(provider):
    script(provider, chunks=["a\u2028", "b", "\U0001f600"], prompt_tokens=9, completion_tokens=4, split_bytes=7)
    with client.messages.stream(**asked(provider)) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == "a\u2028b\U0001f600" == told(final), pieces
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (9, 4), final.usage


def raw_events(provider):
    script(provider, chunks=["a", "b"])
    kinds = [event.type for event in create(provider, stream=True) if event.type != "ping"]
    assert kinds[:2] == ["message_start", "content_block_start"], kinds
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"], kinds
    assert set(kinds[2:-3]) == {"content_block_delta"}, kinds


def tools_over_two_steps(provider):
    script(provider, chunks=["I look."], tool_calls=[tool_call(1, ARGUMENTS)])
    first = create(provider, tools=TOOLS, tool_choice={"type": "auto"})
    assert first.stop_reason == "tool_use" and told(first) == "I look."
    (use,) = used(first)
    assert use.name == "look_up" and use.input == INPUT, use
    script(provider, chunks=["Sunny."])
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "27 degrees"}]}
    turns = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    assert told(create(provider, tools=TOOLS, messages=turns)) == "Sunny."
    body = calls()[1]["body"]
    assert "27 degrees" in body and "12345678901234567890" in body, body


def parallel_tools(provider):
    script(provider, chunks=[], tool_calls=[tool_call(1, ARGUMENTS), tool_call(2, '{"city":"Oslo"}')])
    first = create(provider, tools=TOOLS)
    assert [use.input for use in used(first)] == [INPUT, {"city": "Oslo"}], first.content
    assert len({use.id for use in used(first)}) == 2
    script(provider, chunks=["Done."])
    results = [
        {"type": "tool_result", "tool_use_id": used(first)[0].id, "content": "result 0"},
        {"type": "tool_result", "tool_use_id": used(first)[1].id, "content": "result 1", "is_error": True},
    ]
    turns = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    assert told(create(provider, tools=TOOLS, messages=turns)) == "Done."
    body = calls()[1]["body"]
    assert "result 0" in body and "result 1" in body, body


def tools_streamed(provider):
    script(provider, chunks=["Both."], tool_calls=[tool_call(1, ARGUMENTS), tool_call(2, "{}")])
    parts = {}
    with client.messages.stream(**asked(provider, tools=TOOLS)) as stream:
        for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                parts[event.index] = parts.get(event.index, "") + event.delta.partial_json
        final = stream.get_final_message()
    assert [use.input for use in used(final)] == [INPUT, {}] and told(final) == "Both.", final.content
    assert final.stop_reason == "tool_use"
    assert parts[min(parts)] == ARGUMENTS, parts


def image_in(provider):
    script(provider, chunks=["A dot."])
    source = {"type": "base64", "media_type": "image/png", "data": DOT}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    assert told(create(provider, messages=[{"role": "user", "content": content}])) == "A dot."
    body = calls()[0]["body"]
    assert DOT in body and "image/png" in body and "What is it?" in body, body


THINKING = {"type": "enabled", "budget_tokens": 1024}


def thoughts(provider):
    """OpenAI keeps its thoughts to itself."""
    return {} if provider == "openai" else {"reasoning": ["Let me", " see."]}


def thinking(provider):
    script(provider, chunks=["A dot."], **thoughts(provider))
    message = create(provider, thinking=THINKING)
    thought = "".join(block.thinking for block in message.content if block.type == "thinking")
    assert thought == "".join(thoughts(provider).get("reasoning", [])), message.content
    assert told(message) == "A dot."
    script(provider, chunks=["A dot."], **thoughts(provider))
    with client.messages.stream(**asked(provider, thinking=THINKING)) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == [block.type for block in message.content], final.content


def thinking_is_given_back_with_the_tools(provider):
    script(provider, chunks=[], tool_calls=[tool_call(1, ARGUMENTS)], **thoughts(provider))
    first = create(provider, thinking=THINKING, tools=TOOLS)
    (use,) = used(first)
    script(provider, chunks=["Sunny."])
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "27 degrees"}
    turns = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    assert told(create(provider, thinking=THINKING, tools=TOOLS, messages=turns)) == "Sunny."


def structured_output(provider):
    script(provider, chunks=WEATHER)
    message = create(provider, output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert json.loads(told(message)) == {"city": "Oslo", "degrees": -3.5}
    assert '"degrees"' in calls()[0]["body"], "the schema was not sent"


def tokens_are_counted(provider):
    script(provider, prompt_tokens=33)
    counted = client.messages.count_tokens(model=MODELS[provider], messages=ASK, system="Be wordless.")
    assert counted.input_tokens > 0, counted


def a_bad_request(provider):
    script(provider, status=400)
    error = raises(anthropic.BadRequestError, lambda: create(provider))
    assert error.body["type"] == "error" and error.body["error"]["type"] == "invalid_request_error", error.body
    assert "as scripted" in error.body["error"]["message"], error.body
    error = raises(anthropic.BadRequestError, lambda: create(provider, messages=7))
    assert error.body["error"]["type"] == "invalid_request_error" and len(calls()) == 1, error.body


def a_rate_limit(provider):
    script(provider, status=429, headers=[["retry-after", "17"]])
    error = raises(anthropic.RateLimitError, lambda: create(provider))
    assert error.response.headers["retry-after"] == "17", dict(error.response.headers)
    assert error.body["error"]["type"] == "rate_limit_error" and len(calls()) == 1, error.body


def a_failure_in_a_stream(provider):
    script(provider, chunks=["a", "b", "c", "d"], error_after=2)
    seen = []

    def read():
        with client.messages.stream(**asked(provider)) as stream:
            seen.extend(stream.text_stream)

    raises(anthropic.APIError, read)
    assert "".join(seen) == "ab", seen


def models_are_listed_and_found():
    listed = {model.id: model for model in client.models.list(limit=1000)}
    for model in MODELS.values():
        assert listed[model].type == "model", sorted(listed)
        found = client.models.retrieve(model)
        assert found.id == model and found.display_name and found.created_at, found


def an_unknown_model_is_not_found():
    error = raises(anthropic.NotFoundError, lambda: client.models.retrieve("anthropic/no-such-model"))
    assert error.body["error"]["type"] == "not_found_error", error.body
    error = raises(anthropic.NotFoundError, lambda: client.messages.create(**{**asked("openai"), "model": "no-such-model"}))
    assert error.body["error"]["type"] == "not_found_error" and calls() == [], error.body


def a_wrong_key_is_an_authentication_error():
    wrong = Anthropic(base_url=ROOT_URL, api_key=API_KEY[:-1] + ("a" if API_KEY[-1] != "a" else "b"), max_retries=0)
    error = raises(anthropic.AuthenticationError, lambda: wrong.messages.create(**asked("anthropic")))
    assert error.body["error"]["type"] == "authentication_error" and calls() == [], error.body


run(
    f"anthropic {anthropic.__version__} messages",
    on_each(
        text,
        system_blocks,
        the_stream_helper,
        raw_events,
        tools_over_two_steps,
        parallel_tools,
        tools_streamed,
        image_in,
        thinking,
        thinking_is_given_back_with_the_tools,
        structured_output,
        tokens_are_counted,
        a_bad_request,
        a_rate_limit,
        a_failure_in_a_stream,
    )
    + once(models_are_listed_and_found, an_unknown_model_is_not_found, a_wrong_key_is_an_authentication_error),
)
