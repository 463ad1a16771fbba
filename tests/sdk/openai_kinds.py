"""What the official `openai` Python package offers besides conversations: embeddings, images, audio, moderation, models
and text completions."""

import io

import openai
from openai import OpenAI

from harness import API_KEY, BASE_URL, BYOK, DOT, MODELS, NAMES, calls, check_note, on_each, once, raises, run, script

VECTORS = [[0.25, -0.5, 0.125, 1], [0.5, 0.75, -1.0, 0.0625]]
SCRIPTED = {"vectors": ["0.25,-0.5,0.125,1", "0.5,0.75,-1.0,0.0625"]}
# Odd bytes, that text would not survive, in three pieces.
SOUND = [[255, 251, 144, 0], [13, 10, 128], [254, 1, 0]]
BYTES = bytes(sum(SOUND, []))

client = OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)


def embedded(provider, model):
    script(provider, kinds=SCRIPTED, prompt_tokens=6)
    answer = client.embeddings.create(model=model, input=["one", "two"])
    assert [item.embedding for item in answer.data] == VECTORS, answer.data
    assert [item.index for item in answer.data] == [0, 1]
    check_note(answer.model_extra, provider)
    script(provider, kinds=SCRIPTED)
    answer = client.embeddings.create(model=model, input="one", encoding_format="float")
    assert answer.data[0].embedding == VECTORS[0], answer.data
    return answer


def embeddings_of_openai():
    assert embedded("openai", "openai/text-embedding-3-small").usage.prompt_tokens == 12
    script("openai")
    answer = client.embeddings.create(model="openai/text-embedding-3-small", input=[1, 2, 3], dimensions=8)
    assert len(answer.data[0].embedding) == 8


def embeddings_of_google():
    assert embedded("google", "google/gemini-embedding-2").usage.prompt_tokens > 0


def embeddings_of_mistral():
    assert embedded("mistral", "mistral/mistral-embed").usage.prompt_tokens == 12


def embeddings_of_cohere():
    assert embedded("cohere", "cohere/embed-v4.0").usage.prompt_tokens == 12


def images(provider, model, **fields):
    script(provider, kinds={"images": [DOT]}, prompt_tokens=8, completion_tokens=500)
    answer = client.images.generate(model=model, prompt="A dot.", **fields)
    assert [image.b64_json for image in answer.data] == [DOT], answer.data
    check_note(answer.model_extra, provider)
    return answer


def images_of_openai():
    answer = images("openai", "openai/gpt-image-2", size="1024x1024", quality="high")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (8, 500)


def images_of_google():
    images("google", "google/gemini-3.1-flash-image")


def images_of_xai():
    images("xai", "xai/grok-imagine-image", response_format="b64_json")


def an_image_is_edited():
    script("openai", kinds={"images": [DOT]}, prompt_tokens=8, completion_tokens=500)
    picture = ("dot.png", io.BytesIO(b"\x89PNG\r\n\x1a\n\x00\xff"), "image/png")
    answer = client.images.edit(model="openai/gpt-image-2", prompt="Whiter.", image=picture)
    assert answer.data[0].b64_json == DOT
    check_note(answer.model_extra, "openai")


def spoken(provider, model, voice):
    script(provider, kinds={"audio": SOUND}, prompt_tokens=8, completion_tokens=50)
    answer = client.audio.speech.create(model=model, voice=voice, input="Good day.", response_format="wav")
    headers = answer.response.headers
    assert headers["x-kairosroute-provider"] == NAMES[provider], dict(headers)
    assert headers["x-kairosroute-byok"] == ("true" if BYOK else "false"), dict(headers)
    assert headers["content-type"].startswith("audio/"), dict(headers)
    return answer.read()


def speech_of_groq():
    assert spoken("groq", "groq/orpheus-v1-english", "autumn") == BYTES
    script("groq", kinds={"audio": SOUND}, chunk_gap_ms=20)
    asked = {"model": "groq/orpheus-v1-english", "voice": "autumn", "input": "Good day.", "response_format": "wav"}
    with client.audio.speech.with_streaming_response.create(**asked) as answer:
        assert b"".join(answer.iter_bytes()) == BYTES


