// What the official `openai` Node package offers besides conversations: embeddings, images, audio, moderation, models
// and text completions.

import assert from "node:assert/strict";
import * as harness from "./harness.mjs";

const { BYOK, DOT, MODELS, NAMES, calls, checkNote, raises, script } = harness;
const OpenAI = harness.load("openai").default;
const { toFile } = harness.load("openai");

const VECTORS = [
  [0.25, -0.5, 0.125, 1],
  [0.5, 0.75, -1, 0.0625],
];
const kinds = { vectors: ["0.25,-0.5,0.125,1", "0.5,0.75,-1.0,0.0625"] };
// Odd bytes, that text would not survive, in three pieces.
const SOUND = [[255, 251, 144, 0], [13, 10, 128], [254, 1, 0]];
const BYTES = Buffer.from(SOUND.flat());

const client = new OpenAI({ baseURL: harness.BASE_URL, apiKey: harness.API_KEY, maxRetries: 0 });

async function embedded(provider, model) {
  await script(provider, { kinds, prompt_tokens: 6 });
  const answer = await client.embeddings.create({ model, input: ["one", "two"] });
  assert.deepEqual(answer.data.map((item) => item.embedding), VECTORS);
  assert.deepEqual(answer.data.map((item) => item.index), [0, 1]);
  checkNote(answer, provider);
  await script(provider, { kinds });
  const floats = await client.embeddings.create({ model, input: "one", encoding_format: "float" });
  assert.deepEqual(floats.data[0].embedding, VECTORS[0]);
  return floats.usage.prompt_tokens;
}

async function images(provider, model, fields) {
  await script(provider, { kinds: { images: [DOT] }, prompt_tokens: 8, completion_tokens: 500 });
  const answer = await client.images.generate({ model, prompt: "A dot.", ...fields });
  assert.deepEqual(answer.data.map((image) => image.b64_json), [DOT]);
  checkNote(answer, provider);
  return answer;
}

