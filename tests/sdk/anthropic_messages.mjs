// messages of the official `@anthropic-ai/sdk` Node package, against models of four wire formats.

import assert from "node:assert/strict";
import * as harness from "./harness.mjs";

const { API_KEY, DOT, MODELS, ROOT_URL, SCHEMA, WEATHER, calls, checkNote, raises, script, toolCall } = harness;
const Anthropic = harness.load("@anthropic-ai/sdk").default;

const ASK = [{ role: "user", content: "Say something." }];
const tools = [{ name: "look_up", description: "d", input_schema: SCHEMA }];
const ARGUMENTS = '{"city":"S\\u00e3o Paulo", "degrees" :1.5e1}';
const INPUT = { city: "S\u00e3o Paulo", degrees: 15 };
const THINKING = { type: "enabled", budget_tokens: 1024 };

const client = new Anthropic({ baseURL: ROOT_URL, apiKey: API_KEY, maxRetries: 0 });
const asked = (provider, fields) => ({ model: MODELS[provider], max_tokens: 2048, messages: ASK, ...fields });
const create = (provider, fields) => client.messages.create(asked(provider, fields));
const of = (message, type) => message.content.filter((block) => block.type === type);
const told = (message) => of(message, "text").map((block) => block.text).join("");
const kindsOf = (message) => message.content.map((block) => block.type);
/** The question, what the model made of it, and what came of its calls. */
const continued = (message, results) => [
  ...ASK,
  { role: "assistant", content: message.content },
  { role: "user", content: results },
];
/** OpenAI keeps its thoughts to itself. */
const thoughts = (provider) => (provider === "openai" ? [] : ["Let me", " see."]);