def speech_of_mistral():
    assert spoken("mistral", "mistral/voxtral-mini-tts-latest", "jane") == BYTES


def speech_of_google():
    heard = spoken("google", "google/gemini-3.8-flash-tts", "Kore")
    assert heard[:4] == b"RIFF" and heard[8:12] == b"WAVE" and heard.endswith(BYTES), heard


def recording():
    return ("a.wav", io.BytesIO(b"RIFF\x00\xff\r\n--\r\n"), "audio/wav")


def heard(provider, model, **fields):
    script(provider, chunks=["Guten", " Tag."], kinds={"audio_ms": 62500}, prompt_tokens=40, completion_tokens=6)
    return client.audio.transcriptions.create(model=model, file=recording(), **fields)


def transcripts_of_openai():
    answer = heard("openai", "openai/gpt-transcribe", language="de")
    assert answer.text == "Guten Tag."
    check_note(answer.model_extra, "openai")
    assert "RIFF" in calls()[0]["body"] and "a.wav" in calls()[0]["body"]


def transcripts_of_groq():
    answer = heard("groq", "groq/whisper-large-v3", response_format="verbose_json")
    assert answer.text == "Guten Tag." and answer.duration == 62.5 and len(answer.segments) == 2
    assert heard("groq", "groq/whisper-large-v3", response_format="text").strip() == "Guten Tag."


def transcripts_of_mistral():
    assert heard("mistral", "mistral/voxtral-mini-latest").text == "Guten Tag."


def transcripts_of_google():
    assert heard("google", "google/gemini-3.5-transcribe").text == "Guten Tag."


def a_translation():
    script("groq", chunks=["Good", " day."], kinds={"audio_ms": 2000})
    answer = client.audio.translations.create(model="groq/whisper-large-v3", file=recording())
    assert answer.text == "Good day."


def moderations():
    script("openai", kinds={"flagged": ["violence/graphic"]})
    answer = client.moderations.create(model="openai/omni-moderation-latest", input=["a", "b"])
    assert len(answer.results) == 2 and answer.results[1].flagged
    assert answer.results[0].categories.violence_graphic and not answer.results[0].categories.hate
    check_note(answer.model_extra, "openai", free=True)


def models_are_listed_and_found():
    listed = {model.id for model in client.models.list()}
    for model in [*MODELS.values(), "cohere/embed-v4.0"]:
        assert model in listed, sorted(listed)
        assert client.models.retrieve(model).id == model
    error = raises(openai.NotFoundError, lambda: client.models.retrieve("openai/no-such-model"))
    assert error.code == "model_not_found", error.body


def a_refused_embedding_keeps_the_providers_words():
    script("openai", status=400)
    ask = {"model": "openai/text-embedding-3-small", "input": "a"}
    error = raises(openai.BadRequestError, lambda: client.embeddings.create(**ask))
    assert "as scripted" in error.message, error.body


def a_text_completion(provider):
    script(provider, chunks=["on a", " time"], prompt_tokens=7, completion_tokens=5)
    answer = client.completions.create(model=MODELS[provider], prompt="Once up", max_tokens=20)
    assert answer.object == "text_completion" and answer.choices[0].text == "on a time"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 5)
    check_note(answer.model_extra, provider)
    assert "Once up" in calls()[0]["body"]
    script(provider, chunks=["on a", " time"])
    chunks = list(client.completions.create(model=MODELS[provider], prompt="Once up", stream=True))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "on a time"
    assert chunks[-1].choices[0].finish_reason == "stop"


run(
    f"openai {openai.__version__} kinds",
    once(
        embeddings_of_openai,
        embeddings_of_google,
        embeddings_of_mistral,
        embeddings_of_cohere,
        images_of_openai,
        images_of_google,
        images_of_xai,
        an_image_is_edited,
        speech_of_groq,
        speech_of_mistral,
        speech_of_google,
        transcripts_of_openai,
        transcripts_of_groq,
        transcripts_of_mistral,
        transcripts_of_google,
        a_translation,
        moderations,
        models_are_listed_and_found,
        a_refused_embedding_keeps_the_providers_words,
    )
    + on_each(a_text_completion),
)
