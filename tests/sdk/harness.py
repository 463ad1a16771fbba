"""What the programs of the official Python SDKs share: the simulated providers, and a runner that names each case.

Takes from the environment: BASE_URL (the gateway's, with /v1), API_KEY, CONTROL_URL (the simulated providers),
KEY_PREFIX (each provider must see this and its own id as credential), BYOK (true|false). It must never retry a case
or skip one.
"""

import json
import os
import sys
import traceback
import urllib.request

BASE_URL = os.environ["BASE_URL"]
ROOT_URL = BASE_URL.removesuffix("/v1")
API_KEY = os.environ["API_KEY"]
CONTROL_URL = os.environ["CONTROL_URL"]
KEY_PREFIX = os.environ["KEY_PREFIX"]
BYOK = os.environ["BYOK"] == "true"

# A model of each wire format that conversations are translated to.
MODELS = {
    "openai": "openai/gpt-5.4-mini",
    "anthropic": "anthropic/claude-haiku-4-5",
    "google": "google/gemini-3.5-flash",
    "mistral": "mistral/mistral-small-4",
}
NAMES = {
    "openai": "OpenAI",
    "anthropic": "Anthropic",
    "google": "Google",
    "mistral": "Mistral",
    "cohere": "Cohere",
    "groq": "Groq",
    "xai": "xAI",
}

# What JSON may hold and a parser that writes it anew would change.
ARGUMENTS = '{"city":"S\\u00e3o Paulo", "n" :12345678901234567890,"x":1.0,"y":1e5}'
WEATHER = ['{"city":"Os', 'lo","degrees":-3.5}']
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


def control(method, name, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{CONTROL_URL}/_simulator/{name}", data, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def script(provider, **fields):
    """What `provider` answers next."""
    control("POST", "scripts", {"provider": provider, "script": fields})


def calls():
    return control("GET", "bill")


def tool_call(number=1, arguments=ARGUMENTS):
    """A scripted call, its arguments in two pieces, with an id that every provider could have made."""
    pieces = [json.dumps(part)[1:-1] for part in (arguments[:9], arguments[9:])]
    return {"id": f"toolcall{number}", "name": "look_up", "pieces": pieces}


def sent_arguments(provider, call):
    """Whether a provider was sent ARGUMENTS as they are: as an object by some wires, as a string by others."""
    body = call["body"]
    return ARGUMENTS in body if provider in ("anthropic", "google") else json.dumps(ARGUMENTS) in body


def raises(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def check_note(extra, provider, free=False):
    note = extra["x_kairosroute"]
    assert note["provider"] == NAMES[provider], note
    assert note["byok"] is BYOK, note
    assert note["receipt_id"].startswith("rcpt_"), note
    assert (note["provider_cost_usd"] == 0) is free, note
    assert note["cost_usd"] == note["charged_usd"], note
    if BYOK or free:
        assert note["charged_usd"] == 0, note
    else:
        assert note["charged_usd"] > note["provider_cost_usd"], note


def on_each(*cases):
    """Each case once for every provider of MODELS."""
    return [(f"{case.__name__} on {provider}", case, (provider,)) for case in cases for provider in MODELS]


def once(*cases):
    return [(case.__name__, case, ()) for case in cases]


# The credentials that providers must see in this case, where they are not the usual ones.
brought = {}


def bring(provider):
    """A provider key that comes with the requests of this case, and with nothing else."""
    brought[provider] = f"brought-{provider}-0123456789"
    return brought[provider]


def check_calls():
    for call in calls():
        assert call["leaked"] == [], call["leaked"]
        expected = brought.get(call["provider"], KEY_PREFIX + call["provider"])
        assert call["authorization"] == expected, call["authorization"]
        assert API_KEY not in json.dumps(call)


def run(title, cases):
    failed = 0
    for name, case, arguments in cases:
        control("POST", "clear")
        brought.clear()
        try:
            case(*arguments)
            check_calls()
            print(f"ok {name}")
        except Exception:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}")
    print(f"{title}: {len(cases) - failed} of {len(cases)} passed")
    sys.exit(1 if failed else 0)
