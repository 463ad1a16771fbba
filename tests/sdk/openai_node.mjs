// The official `openai` Node package, unmodified, against a running gateway: only baseURL and apiKey are ours.
//
// Run by tests/it/sdk with the package's directory in SDK_DIR. Takes from the environment: BASE_URL (with /v1),
// API_KEY, POOR_API_KEY (no credit, no own keys), CONTROL_URL (the simulated providers), UPSTREAM_KEY (the
// credential the provider must see), BYOK (true|false). Prints one line per case; exits 1 if any failed. It must
// never retry a case or skip one.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const { BASE_URL, API_KEY, POOR_API_KEY, CONTROL_URL, UPSTREAM_KEY, SDK_DIR } = process.env;
const BYOK = process.env.BYOK === "true";
const require = createRequire(`${SDK_DIR}/package.json`);
const OpenAI = require("openai").default;

const model = "openai/gpt-5.4-mini";
// Its tools go over the chat wire, where the answer passes unchanged.
const toolsModel = "openai/gpt-5.2";
const messages = [{ role: "user", content: "Say something." }];
const tools = [
  {
    type: "function",
    function: { name: "look_up", parameters: { type: "object", properties: { value: { type: "string" } } } },
  },
];

const client = new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY });
const once = new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY, maxRetries: 0 });

