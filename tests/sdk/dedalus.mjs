// Dedalus' Node package: its client, its runner with local tools, and provider keys that come with requests.

import assert from "node:assert/strict";
import * as harness from "./harness.mjs";

const { API_KEY, ARGUMENTS, DOT, MODELS, NAMES, ROOT_URL, SCHEMA, WEATHER } = harness;
const { bring, calls, checkNote, raises, script, sentArguments, toolCall } = harness;
const dedalus = harness.load("dedalus-labs");
const Dedalus = dedalus.default;
const { DedalusRunner, toFile } = dedalus;

const messages = [{ role: "user", content: "Hello" }];
const MODEL = MODELS.openai;
const SOUND = [[255, 251, 144, 0], [13, 10, 128], [254, 1, 0]];
const base = { baseURL: ROOT_URL, apiKey: API_KEY, maxRetries: 0 };
const client = new Dedalus(base);

const create = (provider, fields) => client.chat.completions.create({ model: MODELS[provider], messages, ...fields });
const recording = () => toFile(Buffer.from("RIFF\x00\xff\r\n--\r\n", "latin1"), "a.wav", { type: "audio/wav" });

async function textOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return [chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), chunks];
}

const seen = [];
function look_up(city, n, x, y) {
  seen.push(["look_up", city, x, y]);
  return "27 degrees";
}
function add(a, b) {
  seen.push(["add", a, b]);
  return a + b;
}

const EACH = {
  async chat(provider) {
    await script(provider, { chunks: ["Good", " day."], prompt_tokens: 7, completion_tokens: 5 });
    const answer = await create(provider, { max_tokens: 20 });
    assert.equal(answer.choices[0].message.content, "Good day.");
    assert.equal(answer.usage.prompt_tokens, 7);
    assert.equal(answer.usage.completion_tokens, 5);
    checkNote(answer, provider);
  },
  async stream(provider) {
    await script(provider, { chunks: ["Good", " day."], comments: true });
    const [text, chunks] = await textOf(await create(provider, { stream: true }));
    assert.equal(text, "Good day.");
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
    checkNote(chunks.at(-1), provider);
  },
  async structured_output(provider) {
    await script(provider, { chunks: WEATHER });
    const format = { type: "json_schema", json_schema: { name: "weather", strict: true, schema: SCHEMA } };
    const answer = await create(provider, { response_format: format });
    assert.deepEqual(JSON.parse(answer.choices[0].message.content), { city: "Oslo", degrees: -3.5 });
    assert((await calls())[0].body.includes('"degrees"'), "the schema was not sent");
  },
  async the_runner_with_two_tools_over_several_steps(provider) {
    seen.length = 0;
    await script(provider, { chunks: [], tool_calls: [toolCall()] });
    const pieces = ['{\\"a\\":42,', '\\"b\\":17}'];
    await script(provider, { chunks: [], tool_calls: [{ id: "toolcall2", name: "add", pieces }] });
    await script(provider, { chunks: ["Sunny and 59."] });
    const ask = { input: "Both?", model: MODELS[provider], tools: [look_up, add], maxSteps: 5 };
    const result = await new DedalusRunner(client).run(ask);
    assert.equal(result.finalOutput, "Sunny and 59.");
    assert.equal(result.stepsUsed, 3);
    assert.deepEqual(seen, [["look_up", "São Paulo", 1, 1e5], ["add", 42, 17]]);
    const [first, second, third] = await calls();
    assert(sentArguments(provider, second) && sentArguments(provider, third), third.body);
    assert(second.body.includes("27 degrees") && third.body.includes("59"));
    assert(!first.body.includes("mcp_servers"), first.body);
  },
  async the_streaming_runner(provider) {
    seen.length = 0;
    await script(provider, { chunks: [], tool_calls: [toolCall()] });
    await script(provider, { chunks: ["Sunny."] });
    const ask = { input: "Weather?", model: MODELS[provider], tools: [look_up], stream: true };
    const [text] = await textOf(await new DedalusRunner(client).run(ask));
    assert.equal(text, "Sunny.");
    assert.deepEqual(seen, [["look_up", "São Paulo", 1, 1e5]]);
    const [, second] = await calls();
    assert(sentArguments(provider, second) && second.body.includes("27 degrees"), second.body);
  },
  async the_runner_with_two_tools_and_a_server(provider) {
    const result = await new DedalusRunner(client).run(await threeSteps(provider));
    assert.equal(result.finalOutput, "Sunny, 59 and 7 m.");
    assert.equal(result.stepsUsed, 3);
    await checkThreeSteps(provider);
  },
  async the_streaming_runner_with_two_tools_and_a_server(provider) {
    const ask = { ...(await threeSteps(provider)), stream: true };
    const [text, chunks] = await textOf(await new DedalusRunner(client).run(ask));
    assert.equal(text, "Sunny, 59 and 7 m.");
    const finish = chunks.map((chunk) => chunk.choices[0].finish_reason).filter(Boolean);
    assert.deepEqual(finish, ["tool_calls", "tool_calls", "stop"]);
    const results = chunks.at(-1).mcp_tool_results.map((told) => [told.tool_name, told.result]);
    assert.deepEqual(results, [["tide", "7 m at Brest"]]);
    await checkThreeSteps(provider);
  },
};

