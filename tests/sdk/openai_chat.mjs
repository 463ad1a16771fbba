// chat.completions of the official `openai` Node package, against models of four wire formats.

import assert from "node:assert/strict";
import * as harness from "./harness.mjs";

const { ARGUMENTS, DOT, MODELS, SCHEMA, WEATHER, calls, checkNote, raises, script, toolCall } = harness;
const OpenAI = harness.load("openai").default;

const ASK = [{ role: "user", content: "Say something." }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "look_up", description: "d", parameters } }];
const client = new OpenAI({ baseURL: harness.BASE_URL, apiKey: harness.API_KEY, maxRetries: 0 });

const asked = (provider, fields) => ({ model: MODELS[provider], messages: ASK, ...fields });
const create = (provider, fields) => client.chat.completions.create(asked(provider, fields));

/** The arguments of each streamed call, the text, and all chunks. */
async function gathered(stream) {
  const args = {};
  const chunks = [];
  let text = "";
  for await (const chunk of stream) {
    chunks.push(chunk);
    for (const choice of chunk.choices) {
      text += choice.delta.content ?? "";
      for (const call of choice.delta.tool_calls ?? []) {
        args[call.index] = (args[call.index] ?? "") + (call.function.arguments ?? "");
      }
    }
  }
  return { args, text, chunks };
}