async function control(method, name, body) {
  const init = { method, body: body && JSON.stringify(body) };
  const answer = await fetch(`${CONTROL_URL}/_simulator/${name}`, init);
  const text = await answer.text();
  assert(answer.ok, `${name}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

const script = (fields = {}) => control("POST", "scripts", { provider: "openai", script: fields });
const calls = () => control("GET", "bill");

async function raises(kind, work) {
  try {
    await work();
  } catch (error) {
    assert(error instanceof kind, `${error.constructor.name} instead of ${kind.name}: ${error.message}`);
    return error;
  }
  assert.fail(`${kind.name} was not raised`);
}

// Name, pieces as the provider writes them (insides of JSON strings), and what they mean.
const ARGUMENTS = [
  ["a number no float can hold", ["1234567890", "1234567890"], "12345678901234567890"],
  ["a decimal that is whole", ["1", ".0"], "1.0"],
  ["an exponent", ["1e", "5"], "1e5"],
  ["an escape inside of the arguments", ['{\\"a\\":\\"\\\\u00', 'e3\\"}'], '{"a":"\\u00e3"}'],
  ["an escape of the provider's JSON", ['{\\"a\\":\\"\\u00e3', '\\"}'], '{"a":"\u00e3"}'],
  ["odd spaces", ['{ \\"a\\" :\\t1.0 ,', '  \\"b\\":\\n\\n1e5 }'], '{ "a" :\t1.0 ,  "b":\n\n1e5 }'],
  ["a surrogate pair over two chunks", ['{\\"a\\":\\"\\ud83d', '\\ude00\\"}'], '{"a":"\u{1f600}"}'],
  ["a raw line separator", ['{\\"a\\":\\"x\u2028', 'y\u0085z\\"}'], '{"a":"x\u2028y\u0085z"}'],
  ["the empty string", [""], ""],
  ["null", ["null"], "null"],
];

const callScript = (...pieces) => pieces.map((part, i) => ({ id: `call_${i}`, name: "look_up", pieces: part }));

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

function checkNote(object) {
  const note = object.x_kairosroute;
  assert(note, `no x_kairosroute in ${JSON.stringify(object)}`);
  assert.equal(note.provider, "OpenAI");
  assert.equal(note.byok, BYOK);
  assert.match(note.receipt_id, /^rcpt_/);
  assert(note.provider_cost_usd > 0);
  assert.equal(note.cost_usd, note.charged_usd);
  if (BYOK) assert.equal(note.charged_usd, 0);
  else assert(note.charged_usd > note.provider_cost_usd);
  return note;
}

const create = (fields = {}) => client.chat.completions.create({ model, messages, ...fields });

const CASES = {
  async chat_text_and_the_extra_field() {
    await script({ chunks: ["Hello", ", ", "w\u00f6rld \u{1f600}"], prompt_tokens: 7, completion_tokens: 5 });
    const answer = await create();
    assert.equal(answer.choices[0].message.content, "Hello, w\u00f6rld \u{1f600}");
    assert.equal(answer.usage.prompt_tokens, 7);
    assert.equal(answer.usage.completion_tokens, 5);
    checkNote(answer);
    assert(answer._request_id, "x-request-id");
  },
  async headers_by_with_response() {
    await script();
    const { data, response } = await create().withResponse();
    assert.equal(response.headers.get("x-kairosroute-byok"), String(BYOK));
    assert.equal(response.headers.get("x-kairosroute-provider"), "OpenAI");
    assert.equal(response.headers.get("x-kairosroute-model"), "gpt-5.4-mini");
    assert.equal(response.headers.get("x-kairosroute-receipt"), checkNote(data).receipt_id);
  },
  async the_provider_sees_its_own_credential_and_nothing_of_ours() {
    await create({ user: "u", seed: 3 });
    const [call, ...more] = await calls();
    assert.equal(more.length, 0);
    assert.equal(call.authorization, UPSTREAM_KEY);
    assert.deepEqual(call.leaked, []);
    assert(!JSON.stringify(call).includes(API_KEY));
  },
  async stream_without_usage_has_no_empty_choices() {
    await script({ chunks: ["a", "b", "c"] });
    const { text, chunks } = await gathered(await create({ stream: true }));
    assert.equal(text, "abc");
    assert(chunks.every((chunk) => chunk.choices.length === 1 && chunk.usage == null));
    const noted = chunks.filter((chunk) => chunk.x_kairosroute);
    assert.equal(noted.length, 1);
    assert.equal(noted[0], chunks.at(-1));
    assert.equal(noted[0].choices[0].finish_reason, "stop");
    checkNote(noted[0]);
  },
  async stream_with_usage_has_one_chunk_of_it() {
    await script({ chunks: ["a", "b"], prompt_tokens: 9, completion_tokens: 4 });
    const { chunks } = await gathered(await create({ stream: true, stream_options: { include_usage: true } }));
    const empty = chunks.filter((chunk) => chunk.choices.length === 0);
    assert.equal(empty.length, 1);
    assert.equal(empty[0], chunks.at(-1));
    assert.equal(empty[0].usage.prompt_tokens, 9);
    assert.equal(empty[0].usage.completion_tokens, 4);
    checkNote(empty[0]);
  },
  async tool_arguments_unary() {
    for (const [name, pieces, meaning] of ARGUMENTS) {
      await script({ chunks: [], tool_calls: callScript(pieces) });
      const answer = await create({ model: toolsModel, tools });
      assert.equal(answer.choices[0].message.tool_calls[0].function.arguments, meaning, name);
    }
  },
  async tool_arguments_streamed() {
    for (const [name, pieces, meaning] of ARGUMENTS) {
      for (const split_bytes of [null, 7]) {
        await script({ chunks: [], tool_calls: callScript(pieces), split_bytes });
        const { args, chunks } = await gathered(await create({ model: toolsModel, tools, stream: true }));
        assert.deepEqual(args, { 0: meaning }, name);
        checkNote(chunks.at(-1));
      }
    }
  },
  async parallel_tool_calls_both_ways() {
    const tool_calls = callScript(...ARGUMENTS.map(([, pieces]) => pieces));
    const meanings = ARGUMENTS.map(([, , meaning]) => meaning);
    await script({ chunks: [], tool_calls });
    const answer = await create({ model: toolsModel, tools });
    assert.deepEqual(answer.choices[0].message.tool_calls.map((call) => call.function.arguments), meanings);
    await script({ chunks: [], tool_calls });
    const { args } = await gathered(await create({ model: toolsModel, tools, stream: true }));
    assert.deepEqual(Object.values(args), meanings);
  },
  async the_stream_helper() {
    await script({ chunks: ["x", "y", "z"] });
    const stream = client.chat.completions.stream({ model, messages });
    let text = "";
    stream.on("content", (delta) => (text += delta));
    const final = await stream.finalChatCompletion();
    assert.equal(text, "xyz");
    assert.equal(final.choices[0].message.content, "xyz");
    await script({ chunks: [], tool_calls: callScript(['{\\"value\\":', '\\"1.0\\"}']) });
    const called = await client.chat.completions.stream({ model: toolsModel, messages, tools }).finalChatCompletion();
    assert.equal(called.choices[0].message.tool_calls[0].function.arguments, '{"value":"1.0"}');
  },
  async parse_with_a_json_schema() {
    await script({ chunks: ['{"city":', '"Oslo","degrees":-3.5}'] });
    const schema = {
      type: "object",
      properties: { city: { type: "string" }, degrees: { type: "number" } },
      required: ["city", "degrees"],
      additionalProperties: false,
    };
    const response_format = { type: "json_schema", json_schema: { name: "weather", strict: true, schema } };
    const answer = await client.chat.completions.parse({ model, messages, response_format });
    assert.equal(answer.choices[0].message.content, '{"city":"Oslo","degrees":-3.5}');
    assert.deepEqual(JSON.parse((await calls())[0].body).response_format, response_format);
  },
  async models_are_listed_and_found_by_an_id_with_a_slash() {
    const listed = [];
    for await (const found of client.models.list()) listed.push(found.id);
    assert(listed.includes(model));
    assert.equal((await client.models.retrieve(model)).id, model);
    const error = await raises(OpenAI.NotFoundError, () => once.models.retrieve("openai/no-such-model"));
    assert.equal(error.code, "model_not_found");
  },
  async a_wrong_key_is_an_authentication_error() {
    const apiKey = API_KEY.slice(0, -1) + (API_KEY.endsWith("a") ? "b" : "a");
    const wrong = new OpenAI({ baseURL: BASE_URL, apiKey, maxRetries: 0 });
    const error = await raises(OpenAI.AuthenticationError, () => wrong.chat.completions.create({ model, messages }));
    assert.equal(error.status, 401);
    assert.equal(error.code, "invalid_api_key");
  },
  async a_rate_limit_is_raised_with_its_wait() {
    await script({ status: 429, headers: [["retry-after", "17"]] });
    const error = await raises(OpenAI.RateLimitError, () => once.chat.completions.create({ model, messages }));
    assert.equal(error.headers.get("retry-after"), "17");
    assert.equal((await calls()).length, 1);
  },
  async what_the_gateway_has_retried_the_sdk_does_not_retry_again() {
    for (let i = 0; i < 9; i++) await script({ status: 503 });
    const error = await raises(OpenAI.InternalServerError, () => create());
    assert.equal(error.status, 503);
    assert.equal((await calls()).length, 3);
  },
  async a_bad_request_keeps_the_providers_words() {
    const told = { message: "the seed is not to our taste", type: "invalid_request_error", param: "seed" };
    await script({ status: 400, error: JSON.stringify({ error: told }) });
    const error = await raises(OpenAI.BadRequestError, () => create({ seed: 9 }));
    assert.match(error.message, /the seed is not to our taste/);
    assert.equal(error.param, "seed");
  },
  async no_credit_is_a_402() {
    const poor = new OpenAI({ baseURL: BASE_URL, apiKey: POOR_API_KEY, maxRetries: 0 });
    const ask = { model: "mistral/mistral-small-4", messages };
    const error = await raises(OpenAI.APIError, () => poor.chat.completions.create(ask));
    assert.equal(error.status, 402);
    assert.equal(error.code, "insufficient_credits");
  },
  async a_provider_error_in_the_middle_of_a_stream_raises() {
    await script({ chunks: ["a", "b", "c", "d"], error_after: 2 });
    const seen = [];
    const error = await raises(OpenAI.APIError, async () => {
      for await (const chunk of await create({ stream: true })) seen.push(chunk.choices[0].delta.content ?? "");
    });
    assert.equal(seen.join(""), "ab");
    assert.equal(error.code, "upstream_error");
  },
  async a_stream_cut_without_a_finish_raises() {
    const frame =
      'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"ab"},"finish_reason":null}]}\n\n';
    for (const how of [{ cut_after: 2 }, { raw_frames: [frame, "data: [DONE]\n\n"] }]) {
      await script({ chunks: ["a", "b", "c", "d"], ...how });
      const seen = [];
      await raises(OpenAI.APIError, async () => {
        for await (const chunk of await create({ stream: true })) seen.push(chunk.choices[0].delta.content ?? "");
      });
      assert.equal(seen.join(""), "ab");
    }
  },
};

let failed = 0;
for (const [name, run] of Object.entries(CASES)) {
  await control("POST", "clear");
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n${error.stack}`);
  }
}
const total = Object.keys(CASES).length;
console.log(`openai ${require("openai/version").VERSION}: ${total - failed} of ${total} passed`);
process.exit(failed ? 1 : 0);