// A server's tool and a local one, another local one, the server's again and the end.
async function threeSteps(provider) {
  seen.length = 0;
  const tide = { id: "toolcall8", name: "tide", pieces: ['{\\"port\\":', '\\"Brest\\"}'] };
  const sum = { id: "toolcall2", name: "add", pieces: ['{\\"a\\":42,', '\\"b\\":17}'] };
  for (const call of [tide, toolCall(), sum, { ...tide, id: "toolcall9" }]) {
    await script(provider, { chunks: [], tool_calls: [call] });
  }
  await script(provider, { chunks: ["Sunny,", " 59 and 7 m."] });
  const mcpServers = [process.env.MCP_URL];
  return { input: "All of it?", model: MODELS[provider], tools: [look_up, add], mcpServers, maxSteps: 5 };
}

async function checkThreeSteps(provider) {
  assert.deepEqual(seen, [["look_up", "São Paulo", 1, 1e5], ["add", 42, 17]]);
  const [, , second] = await calls();
  // What the server said and the runner does not know is still known.
  assert(second.body.includes("7 m at Brest") && sentArguments(provider, second), second.body);
  const [asked, told, , again, last] = (await calls()).map((call) => call.body);
  assert(asked.includes('"tide"') && asked.includes('"look_up"') && !asked.includes("7 m at Brest"), asked);
  assert(told.includes("7 m at Brest"), told);
  assert(again.includes("27 degrees") && again.includes("59"), again);
  assert(last.includes("7 m at Brest"), last);
}