const CASES = {
  async text(provider) {
    const chunks = ["Hello", ", ", "w\u00f6rld \u{1f600}"];
    await script(provider, { chunks, prompt_tokens: 7, completion_tokens: 5 });
    const message = await create(provider, { system: "Be wordless." });
    assert.deepEqual(kindsOf(message), ["text"]);
    assert.equal(told(message), "Hello, w\u00f6rld \u{1f600}");
    assert.deepEqual([message.type, message.role, message.stop_reason], ["message", "assistant", "end_turn"]);
    assert.deepEqual([message.usage.input_tokens, message.usage.output_tokens], [7, 5]);
    checkNote(message, provider);
    const { body } = (await calls())[0];
    assert(body.includes("Be wordless.") && body.includes("Say something."), body);
  },
  async system_blocks(provider) {
    await script(provider);
    const cached = { type: "text", text: "Second rule.", cache_control: { type: "ephemeral" } };
    await create(provider, { system: [{ type: "text", text: "First rule." }, cached] });
    const { body } = (await calls())[0];
    assert(body.includes("First rule.") && body.includes("Second rule."), body);
    assert.equal(body.includes("cache_control"), provider === "anthropic", body);
  },
  async the_stream_helper(provider) {
    const chunks = ["a\u2028", "b", "\u{1f600}"];
    await script(provider, { chunks, prompt_tokens: 9, completion_tokens: 4, split_bytes: 7 });
    const stream = client.messages.stream(asked(provider));
    let text = "";
    stream.on("text", (delta) => (text += delta));
    const final = await stream.finalMessage();
    assert.equal(text, "a\u2028b\u{1f600}");
    assert.equal(told(final), text);
    assert.equal(final.stop_reason, "end_turn");
    assert.deepEqual([final.usage.input_tokens, final.usage.output_tokens], [9, 4]);
  },
  async raw_events(provider) {
    await script(provider, { chunks: ["a", "b"] });
    const kinds = [];
    for await (const event of await create(provider, { stream: true })) {
      if (event.type !== "ping") kinds.push(event.type);
    }
    assert.deepEqual(kinds.slice(0, 2), ["message_start", "content_block_start"]);
    assert.deepEqual(kinds.slice(-3), ["content_block_stop", "message_delta", "message_stop"]);
    assert(kinds.slice(2, -3).every((kind) => kind === "content_block_delta"), kinds.join());
  },
  async tools_over_two_steps(provider) {
    await script(provider, { chunks: ["I look."], tool_calls: [toolCall(1, ARGUMENTS)] });
    const first = await create(provider, { tools, tool_choice: { type: "auto" } });
    assert.equal(first.stop_reason, "tool_use");
    assert.equal(told(first), "I look.");
    const [use, ...more] = of(first, "tool_use");
    assert.equal(more.length, 0);
    assert.deepEqual([use.name, use.input], ["look_up", INPUT]);
    await script(provider, { chunks: ["Sunny."] });
    const content = [{ type: "text", text: "27 degrees" }];
    const messages = continued(first, [{ type: "tool_result", tool_use_id: use.id, content }]);
    assert.equal(told(await create(provider, { tools, messages })), "Sunny.");
    const { body } = (await calls())[1];
    assert(body.includes("27 degrees") && body.includes("Paulo"), body);
  },
  async parallel_tools(provider) {
    const tool_calls = [toolCall(1, ARGUMENTS), toolCall(2, '{"city":"Oslo"}')];
    await script(provider, { chunks: [], tool_calls });
    const first = await create(provider, { tools });
    const uses = of(first, "tool_use");
    assert.deepEqual(uses.map((use) => use.input), [INPUT, { city: "Oslo" }]);
    assert.equal(new Set(uses.map((use) => use.id)).size, 2);
    await script(provider, { chunks: ["Done."] });
    const results = [
      { type: "tool_result", tool_use_id: uses[0].id, content: "result 0" },
      { type: "tool_result", tool_use_id: uses[1].id, content: "result 1", is_error: true },
    ];
    assert.equal(told(await create(provider, { tools, messages: continued(first, results) })), "Done.");
    const { body } = (await calls())[1];
    assert(body.includes("result 0") && body.includes("result 1"), body);
  },
  async tools_streamed(provider) {
    await script(provider, { chunks: ["Both."], tool_calls: [toolCall(1, ARGUMENTS), toolCall(2, "{}")] });
    const parts = {};
    const stream = client.messages.stream(asked(provider, { tools }));
    for await (const event of stream) {
      if (event.type === "content_block_delta" && event.delta.type === "input_json_delta") {
        parts[event.index] = (parts[event.index] ?? "") + event.delta.partial_json;
      }
    }
    const final = await stream.finalMessage();
    assert.deepEqual(of(final, "tool_use").map((use) => use.input), [INPUT, {}]);
    assert.equal(told(final), "Both.");
    assert.equal(final.stop_reason, "tool_use");
    assert.equal(Object.values(parts)[0], ARGUMENTS);
  },
  async image_in(provider) {
    await script(provider, { chunks: ["A dot."] });
    const source = { type: "base64", media_type: "image/png", data: DOT };
    const content = [{ type: "image", source }, { type: "text", text: "What is it?" }];
    assert.equal(told(await create(provider, { messages: [{ role: "user", content }] })), "A dot.");
    const { body } = (await calls())[0];
    assert(body.includes(DOT) && body.includes("image/png") && body.includes("What is it?"), body);
  },
  async thinking(provider) {
    await script(provider, { chunks: ["A dot."], reasoning: thoughts(provider) });
    const message = await create(provider, { thinking: THINKING });
    const thought = of(message, "thinking").map((block) => block.thinking).join("");
    assert.equal(thought, thoughts(provider).join(""));
    assert.equal(told(message), "A dot.");
    await script(provider, { chunks: ["A dot."], reasoning: thoughts(provider) });
    const final = await client.messages.stream(asked(provider, { thinking: THINKING })).finalMessage();
    assert.deepEqual(kindsOf(final), kindsOf(message));
  },
  async thinking_is_given_back_with_the_tools(provider) {
    const tool_calls = [toolCall(1, ARGUMENTS)];
    await script(provider, { chunks: [], tool_calls, reasoning: thoughts(provider) });
    const first = await create(provider, { thinking: THINKING, tools });
    const [use] = of(first, "tool_use");
    await script(provider, { chunks: ["Sunny."] });
    const messages = continued(first, [{ type: "tool_result", tool_use_id: use.id, content: "27 degrees" }]);
    assert.equal(told(await create(provider, { thinking: THINKING, tools, messages })), "Sunny.");
  },
  async structured_output(provider) {
    await script(provider, { chunks: WEATHER });
    const output_config = { format: { type: "json_schema", schema: SCHEMA } };
    const message = await create(provider, { output_config });
    assert.deepEqual(JSON.parse(told(message)), { city: "Oslo", degrees: -3.5 });
    assert((await calls())[0].body.includes('"degrees"'), "the schema was not sent");
  },
  async tokens_are_counted(provider) {
    await script(provider, { prompt_tokens: 33 });
    const ask = { model: MODELS[provider], messages: ASK, system: "Be wordless." };
    assert((await client.messages.countTokens(ask)).input_tokens > 0);
  },
  async a_bad_request(provider) {
    await script(provider, { status: 400 });
    const told = await raises(Anthropic.BadRequestError, () => create(provider));
    assert.equal(told.error.type, "error");
    assert.equal(told.error.error.type, "invalid_request_error");
    assert.match(told.error.error.message, /as scripted/);
    const error = await raises(Anthropic.BadRequestError, () => create(provider, { max_tokens: "many" }));
    assert.equal(error.error.error.type, "invalid_request_error");
    assert.equal((await calls()).length, 1);
  },
  async a_rate_limit(provider) {
    await script(provider, { status: 429, headers: [["retry-after", "17"]] });
    const error = await raises(Anthropic.RateLimitError, () => create(provider));
    assert.equal(error.headers.get("retry-after"), "17");
    assert.equal(error.error.error.type, "rate_limit_error");
    assert.equal((await calls()).length, 1);
  },
  async a_failure_in_a_stream(provider) {
    await script(provider, { chunks: ["a", "b", "c", "d"], error_after: 2 });
    const seen = [];
    await raises(Anthropic.APIError, async () => {
      for await (const event of await create(provider, { stream: true })) {
        if (event.type === "content_block_delta") seen.push(event.delta.text);
      }
    });
    assert.equal(seen.join(""), "ab");
  },
};

