// What the programs of the official Node SDKs share: the simulated providers, and a runner that names each case.
//
// Takes from the environment: SDK_DIR (where the packages are), BASE_URL (the gateway's, with /v1), API_KEY,
// CONTROL_URL (the simulated providers), KEY_PREFIX (each provider must see this and its own id as credential), BYOK
// (true|false). It must never retry a case or skip one.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

export const { BASE_URL, API_KEY, CONTROL_URL, KEY_PREFIX, SDK_DIR } = process.env;
export const ROOT_URL = BASE_URL.replace(/\/v1$/, "");
export const BYOK = process.env.BYOK === "true";
export const load = createRequire(`${SDK_DIR}/package.json`);

// A model of each wire format that conversations are translated to.
export const MODELS = {
  openai: "openai/gpt-5.4-mini",
  anthropic: "anthropic/claude-haiku-4-5",
  google: "google/gemini-3.5-flash",
  mistral: "mistral/mistral-small-4",
};
export const NAMES = {
  openai: "OpenAI",
  anthropic: "Anthropic",
  google: "Google",
  mistral: "Mistral",
  cohere: "Cohere",
  groq: "Groq",
  xai: "xAI",
};

// What JSON may hold and a parser that writes it anew would change.
export const ARGUMENTS = '{"city":"S\\u00e3o Paulo", "n" :12345678901234567890,"x":1.0,"y":1e5}';
export const WEATHER = ['{"city":"Os', 'lo","degrees":-3.5}'];
export const SCHEMA = {
  type: "object",
  properties: { city: { type: "string" }, degrees: { type: "number" } },
  required: ["city", "degrees"],
  additionalProperties: false,
};
export const DOT =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";

export async function control(method, name, body) {
  const init = { method, body: body && JSON.stringify(body) };
  const answer = await fetch(`${CONTROL_URL}/_simulator/${name}`, init);
  const text = await answer.text();
  assert(answer.ok, `${name}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

/** What `provider` answers next. */
export const script = (provider, fields = {}) => control("POST", "scripts", { provider, script: fields });
export const calls = () => control("GET", "bill");

/** A scripted call, its arguments in two pieces, with an id that every provider could have made. */
export function toolCall(number = 1, args = ARGUMENTS) {
  const pieces = [args.slice(0, 9), args.slice(9)].map((part) => JSON.stringify(part).slice(1, -1));
  return { id: `toolcall${number}`, name: "look_up", pieces };
}

/** Whether a provider was sent ARGUMENTS as they are: as an object by some wires, as a string by others. */
export function sentArguments(provider, call) {
  const asObject = provider === "anthropic" || provider === "google";
  return call.body.includes(asObject ? ARGUMENTS : JSON.stringify(ARGUMENTS));
}

export async function raises(kind, work) {
  try {
    await work();
  } catch (error) {
    assert(error instanceof kind, `${error.constructor.name} instead of ${kind.name}: ${error.stack}`);
    return error;
  }
  assert.fail(`${kind.name} was not raised`);
}

export function checkNote(object, provider, free = false) {
  const note = object.x_kairosroute;
  assert(note, `no x_kairosroute in ${JSON.stringify(object)}`);
  assert.equal(note.provider, NAMES[provider]);
  assert.equal(note.byok, BYOK);
  assert.match(note.receipt_id, /^rcpt_/);
  assert.equal(note.provider_cost_usd === 0, free, JSON.stringify(note));
  assert.equal(note.cost_usd, note.charged_usd);
  if (BYOK || free) assert.equal(note.charged_usd, 0);
  else assert(note.charged_usd > note.provider_cost_usd, JSON.stringify(note));
}

/** Each case once for every provider of MODELS. */
export const onEach = (cases) =>
  Object.entries(cases).flatMap(([name, work]) =>
    Object.keys(MODELS).map((provider) => [`${name} on ${provider}`, () => work(provider)]),
  );

// The credentials that providers must see in this case, where they are not the usual ones.
const brought = new Map();

/** A provider key that comes with the requests of this case, and with nothing else. */
export function bring(provider) {
  brought.set(provider, `brought-${provider}-0123456789`);
  return brought.get(provider);
}

async function checkCalls() {
  for (const call of await calls()) {
    assert.deepEqual(call.leaked, []);
    assert.equal(call.authorization, brought.get(call.provider) ?? KEY_PREFIX + call.provider);
    assert(!JSON.stringify(call).includes(API_KEY));
  }
}

export async function run(title, cases) {
  let failed = 0;
  for (const [name, work] of cases) {
    await control("POST", "clear");
    brought.clear();
    try {
      await work();
      await checkCalls();
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}\n${error.stack}`);
    }
  }
  console.log(`${title}: ${cases.length - failed} of ${cases.length} passed`);
  process.exit(failed ? 1 : 0);
}
