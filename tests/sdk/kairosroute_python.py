"""KairosRoute's own Python package: what it publishes, against the gateway."""

import os
from unittest import mock

import kairosroute
from kairosroute import AuthenticationError, KairosRoute, KairosRouteError, ProviderError, RateLimitError

from harness import (
    API_KEY,
    ARGUMENTS,
    MODELS,
    NAMES,
    ROOT_URL,
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
TOOLS = [
    {
        "type": "function",
        "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
]
MODEL = MODELS["openai"]


def connect(key=API_KEY):
    # One try: the package sleeps after the last one, too.
    return KairosRoute(api_key=key, base_url=f"{ROOT_URL}/api/v1", max_retries=1)


client = connect()


def chat(provider):
    script(provider, chunks=["Good", " day."], prompt_tokens=7, completion_tokens=5)
    answer = client.chat.completions.create(model=MODELS[provider], messages=ASK, temperature=0.5, max_tokens=20)
    assert answer["choices"][0]["message"]["content"] == "Good day."
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (7, 5)
    check_note(answer, provider)


def stream(provider):
    script(provider, chunks=["Good", " day\u2028", "\u0085."])
    deltas = [
        chunk["choices"][0]["delta"].get("content", "")
        for chunk in client.chat.completions.create(model=MODELS[provider], messages=ASK, stream=True)
    ]
    # As the package's own example prints it; a separator of lines would cost it a chunk.
    assert "".join(delta or "" for delta in deltas) == "Good day\u2028\u0085.", deltas


def tools_over_two_steps(provider):
    script(provider, chunks=[], tool_calls=[tool_call()])
    message = client.chat.completions.create(model=MODELS[provider], messages=ASK, tools=TOOLS)["choices"][0]["message"]
    (call,) = message["tool_calls"]
    assert call["function"]["arguments"] == ARGUMENTS
    script(provider, chunks=["Sunny."])
    messages = [*ASK, message, {"role": "tool", "tool_call_id": call["id"], "content": "27 degrees"}]
    answer = client.chat.completions.create(model=MODELS[provider], messages=messages, tools=TOOLS)
    assert answer["choices"][0]["message"]["content"] == "Sunny."
    assert sent_arguments(provider, calls()[1])


def a_text_completion(provider):
    script(provider, chunks=["on a", " time"])
    answer = client.completions.create(model=MODELS[provider], prompt="Once up", max_tokens=20)
    assert answer["choices"][0]["text"] == "on a time"
    check_note(answer, provider)


def embeddings():
    script("openai", kinds={"vectors": ["0.25,-0.5,0.125,1", "0.5,0.75,-1.0,0.0625"]})
    answer = client.embeddings.create(input=["one", "two"], model="openai/text-embedding-3-small", dimensions=4)
    assert [item["embedding"] for item in answer["data"]] == [[0.25, -0.5, 0.125, 1], [0.5, 0.75, -1.0, 0.0625]]
    check_note(answer, "openai")


def models_are_listed():
    listed = {model["id"]: model for model in client.models.list()["data"]}
    for model in MODELS.values():
        assert listed[model]["available"] is True, listed[model]


def the_automatic_names_are_its_defaults():
    # Chosen among all models: a customer with a few own keys and no credit has to name one.
    if os.environ["BYOK"] == "true":
        return
    # What the package asks for when nothing is named.
    answer = client.chat.completions.create(messages=ASK)
    assert answer["choices"][0]["message"]["content"], answer
    assert "savings_usd" in answer["x_kairosroute"], answer
    assert client.completions.create(prompt="Once up")["choices"][0]["text"]
    first, second = (client.embeddings.create(input="one") for _ in range(2))
    assert first["model"] == second["model"], (first, second)


def a_rate_limit():
    script("openai", status=429, headers=[["retry-after", "17"]])
    # The package does not give up before it has slept for as long as it is told.
    with mock.patch("time.sleep") as sleep:
        error = raises(RateLimitError, lambda: client.chat.completions.create(model=MODEL, messages=ASK))
    assert error.retry_after == 17 and sleep.call_args.args == (17,), (error.retry_after, sleep.call_args)


def a_spent_budget():
    poor = connect(os.environ["POOR_API_KEY"])
    error = raises(KairosRouteError, lambda: poor.chat.completions.create(model=MODEL, messages=ASK))
    assert error.status_code == 402 and "Insufficient credits" in str(error), error


def a_wrong_key():
    wrong = connect("kr_live_0123456789")
    error = raises(AuthenticationError, lambda: wrong.chat.completions.create(model=MODEL, messages=ASK))
    assert error.status_code == 401


def a_refused_request():
    script("openai", status=400)
    error = raises(KairosRouteError, lambda: client.chat.completions.create(model=MODEL, messages=ASK))
    assert error.status_code == 400 and "as scripted" in str(error), error


def a_provider_that_fails():
    for _ in range(3):
        script("openai", status=500)
    error = raises(ProviderError, lambda: client.chat.completions.create(model=MODEL, messages=ASK))
    assert error.status_code >= 500


def a_failure_in_a_stream():
    script("openai", chunks=["a", "b", "c", "d"], error_after=2)
    chunks = list(client.chat.completions.create(model=MODEL, messages=ASK, stream=True))
    # The package hands the error to its user as the last chunk.
    assert chunks[-1]["error"]["code"] == "upstream_error", chunks[-1]
    assert chunks[-1]["error"]["metadata"]["provider"] == NAMES["openai"], chunks[-1]


run(
    f"kairosroute {kairosroute.__version__}",
    on_each(chat, stream, tools_over_two_steps, a_text_completion)
    + once(
        embeddings,
        models_are_listed,
        the_automatic_names_are_its_defaults,
        a_rate_limit,
        a_spent_budget,
        a_wrong_key,
        a_refused_request,
        a_provider_that_fails,
        a_failure_in_a_stream,
    ),
)
