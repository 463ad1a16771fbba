"""indoxhub's own Python package, and the same package under its old name: logs in with an API key, then asks for what
it offers. Takes the package's name from the environment: PACKAGE."""

import base64
import importlib
import os
from importlib.metadata import version

from harness import (
    API_KEY,
    ARGUMENTS,
    BYOK,
    DOT,
    MODELS,
    ROOT_URL,
    bring,
    calls,
    on_each,
    once,
    raises,
    run,
    script,
    tool_call,
)

PACKAGE = os.environ["PACKAGE"]
package = importlib.import_module(PACKAGE)
errors = importlib.import_module(f"{PACKAGE}.exceptions")
ASK = [{"role": "user", "content": "Hello"}]
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]
MODEL = MODELS["openai"]
SOUND = [[255, 251, 144, 0], [13, 10, 128], [254, 1, 0]]
RECORDING = b"RIFF\x00\xff\r\n--\r\n"


def connect(key=API_KEY):
    return package.Client(api_key=key, base_url=ROOT_URL, timeout=20)


client = connect()


def check(answer, provider, byok=BYOK):
    assert answer["success"] is True and answer["message"] == "", answer
    assert answer["provider"] == provider and answer["model"], answer
    assert answer["request_id"].startswith("req_") and answer["duration_ms"] >= 0, answer
    assert answer["byok_api_key"] is byok, answer
    assert (answer["usage"]["cost"] == 0) is byok, answer["usage"]
    return answer["data"]


def a_log_in():
    token = client.access_token
    assert token.startswith("krt_") and client.session.cookies["access_token"] == token
    with connect() as other:
        other.access_token = None
        # The cookie alone is enough.
        assert other.get_model_info("openai", "gpt-4o-mini")["model"] == "openai/gpt-4o-mini"


def a_wrong_key_is_told_with_its_reason():
    error = raises(errors.AuthenticationError, lambda: connect("indox-0123456789"))
    assert "begin with kr-" in str(error), error


def a_lost_token_is_replaced():
    with connect() as other:
        other.access_token = other.access_token[:-2]
        script("openai", chunks=["Back."])
        assert check(other.chat(ASK, model=MODEL), "openai") == "Back."
        assert len(calls()) == 1


def chat(provider):
    script(provider, chunks=["Good", " day."], prompt_tokens=7, completion_tokens=5)
    answer = client.chat(ASK, model=MODELS[provider], max_tokens=20)
    assert check(answer, provider) == "Good day."
    assert answer["finish_reason"] == "stop"
    usage = answer["usage"]
    assert (usage["tokens_prompt"], usage["tokens_completion"], usage["tokens_total"]) == (7, 5, 12), usage
    sent = calls()[0]["body"]
    assert not any(field in sent for field in ("byok_api_key", "additional_params", "null")), sent


def a_stream(provider):
    script(provider, chunks=["Good", " day."])
    chunks = list(client.chat(ASK, model=MODELS[provider], stream=True))
    assert "".join(chunk.get("data") or "" for chunk in chunks) == "Good day.", chunks


def a_text_completion(provider):
    script(provider, chunks=["on a", " time"])
    assert check(client.completion("Once up", model=MODELS[provider]), provider) == "on a time"
    script(provider, chunks=["on a", " time"])
    chunks = client.completion("Once up", model=MODELS[provider], stream=True)
    assert "".join(chunk.get("data") or "" for chunk in chunks) == "on a time"


def embeddings():
    script("openai", kinds={"vectors": ["0.25,-0.5,0.125,1", "0.5,0.75,-1.0,0.0625"]}, prompt_tokens=6)
    answer = client.embeddings(["one", "two"], model="openai/text-embedding-3-small")
    vectors = [item["embedding"] for item in check(answer, "openai")]
    assert vectors == [[0.25, -0.5, 0.125, 1], [0.5, 0.75, -1.0, 0.0625]] and answer["dimensions"] == 4
    script("cohere")
    check(client.embeddings("one", model="cohere/embed-v4.0"), "cohere")


def images():
    for provider, model, fields in (
        ("openai", "openai/gpt-image-2", {"size": "1024x1024", "quality": "high"}),
        ("google", "google/gemini-3.1-flash-image", {"aspect_ratio": "16:9"}),
        ("xai", "xai/grok-imagine-image", {"response_format": "b64_json"}),
    ):
        script(provider, kinds={"images": [DOT]}, prompt_tokens=8, completion_tokens=500)
        (image,) = check(client.images("A dot.", model=model, **fields), provider)
        assert image["b64_json"] == DOT, image


def speech():
    for provider, model, voice in (
        ("groq", "groq/orpheus-v1-english", "autumn"),
        ("mistral", "mistral/voxtral-mini-tts-latest", "jane"),
    ):
        script(provider, kinds={"audio": SOUND}, prompt_tokens=8, completion_tokens=50)
        answer = client.text_to_speech("Good day.", model=model, voice=voice, response_format="wav")
        kind, _, data = check(answer, provider)["url"].partition(";base64,")
        assert kind.startswith("data:audio/") and base64.b64decode(data) == bytes(sum(SOUND, [])), kind