async function withEnvironment(variables, work) {
  Object.assign(process.env, variables);
  try {
    await work();
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
}

const ONCE = {
  async a_client_from_the_environment() {
    await withEnvironment({ DEDALUS_BASE_URL: ROOT_URL, DEDALUS_X_API_KEY: API_KEY }, async () => {
      await script("openai", { chunks: ["Set."] });
      const answer = await new Dedalus({ maxRetries: 0 }).chat.completions.create({ model: MODEL, messages });
      assert.equal(answer.choices[0].message.content, "Set.");
    });
  },
  async a_client_with_other_options() {
    const wrong = new Dedalus({ ...base, apiKey: "kr-wrong" });
    await raises(Dedalus.AuthenticationError, () => wrong.models.list());
    await script("openai", { chunks: ["Right."] });
    const other = wrong.withOptions({ apiKey: API_KEY, timeout: 5000 });
    const answer = await other.chat.completions.create({ model: MODEL, messages });
    assert.equal(answer.choices[0].message.content, "Right.");
  },
  async embeddings() {
    await script("openai", { kinds: { vectors: ["0.25,-0.5,0.125,1"] }, prompt_tokens: 6 });
    const ask = { model: "openai/text-embedding-3-small", input: "one", encoding_format: "float" };
    const answer = await client.embeddings.create(ask);
    assert.deepEqual(answer.data[0].embedding, [0.25, -0.5, 0.125, 1]);
    checkNote(answer, "openai");
  },
  async images() {
    await script("openai", { kinds: { images: [DOT] }, prompt_tokens: 8, completion_tokens: 500 });
    const ask = { model: "openai/gpt-image-2", prompt: "A dot.", size: "1024x1024" };
    assert.equal((await client.images.generate(ask)).data[0].b64_json, DOT);
  },
  async speech() {
    await script("groq", { kinds: { audio: SOUND }, prompt_tokens: 8 });
    const ask = { model: "groq/orpheus-v1-english", voice: "autumn", input: "Good day.", response_format: "wav" };
    const sound = await client.audio.speech.create(ask);
    assert.deepEqual(Buffer.from(await sound.arrayBuffer()), Buffer.from(SOUND.flat()));
  },
  async transcripts() {
    await script("groq", { chunks: ["Guten", " Tag."], kinds: { audio_ms: 62500 } });
    const model = "groq/whisper-large-v3";
    assert.equal((await client.audio.transcriptions.create({ model, file: await recording() })).text, "Guten Tag.");
    await script("groq", { chunks: ["Good", " day."], kinds: { audio_ms: 2000 } });
    assert.equal((await client.audio.translations.create({ model, file: await recording() })).text, "Good day.");
  },
  async models_are_listed_and_found() {
    const listed = (await client.models.list()).data.map((model) => model.id);
    for (const model of Object.values(MODELS)) {
      assert(listed.includes(model));
      assert.equal((await client.models.retrieve(model)).id, model);
    }
    await raises(Dedalus.NotFoundError, () => client.models.retrieve("openai/never-made"));
  },
  async a_list_of_models_is_tried_in_order() {
    await script("openai", { status: 503 });
    await script("mistral", { chunks: ["Second."] });
    const ask = { input: "Hello", model: [MODEL, MODELS.mistral] };
    assert.equal((await new DedalusRunner(client).run(ask)).finalOutput, "Second.");
    assert.deepEqual(new Set((await calls()).map((call) => call.provider)), new Set(["openai", "mistral"]));
  },
  async errors() {
    await script("openai", { status: 400 });
    assert.match((await raises(Dedalus.BadRequestError, () => create("openai"))).message, /as scripted/);
    await script("openai", { status: 429, headers: [["retry-after", "17"]] });
    const limited = await raises(Dedalus.RateLimitError, () => create("openai"));
    assert.equal(limited.headers.get("retry-after"), "17");
    const poor = client.withOptions({ apiKey: process.env.POOR_API_KEY });
    const broke = await raises(Dedalus.APIError, () => poor.chat.completions.create({ model: MODEL, messages }));
    assert.equal(broke.status, 402);
  },
  async a_failure_in_a_stream() {
    await script("openai", { chunks: ["a", "b", "c", "d"], error_after: 2 });
    const read = [];
    const error = await raises(Dedalus.APIError, async () => {
      for await (const chunk of await create("openai", { stream: true })) {
        read.push(chunk.choices[0].delta.content ?? "");
      }
    });
    assert.equal(read.join(""), "ab");
    assert.match(JSON.stringify(error.error ?? error.message), /upstream_error/);
  },
};

function mine(answer, provider) {
  const note = answer.x_kairosroute;
  assert.equal(note.byok, true, JSON.stringify(note));
  assert.equal(note.charged_usd, 0);
  assert.equal(note.provider, NAMES[provider]);
  return answer.choices[0].message;
}

// A provider key that a request brings.
const BROUGHT = {
  async a_key_in_the_headers() {
    const other = new Dedalus({ ...base, provider: "openai", providerKey: bring("openai") });
    await script("openai", { chunks: [], tool_calls: [toolCall()] });
    const [call] = mine(await other.chat.completions.create({ model: MODEL, messages }), "openai").tool_calls;
    assert.equal(call.function.arguments, ARGUMENTS);
    await script("openai", { kinds: { vectors: ["0.25"] } });
    const ask = { model: "openai/text-embedding-3-small", input: "one", encoding_format: "float" };
    assert.deepEqual((await other.embeddings.create(ask)).data[0].embedding, [0.25]);
    assert((await other.models.list()).data.length > 0);
  },
  async a_key_from_the_environment() {
    const own = { DEDALUS_PROVIDER: "anthropic", DEDALUS_PROVIDER_KEY: bring("anthropic") };
    await withEnvironment(own, async () => {
      await script("anthropic", { chunks: ["Mine."] });
      const answer = await new Dedalus(base).chat.completions.create({ model: MODELS.anthropic, messages });
      assert.equal(mine(answer, "anthropic").content, "Mine.");
    });
  },
  async another_provider_for_one_request() {
    const other = new Dedalus({ ...base, provider: "openai", providerKey: bring("openai") });
    const headers = { "X-Provider": "google", "X-Provider-Key": bring("google") };
    await script("google", { chunks: ["Other."] });
    const answer = await other.chat.completions.create({ model: MODELS.google, messages }, { headers });
    assert.equal(mine(answer, "google").content, "Other.");
    await script("mistral", { chunks: ["Changed."] });
    const changed = other.withOptions({ provider: "mistral", providerKey: bring("mistral") });
    const second = await changed.chat.completions.create({ model: MODELS.mistral, messages });
    assert.equal(mine(second, "mistral").content, "Changed.");
  },
  async a_refused_key_comes_back_with_the_providers_words() {
    const key = bring("openai");
    const other = new Dedalus({ ...base, provider: "openai", providerKey: key });
    await script("openai", { accepted_keys: ["another"] });
    const ask = () => other.chat.completions.create({ model: MODEL, messages });
    const error = await raises(Dedalus.AuthenticationError, ask);
    assert(!error.message.includes(key));
    assert.equal((await calls()).length, 1);
  },
  async an_unknown_provider_is_refused_with_the_list() {
    const other = new Dedalus({ ...base, provider: "nobody", providerKey: "k" });
    const ask = () => other.chat.completions.create({ model: MODEL, messages });
    assert.match((await raises(Dedalus.BadRequestError, ask)).message, /moonshot/);
    assert.deepEqual(await calls(), []);
  },
};

const cases = [...harness.onEach(EACH), ...Object.entries(ONCE), ...Object.entries(BROUGHT)];
await harness.run(`dedalus-labs ${harness.load("dedalus-labs/version").VERSION}`, cases);
