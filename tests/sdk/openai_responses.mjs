// responses of the official `openai` Node package, against models of four wire formats.

import assert from "node:assert/strict";
import * as harness from "./harness.mjs";

const { ARGUMENTS, DOT, MODELS, SCHEMA, WEATHER, calls, checkNote, raises, script, toolCall } = harness;
const OpenAI = harness.load("openai").default;

const parameters = { ...SCHEMA, properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", name: "look_up", description: "d", parameters, strict: true }];
const client = new OpenAI({ baseURL: harness.BASE_URL, apiKey: harness.API_KEY, maxRetries: 0 });

const asked = (provider, fields) => ({ model: MODELS[provider], input: "Say something.", ...fields });
const create = (provider, fields) => client.responses.create(asked(provider, fields));

/** All events, and the response that the helper made of them. */
async function followed(provider, fields) {
  const events = [];
  const stream = client.responses.stream(asked(provider, fields));
  for await (const event of stream) events.push(event);
  return { events, final: await stream.finalResponse() };
}

const CASES = {
  async text(provider) {
    const chunks = ["Hello", ", ", "w\u00f6rld \u{1f600}"];
    await script(provider, { chunks, prompt_tokens: 7, completion_tokens: 5 });
    const answer = await create(provider, { instructions: "Be wordless." });
    assert.equal(answer.output_text, "Hello, w\u00f6rld \u{1f600}");
    assert.equal(answer.status, "completed");
    assert.equal(answer.usage.input_tokens, 7);
    assert.equal(answer.usage.output_tokens, 5);
    checkNote(answer, provider);
    const { body } = (await calls())[0];
    assert(body.includes("Be wordless.") && body.includes("Say something."), body);
  },
  async stream_events(provider) {
    const chunks = ["a", "b\u2028", "\u{1f600}"];
    await script(provider, { chunks, prompt_tokens: 9, completion_tokens: 4, split_bytes: 7 });
    const { events, final } = await followed(provider);
    const deltas = events.filter((event) => event.type === "response.output_text.delta");
    assert.equal(deltas.map((event) => event.delta).join(""), "ab\u2028\u{1f600}");
    assert.equal(final.output_text, "ab\u2028\u{1f600}");
    const kinds = events.map((event) => event.type);
    assert.equal(kinds[0], "response.created");
    assert.equal(kinds.at(-1), "response.completed");
    for (const kind of ["output_item.added", "content_part.added", "output_text.done", "output_item.done"]) {
      assert(kinds.includes(`response.${kind}`), kinds.join());
    }
    const numbers = events.map((event) => event.sequence_number);
    assert(numbers.every((number, index) => index === 0 || number > numbers[index - 1]), numbers.join());
    assert.equal(final.usage.input_tokens, 9);
    assert.equal(final.usage.output_tokens, 4);
  },
  async tools_over_two_steps(provider) {
    await script(provider, { chunks: [], tool_calls: [toolCall()] });
    const first = await create(provider, { tools });
    const called = first.output.filter((item) => item.type === "function_call");
    assert.deepEqual(called.map((item) => [item.name, item.arguments]), [["look_up", ARGUMENTS]]);
    await script(provider, { chunks: ["Sunny."] });
    const result = { type: "function_call_output", call_id: called[0].call_id, output: "27 degrees" };
    const input = [{ role: "user", content: "Say something." }, ...first.output, result];
    assert.equal((await create(provider, { tools, input })).output_text, "Sunny.");
    const sent = (await calls())[1];
    assert(sent.body.includes("27 degrees") && harness.sentArguments(provider, sent), sent.body);
  },
  async tools_streamed(provider) {
    await script(provider, { chunks: ["Both."], tool_calls: [toolCall(1), toolCall(2, "{}")] });
    const { events, final } = await followed(provider, { tools });
    const args = {};
    for (const event of events) {
      if (event.type !== "response.function_call_arguments.delta") continue;
      args[event.output_index] = (args[event.output_index] ?? "") + event.delta;
    }
    const called = final.output.filter((item) => item.type === "function_call").map((item) => item.arguments);
    assert.deepEqual(called, [ARGUMENTS, "{}"]);
    assert.deepEqual(Object.values(args), called);
    assert.equal(final.output_text, "Both.");
  },
  async structured_output(provider) {
    await script(provider, { chunks: WEATHER });
    const text = { format: { type: "json_schema", name: "weather", strict: true, schema: SCHEMA } };
    const answer = await client.responses.parse(asked(provider, { text }));
    assert.deepEqual(answer.output_parsed, { city: "Oslo", degrees: -3.5 });
    assert((await calls())[0].body.includes('"degrees"'), "the schema was not sent");
  },
  async image_in(provider) {
    await script(provider, { chunks: ["A dot."] });
    const image = { type: "input_image", image_url: `data:image/png;base64,${DOT}`, detail: "auto" };
    const content = [{ type: "input_text", text: "What is it?" }, image];
    assert.equal((await create(provider, { input: [{ role: "user", content }] })).output_text, "A dot.");
    const { body } = (await calls())[0];
    assert(body.includes(DOT) && body.includes("image/png"), body);
  },
  async a_bad_request(provider) {
    await script(provider, { status: 400 });
    const error = await raises(OpenAI.BadRequestError, () => create(provider));
    assert.match(error.message, /as scripted/);
  },
  async a_failure_in_a_stream(provider) {
    await script(provider, { chunks: ["a", "b", "c", "d"], error_after: 2 });
    const seen = [];
    await raises(OpenAI.APIError, async () => {
      for await (const event of await create(provider, { stream: true })) {
        if (event.type === "response.output_text.delta") seen.push(event.delta);
        assert.notEqual(event.type, "response.completed", "a failed answer is told as a whole one");
        if (["response.failed", "error"].includes(event.type)) throw new OpenAI.APIError(500, undefined, "failed");
      }
    });
    assert.equal(seen.join(""), "ab");
  },
};

await harness.run(`openai ${harness.load("openai/version").VERSION} responses`, harness.onEach(CASES));
