"""The tool of the Model Context Protocol, asked by the protocol's own client; and the page beside the API."""

import asyncio
import json
import re

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from served import as_text, png, question, served

from pbrec_hf.app.service.limits import Limits
from pbrec_hf.app.service.run import build_all
from pbrec_hf.app.service.service import Service
from pbrec_hf.app.service.tool import NAME
from pbrec_hf.inference.grounder import Grounder

PATH = "/gradio_api/mcp/"


@pytest.fixture(scope="module")
def grounder(checkpoint):
    return Grounder(checkpoint)


@pytest.fixture(scope="module", params=[True, False], ids=["page", "alone"])
def address(grounder, request):
    service = Service(grounder, Limits(expressions=3, upload=50_000))
    with served(build_all(service, page=request.param, mcp=True)) as address:
        yield address


def call(address, **arguments):
    """The tools that are offered, and what the tool answers."""

    async def ask():
        async with streamablehttp_client(address + PATH) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            return tools, await session.call_tool(NAME, arguments)

    return asyncio.run(ask())


def test_a_language_model_finds_things(address, grounder):
    tools, result = call(address, photograph=as_text(png()), expressions=["left dog", "girl"])
    assert [tool.name for tool in tools] == [NAME]
    assert tools[0].inputSchema["required"] == ["photograph", "expressions"]
    assert "the dog on the left" in tools[0].description
    assert not result.isError, result.content
    answer = json.loads(result.content[0].text)
    assert (answer["width"], answer["height"]) == (90, 60)
    for found, right in zip(answer["results"], grounder(png(), ["left dog", "girl"]).answers, strict=True):
        assert found["answers"][0]["box"] == pytest.approx(right["boxes"][0].tolist(), abs=1e-2)
    metrics = httpx.get(address + "/metrics").text
    assert 'pbrec_requests_total{route="mcp",status="200"}' in metrics


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"photograph": "http://127.0.0.1:1/a.png"}, "no address"),
        ({"photograph": "/etc/hostname"}, "no address|not a picture"),
        ({"expressions": ["dog"] * 4}, "4 expressions at once: give at most 3"),
        ({"expressions": []}, "No expression"),
        ({"threshold": 2}, "threshold"),
        ({"several": True}, "calibration"),
        ({"photograph": as_text(bytes(50_001))}, "send at most"),
    ],
)
def test_a_wrong_question_of_a_language_model_is_told_why(address, arguments, reason):
    _, result = call(address, **{"photograph": as_text(png()), "expressions": ["dog"], **arguments})
    assert result.isError and re.search(reason, result.content[0].text), result.content


def test_the_page_and_the_api_share_a_port(grounder):
    service = Service(grounder)
    with served(build_all(service)) as address, httpx.Client(base_url=address, timeout=90) as client:
        assert "<gradio-app" in client.get("/").text or "gradio" in client.get("/").text
        assert client.post("/v1/ground", json=question()).status_code == 200
        assert client.get("/health").json()["status"] == "ok"
        assert client.get("/openapi.json").json()["info"]["title"] == "Referring expressions"
        large = client.post("/gradio_api/call/ground", content=b"x" * (service.limits.body + 1))
        assert large.status_code == 413
        assert client.get(PATH).status_code == 404