async function spoken(provider, model, voice) {
  await script(provider, { kinds: { audio: SOUND }, prompt_tokens: 8, completion_tokens: 50, chunk_gap_ms: 20 });
  const answer = await client.audio.speech.create({ model, voice, input: "Good day.", response_format: "wav" });
  assert.equal(answer.headers.get("x-kairosroute-provider"), NAMES[provider]);
  assert.equal(answer.headers.get("x-kairosroute-byok"), String(BYOK));
  assert.match(answer.headers.get("content-type"), /^audio\//);
  return Buffer.from(await answer.arrayBuffer());
}

const recording = () => toFile(Buffer.from("RIFF\x00\xff\r\n--\r\n", "latin1"), "a.wav", { type: "audio/wav" });

async function heard(provider, model, fields) {
  const chunks = ["Guten", " Tag."];
  await script(provider, { chunks, kinds: { audio_ms: 62500 }, prompt_tokens: 40, completion_tokens: 6 });
  return client.audio.transcriptions.create({ model, file: await recording(), ...fields });
}

const CASES = {
  async embeddings_of_openai() {
    assert.equal(await embedded("openai", "openai/text-embedding-3-small"), 12);
    await script("openai");
    const ask = { model: "openai/text-embedding-3-small", input: [1, 2, 3], dimensions: 8 };
    assert.equal((await client.embeddings.create(ask)).data[0].embedding.length, 8);
  },
  async embeddings_of_google() {
    assert((await embedded("google", "google/gemini-embedding-2")) > 0);
  },
  async embeddings_of_mistral() {
    assert.equal(await embedded("mistral", "mistral/mistral-embed"), 12);
  },
  async embeddings_of_cohere() {
    assert.equal(await embedded("cohere", "cohere/embed-v4.0"), 12);
  },
  async images_of_openai() {
    const answer = await images("openai", "openai/gpt-image-2", { size: "1024x1024", quality: "high" });
    assert.equal(answer.usage.input_tokens, 8);
    assert.equal(answer.usage.output_tokens, 500);
  },
  async images_of_google() {
    await images("google", "google/gemini-3.1-flash-image");
  },
  async images_of_xai() {
    await images("xai", "xai/grok-imagine-image", { response_format: "b64_json" });
  },
  async an_image_is_edited() {
    await script("openai", { kinds: { images: [DOT] }, prompt_tokens: 8, completion_tokens: 500 });
    const image = await toFile(Buffer.from("\x89PNG\r\n\x1a\n\x00\xff", "latin1"), "dot.png", { type: "image/png" });
    const answer = await client.images.edit({ model: "openai/gpt-image-2", prompt: "Whiter.", image });
    assert.equal(answer.data[0].b64_json, DOT);
    checkNote(answer, "openai");
  },
  async speech_of_groq() {
    assert.deepEqual(await spoken("groq", "groq/orpheus-v1-english", "autumn"), BYTES);
    await script("groq", { kinds: { audio: SOUND }, chunk_gap_ms: 20 });
    const ask = { model: "groq/orpheus-v1-english", voice: "autumn", input: "Good day.", response_format: "wav" };
    const pieces = [];
    for await (const piece of (await client.audio.speech.create(ask)).body) pieces.push(piece);
    assert.deepEqual(Buffer.concat(pieces), BYTES);
  },
  async speech_of_mistral() {
    assert.deepEqual(await spoken("mistral", "mistral/voxtral-mini-tts-latest", "jane"), BYTES);
  },
  async speech_of_google() {
    const sound = await spoken("google", "google/gemini-3.8-flash-tts", "Kore");
    assert.equal(sound.toString("latin1", 0, 4) + sound.toString("latin1", 8, 12), "RIFFWAVE");
    assert.deepEqual(sound.subarray(-BYTES.length), BYTES);
  },
  async transcripts_of_openai() {
    const answer = await heard("openai", "openai/gpt-transcribe", { language: "de" });
    assert.equal(answer.text, "Guten Tag.");
    checkNote(answer, "openai");
    const { body } = (await calls())[0];
    assert(body.includes("RIFF") && body.includes("a.wav"), body);
  },
  async transcripts_of_groq() {
    const answer = await heard("groq", "groq/whisper-large-v3", { response_format: "verbose_json" });
    assert.equal(answer.text, "Guten Tag.");
    assert.equal(answer.duration, 62.5);
    assert.equal(answer.segments.length, 2);
    const plain = await heard("groq", "groq/whisper-large-v3", { response_format: "text" });
    assert.equal(plain.trim(), "Guten Tag.");
  },
  async transcripts_of_mistral() {
    assert.equal((await heard("mistral", "mistral/voxtral-mini-latest")).text, "Guten Tag.");
  },
  async transcripts_of_google() {
    assert.equal((await heard("google", "google/gemini-3.5-transcribe")).text, "Guten Tag.");
  },
  async a_translation() {
    await script("groq", { chunks: ["Good", " day."], kinds: { audio_ms: 2000 } });
    const ask = { model: "groq/whisper-large-v3", file: await recording() };
    assert.equal((await client.audio.translations.create(ask)).text, "Good day.");
  },
  async moderations() {
    await script("openai", { kinds: { flagged: ["violence/graphic"] } });
    const answer = await client.moderations.create({ model: "openai/omni-moderation-latest", input: ["a", "b"] });
    assert.equal(answer.results.length, 2);
    assert(answer.results[1].flagged && answer.results[0].categories["violence/graphic"]);
    assert.equal(answer.results[0].categories.hate, false);
    checkNote(answer, "openai", true);
  },
  async models_are_listed_and_found() {
    const listed = [];
    for await (const found of client.models.list()) listed.push(found.id);
    for (const model of [...Object.values(MODELS), "cohere/embed-v4.0"]) {
      assert(listed.includes(model), listed.join());
      assert.equal((await client.models.retrieve(model)).id, model);
    }
    const error = await raises(OpenAI.NotFoundError, () => client.models.retrieve("openai/no-such-model"));
    assert.equal(error.code, "model_not_found");
  },
  async a_refused_embedding_keeps_the_providers_words() {
    await script("openai", { status: 400 });
    const ask = { model: "openai/text-embedding-3-small", input: "a" };
    const error = await raises(OpenAI.BadRequestError, () => client.embeddings.create(ask));
    assert.match(error.message, /as scripted/);
  },
};

const COMPLETIONS = {
  async a_text_completion(provider) {
    const model = MODELS[provider];
    await script(provider, { chunks: ["on a", " time"], prompt_tokens: 7, completion_tokens: 5 });
    const answer = await client.completions.create({ model, prompt: "Once up", max_tokens: 20 });
    assert.equal(answer.object, "text_completion");
    assert.equal(answer.choices[0].text, "on a time");
    assert.equal(answer.usage.prompt_tokens, 7);
    assert.equal(answer.usage.completion_tokens, 5);
    checkNote(answer, provider);
    assert((await calls())[0].body.includes("Once up"));
    await script(provider, { chunks: ["on a", " time"] });
    const choices = [];
    for await (const chunk of await client.completions.create({ model, prompt: "Once up", stream: true })) {
      choices.push(...chunk.choices);
    }
    assert.equal(choices.map((choice) => choice.text).join(""), "on a time");
    assert.equal(choices.at(-1).finish_reason, "stop");
  },
};

const cases = [...Object.entries(CASES), ...harness.onEach(COMPLETIONS)];
await harness.run(`openai ${harness.load("openai/version").VERSION} kinds`, cases);
