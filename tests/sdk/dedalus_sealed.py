"""Credentials for MCP servers, as Dedalus' Python packages declare and seal them."""

import json

import dedalus_labs
from dedalus_labs import Dedalus, DedalusRunner
from dedalus_mcp.auth import Connection, SecretKeys, SecretValues

from harness import API_KEY, MODELS, ROOT_URL, calls, once, raises, run, script

client = Dedalus(base_url=ROOT_URL, as_base_url=ROOT_URL, api_key=API_KEY, max_retries=0)


def secret(**fields):
    # The connection's name is the server's slug, with a dash.
    tides = Connection("acme-tides", secrets=SecretKeys(token="TIDES_TOKEN"), **fields)
    return SecretValues(tides, token="s3aled-0001")


def ask(credentials):
    tide = {"id": "toolcall1", "name": "tide", "pieces": ['{\\"port\\":', '\\"Brest\\"}']}
    script("openai", chunks=[], tool_calls=[tide])
    script("openai", chunks=["7 m."])
    return DedalusRunner(client).run(
        input="How high?", model=MODELS["openai"], mcp_servers=["acme/tides"], credentials=credentials
    )


def a_sealed_credential():
    result = ask([secret()])
    assert result.final_output == "7 m.", result
    assert [told.result for told in result.mcp_results] == ["7 m at Brest"], result
    assert "s3aled" not in json.dumps(calls()), calls()


def a_credential_for_another_host():
    error = raises(dedalus_labs.BadRequestError, lambda: ask([secret(base_url="https://api.example.com")]))
    assert error.body["error"]["param"] == "mcp_servers[0].credentials", error.body
    assert "another host" in error.body["detail"] and calls() == [], error.body


run(
    f"dedalus {dedalus_labs.__version__}",
    once(a_sealed_credential, a_credential_for_another_host),
)