def transcripts():
    script("groq", chunks=["Guten", " Tag."], kinds={"audio_ms": 62500})
    granularities = {"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]}
    answer = client.speech_to_text(RECORDING, model="groq/whisper-large-v3", filename="a.wav", **granularities)
    heard = check(answer, "groq")
    assert heard["text"] == "Guten Tag." and heard["duration"] == 62.5, heard
    sent = calls()[0]["body"]
    assert sent.count("timestamp_granularities[]") == 2 and "RIFF" in sent, sent
    script("openai", chunks=["1\n00:00 Tag."], kinds={"audio_ms": 2000})
    answer = client.speech_to_text(RECORDING, model="openai/whisper-1", response_format="text", language="de")
    assert "Tag." in check(answer, "openai")["text"], answer
    script("google", chunks=["Guten", " Tag."], prompt_tokens=40)
    # The package calls every file `audio/*`.
    answer = client.speech_to_text(RECORDING, model="google/gemini-3.5-transcribe", filename="a.wav")
    assert check(answer, "google")["text"] == "Guten Tag." and "audio/wav" in calls()[-1]["body"], answer


def a_translation():
    script("groq", chunks=["Good", " day."], kinds={"audio_ms": 2000})
    answer = client.translate_audio(RECORDING, model="groq/whisper-large-v3")
    assert check(answer, "groq")["text"] == "Good day."


def models_are_listed_and_found():
    providers = {provider["name"]: provider["models"] for provider in client.models()}
    assert any(model["id"] == "gpt-5.4-mini" and not model["description"] for model in providers["OpenAI"])
    assert client.models("openai")["models"] == providers["OpenAI"]
    assert client.get_model_info("openai", "gpt-5.4-mini")["model"] == MODEL
    raises(errors.ProviderNotFoundError, lambda: client.models("nobody"))
    raises(errors.ModelNotFoundError, lambda: client.get_model_info("openai", "never-made"))


def the_usage():
    told = client.get_usage()
    assert told["total_requests"] >= 0 and told["total_cost"] >= 0 and told["remaining_credits"] >= 0, told


def the_connection():
    told = client.test_connection()
    assert told["status_code"] == 200 and told["server_info"]["name"] == "KairosRoute", told


def errors_are_of_the_kind_that_is_meant():
    raises(errors.ModelNotFoundError, lambda: client.chat(ASK, model="never-made"))
    error = raises(errors.InvalidParametersError, lambda: client.chat(ASK, model=MODEL, temperature="hot"))
    assert "temperature" in str(error), error
    script("openai", status=429, headers=[["retry-after", "17"]])
    raises(errors.RateLimitError, lambda: client.chat(ASK, model=MODEL))
    script("openai", status=422)
    raises(errors.ValidationError, lambda: client.chat(ASK, model=MODEL))
    raises(errors.APIError, lambda: client.videos("A cat"))
    with connect(os.environ["POOR_API_KEY"]) as poor:
        error = raises(errors.InsufficientCreditsError, lambda: poor.chat(ASK, model=MODEL))
        assert "0 USD available" in str(error), error


def a_failure_in_a_stream():
    script("openai", chunks=["a", "b", "c", "d"], error_after=2)
    seen = []
    stream = client.chat(ASK, model=MODEL, stream=True)
    error = raises(errors.APIError, lambda: [seen.append(chunk.get("data") or "") for chunk in stream])
    assert "".join(seen) == "ab" and "upstream_error" in str(error), (seen, error)


def further_arguments_reach_the_provider():
    script("openai", chunks=[], tool_calls=[tool_call()])
    answer = client.chat(ASK, model=MODEL, tools=TOOLS, top_p=0.5, stream_options={"include_usage": True})
    assert check(answer, "openai") == ""
    assert answer["tool_calls"][0]["function"]["arguments"] == ARGUMENTS
    assert '"top_p":0.5' in calls()[0]["body"].replace(" ", "")


def a_key_of_the_request():
    key = bring("openai")
    heads = []
    client.session.hooks["response"] = [lambda response, **_: heads.append(response.headers)]
    script("openai", chunks=["Mine."])
    assert check(client.chat(ASK, model=MODEL, byok_api_key=key), "openai", byok=True) == "Mine."
    script("openai")
    ask = {"model": "openai/text-embedding-3-small", "byok_api_key": key}
    check(client.embeddings("one", **ask), "openai", byok=True)
    script("openai", kinds={"audio": SOUND})
    answer = client.text_to_speech("Good day.", model="openai/tts-1", voice="alloy", byok_api_key=key)
    check(answer, "openai", byok=True)
    script("openai", chunks=["Tag."], kinds={"audio_ms": 2000})
    check(client.speech_to_text(RECORDING, model="openai/whisper-1", byok_api_key=key), "openai", byok=True)
    client.session.hooks["response"] = []
    assert len(heads) == 4 and all(head["X-RateLimit-Bypass"] == "BYOK API key used" for head in heads), heads
    assert all(key not in call["body"] for call in calls())


def a_refused_key_of_the_request_is_told_and_spends_nothing():
    key = bring("openai")
    # The package logs in again and asks a second time.
    for _ in range(2):
        script("openai", accepted_keys=["another"])
    raises(errors.AuthenticationError, lambda: client.chat(ASK, model=MODEL, byok_api_key=key))
    assert len(calls()) == 2


run(
    f"{PACKAGE} {version(PACKAGE)}",
    on_each(chat, a_stream, a_text_completion)
    + once(
        a_log_in,
        a_wrong_key_is_told_with_its_reason,
        a_lost_token_is_replaced,
        embeddings,
        images,
        speech,
        transcripts,
        a_translation,
        models_are_listed_and_found,
        the_usage,
        the_connection,
        errors_are_of_the_kind_that_is_meant,
        a_failure_in_a_stream,
        further_arguments_reach_the_provider,
        a_key_of_the_request,
        a_refused_key_of_the_request_is_told_and_spends_nothing,
    ),
)
