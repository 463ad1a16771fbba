"""responses of the official `openai` Python package, against models of four wire formats."""

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

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "name": "look_up", "description": "d", "parameters": PARAMETERS, "strict": True}]

client = OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)


class Weather(BaseModel):
    city: str
    degrees: float


def create(provider, **fields):
    return client.responses.create(model=MODELS[provider], **{"input": "Say something.", **fields})


def text(provider):
    script(provider, chunks=["Hello", ", ", "w\u00f6rld \U0001f600"], prompt_tokens=7, completion_tokens=5)
    answer = create(provider, instructions="Be wordless.")
    assert answer.output_text == "Hello, w\u00f6rld \U0001f600" and answer.status == "completed"
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (7, 5, 12)
    check_note(answer.model_extra, provider)
    body = calls()[0]["body"]
    assert "Be wordless." in body and "Say something." in body, body


def stream_events(provider):
    script(provider, chunks=["a", "b\u2028", "\U0001f600"], prompt_tokens=9, completion_tokens=4, split_bytes=7)
    kinds, told, numbers = [], "", []
    with client.responses.stream(model=MODELS[provider], input="Say something.") as stream:
        for event in stream:
            kinds.append(event.type)
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                told += event.delta
        final = stream.get_final_response()
    assert told == "ab\u2028\U0001f600" == final.output_text, told
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    for kind in ("output_item.added", "content_part.added", "output_text.done", "output_item.done"):
        assert f"response.{kind}" in kinds, kinds
    assert numbers == sorted(set(numbers)), numbers
    assert (final.usage.input_tokens, final.usage.output_tokens) == (9, 4)


def tools_over_two_steps(provider):
    script(provider, chunks=[], tool_calls=[tool_call()])
    first = create(provider, tools=TOOLS)
    called = [item for item in first.output if item.type == "function_call"]
    assert [(item.name, item.arguments) for item in called] == [("look_up", ARGUMENTS)], first.output
    script(provider, chunks=["Sunny."])
    result = {"type": "function_call_output", "call_id": called[0].call_id, "output": "27 degrees"}
    asked = [{"role": "user", "content": "Say something."}, *first.output, result]
    assert create(provider, tools=TOOLS, input=asked).output_text == "Sunny."
    sent = calls()[1]
    assert "27 degrees" in sent["body"] and sent_arguments(provider, sent), sent["body"]


def tools_streamed(provider):
    script(provider, chunks=["Both."], tool_calls=[tool_call(1), tool_call(2, "{}")])
    arguments = {}
    with client.responses.stream(model=MODELS[provider], input="Say something.", tools=TOOLS) as stream:
        for event in stream:
            if event.type == "response.function_call_arguments.delta":
                arguments[event.output_index] = arguments.get(event.output_index, "") + event.delta
        final = stream.get_final_response()
    called = [item.arguments for item in final.output if item.type == "function_call"]
    assert called == [ARGUMENTS, "{}"] and final.output_text == "Both.", final.output
    assert [arguments[index] for index in sorted(arguments)] == called, arguments


def structured_output(provider):
    script(provider, chunks=WEATHER)
    answer = client.responses.parse(model=MODELS[provider], input="Say something.", text_format=Weather)
    assert answer.output_parsed == Weather(city="Oslo", degrees=-3.5)
    assert '"degrees"' in calls()[0]["body"], "the schema was not sent"


def image_in(provider):
    script(provider, chunks=["A dot."])
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{DOT}", "detail": "auto"}
    content = [{"type": "input_text", "text": "What is it?"}, image]
    assert create(provider, input=[{"role": "user", "content": content}]).output_text == "A dot."
    body = calls()[0]["body"]
    assert DOT in body and "image/png" in body, body


def a_bad_request(provider):
    script(provider, status=400)
    error = raises(openai.BadRequestError, lambda: create(provider))
    assert error.status_code == 400 and "as scripted" in error.message, error.body


def a_failure_in_a_stream(provider):
    script(provider, chunks=["a", "b", "c", "d"], error_after=2)
    seen = []

    def read():
        for event in create(provider, stream=True):
            if event.type == "response.output_text.delta":
                seen.append(event.delta)
            assert event.type != "response.completed", "a failed answer is told as a whole one"
            if event.type in ("response.failed", "error"):
                raise openai.APIError("failed", request=None, body=None)

    raises(openai.APIError, read)
    assert "".join(seen) == "ab", seen


run(
    f"openai {openai.__version__} responses",
    on_each(
        text,
        stream_events,
        tools_over_two_steps,
        tools_streamed,
        structured_output,
        image_in,
        a_bad_request,
        a_failure_in_a_stream,
    ),
)