const SINGLE = {
  async models_are_listed_and_found() {
    const listed = {};
    for await (const model of client.models.list({ limit: 1000 })) listed[model.id] = model;
    for (const model of Object.values(MODELS)) {
      assert.equal(listed[model]?.type, "model", Object.keys(listed).join());
      const found = await client.models.retrieve(model);
      assert.equal(found.id, model);
      assert(found.display_name && found.created_at);
    }
  },
  async an_unknown_model_is_not_found() {
    const error = await raises(Anthropic.NotFoundError, () => client.models.retrieve("anthropic/no-such-model"));
    assert.equal(error.error.error.type, "not_found_error");
    const told = await raises(Anthropic.NotFoundError, () => create("openai", { model: "no-such-model" }));
    assert.equal(told.error.error.type, "not_found_error");
    assert.deepEqual(await calls(), []);
  },
  async a_wrong_key_is_an_authentication_error() {
    const apiKey = API_KEY.slice(0, -1) + (API_KEY.endsWith("a") ? "b" : "a");
    const wrong = new Anthropic({ baseURL: ROOT_URL, apiKey, maxRetries: 0 });
    const error = await raises(Anthropic.AuthenticationError, () => wrong.messages.create(asked("anthropic")));
    assert.equal(error.error.error.type, "authentication_error");
    assert.deepEqual(await calls(), []);
  },
};

const { VERSION } = harness.load("@anthropic-ai/sdk/version");
await harness.run(`anthropic ${VERSION} messages`, [...harness.onEach(CASES), ...Object.entries(SINGLE)]);