const CASES = {
  async text(provider) {
    const chunks = ["Hello", ", ", "w\u00f6rld \u{1f600}"];
    await script(provider, { chunks, prompt_tokens: 7, completion_tokens: 5 });
    const answer = await create(provider);
    assert.equal(answer.choices[0].message.content, "Hello, w\u00f6rld \u{1f600}");
    assert.equal(answer.choices[0].message.role, "assistant");
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.equal(answer.usage.prompt_tokens, 7);
    assert.equal(answer.usage.completion_tokens, 5);
    checkNote(answer, provider);
    assert(answer._request_id, "x-request-id");
  },
  async a_system_message(provider) {
    await script(provider);
    await create(provider, { messages: [{ role: "system", content: "Be wordless." }, ...ASK] });
    const [call] = await calls();
    assert(call.body.includes("Be wordless.") && call.body.includes("Say something."), call.body);
  },
  async stream_with_usage(provider) {
    const chunks = ["a\u2028", "b", "\u{1f600}"];
    await script(provider, { chunks, prompt_tokens: 9, completion_tokens: 4, split_bytes: 7 });
    const told = await gathered(await create(provider, { stream: true, stream_options: { include_usage: true } }));
    assert.equal(told.text, "a\u2028b\u{1f600}");
    const empty = told.chunks.filter((chunk) => chunk.choices.length === 0);
    assert.equal(empty.length, 1);
    assert.equal(empty[0], told.chunks.at(-1));
    assert.equal(empty[0].usage.prompt_tokens, 9);
    assert.equal(empty[0].usage.completion_tokens, 4);
    assert.equal(told.chunks.at(-2).choices[0].finish_reason, "stop");
    checkNote(empty[0], provider);
  },
  async stream_without_usage(provider) {
    await script(provider, { chunks: ["a", "b", "c"] });
    const { text, chunks } = await gathered(await create(provider, { stream: true }));
    assert.equal(text, "abc");
    assert(chunks.every((chunk) => chunk.choices.length === 1));
    checkNote(chunks.at(-1), provider);
  },
  async tools_over_two_steps(provider) {
    await script(provider, { chunks: [], tool_calls: [toolCall()] });
    const first = await create(provider, { tools, tool_choice: "auto" });
    assert.equal(first.choices[0].finish_reason, "tool_calls");
    const { message } = first.choices[0];
    assert.equal(message.tool_calls.length, 1);
    const [call] = message.tool_calls;
    assert.equal(call.function.name, "look_up");
    assert.equal(call.function.arguments, ARGUMENTS);
    await script(provider, { chunks: ["Sunny."] });
    const result = { role: "tool", tool_call_id: call.id, content: "27 degrees" };
    const second = await create(provider, { tools, messages: [...ASK, message, result] });
    assert.equal(second.choices[0].message.content, "Sunny.");
    const sent = (await calls())[1];
    assert(sent.body.includes("27 degrees") && harness.sentArguments(provider, sent), sent.body);
  },
  async parallel_tools(provider) {
    const tool_calls = [toolCall(1), toolCall(2, '{"city":"Oslo"}')];
    await script(provider, { chunks: ["Both."], tool_calls });
    const { message } = (await create(provider, { tools })).choices[0];
    assert.equal(message.content, "Both.");
    assert.deepEqual(message.tool_calls.map((call) => call.function.arguments), [ARGUMENTS, '{"city":"Oslo"}']);
    await script(provider, { chunks: ["Done."] });
    const results = message.tool_calls.map((call, index) => ({
      role: "tool",
      tool_call_id: call.id,
      content: `result ${index}`,
    }));
    const done = await create(provider, { tools, messages: [...ASK, message, ...results] });
    assert.equal(done.choices[0].message.content, "Done.");
    const { body } = (await calls())[1];
    assert(body.includes("result 0") && body.includes("result 1"), body);
  },
  async tools_streamed(provider) {
    await script(provider, { chunks: ["Both."], tool_calls: [toolCall(1), toolCall(2, "{}")] });
    const { args, text, chunks } = await gathered(await create(provider, { tools, stream: true }));
    assert.deepEqual(args, { 0: ARGUMENTS, 1: "{}" });
    assert.equal(text, "Both.");
    assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
    await script(provider, { chunks: [], tool_calls: [toolCall()] });
    const final = await client.chat.completions.stream(asked(provider, { tools })).finalChatCompletion();
    assert.equal(final.choices[0].message.tool_calls[0].function.arguments, ARGUMENTS);
  },
  async structured_output(provider) {
    await script(provider, { chunks: WEATHER });
    const json_schema = { name: "weather", strict: true, schema: SCHEMA };
    const response_format = { type: "json_schema", json_schema };
    const answer = await client.chat.completions.parse(asked(provider, { response_format }));
    assert.deepEqual(JSON.parse(answer.choices[0].message.content), { city: "Oslo", degrees: -3.5 });
    assert((await calls())[0].body.includes('"degrees"'), "the schema was not sent");
    await script(provider, { chunks: WEATHER });
    const final = await client.chat.completions.stream(asked(provider, { response_format })).finalChatCompletion();
    assert.deepEqual(JSON.parse(final.choices[0].message.content), { city: "Oslo", degrees: -3.5 });
  },
  async image_in(provider) {
    await script(provider, { chunks: ["A dot."] });
    const image = { type: "image_url", image_url: { url: `data:image/png;base64,${DOT}` } };
    const content = [{ type: "text", text: "What is it?" }, image];
    const answer = await create(provider, { messages: [{ role: "user", content }] });
    assert.equal(answer.choices[0].message.content, "A dot.");
    const { body } = (await calls())[0];
    assert(body.includes(DOT) && body.includes("image/png") && body.includes("What is it?"), body);
  },
  async a_bad_request(provider) {
    await script(provider, { status: 400 });
    const told = await raises(OpenAI.BadRequestError, () => create(provider));
    assert.match(told.message, /as scripted/);
    const error = await raises(OpenAI.BadRequestError, () => create(provider, { messages: 7 }));
    assert.equal(error.code, "invalid_request");
    assert.equal((await calls()).length, 1);
  },
  async a_rate_limit(provider) {
    await script(provider, { status: 429, headers: [["retry-after", "17"]] });
    const error = await raises(OpenAI.RateLimitError, () => create(provider));
    assert.equal(error.headers.get("retry-after"), "17");
    assert.equal((await calls()).length, 1);
  },
  async a_failure_in_a_stream(provider) {
    await script(provider, { chunks: ["a", "b", "c", "d"], error_after: 2 });
    const seen = [];
    const error = await raises(OpenAI.APIError, async () => {
      for await (const chunk of await create(provider, { stream: true })) {
        seen.push(chunk.choices[0].delta.content ?? "");
      }
    });
    assert.equal(seen.join(""), "ab");
    assert.equal(error.code, "upstream_error");
  },
};

await harness.run(`openai ${harness.load("openai/version").VERSION} chat`, harness.onEach(CASES));
