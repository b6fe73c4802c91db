"""The official Anthropic SDK against a room's gateway: what a client sees, written to seen.json.

Runs inside a room, with the addresses that the room gives. `assert` is the test.
"""

import asyncio
import json

import anthropic

# Nobody's: made up for tests.
SECRET = "AWS_ACCESS_KEY_ID=AKIA" + "ZYNWSO6MFVJP3JJH\nAWS_SECRET_ACCESS_KEY=" + (
    "GRr6fUyMmjfzJx9OyNtyJIdCub" + "riVzmewnbovwIU"
)
WEATHER = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
CITIES = ["Köln", 'São Paulo "sul"']
HELLO = "Hello from a recording. Nobody thought about this."

client = anthropic.Anthropic(max_retries=0)
runs = []


def note(raw, stream, status, usage):
    """What this client knows of one run, to be held against its record."""
    runs.append(
        {
            "run": raw.headers["x-proofroom-run"],
            "label": raw.headers["x-proofroom-label"],
            "tier": raw.headers.get("x-proofroom-tier"),
            "endpoint": "/v1/messages",
            "stream": stream,
            "http_status": status,
            "tokens": usage and {"input": usage.input_tokens, "output": usage.output_tokens},
        }
    )


def request(text, model="default", **more):
    return {
        "model": model,
        "max_tokens": 500,
        "messages": [{"role": "user", "content": text}],
        **more,
    }


def ids():
    return sorted(model.id for model in client.models.list())


def plain(text):
    raw = client.messages.with_raw_response.create(**request(text, system="Be brief."))
    answer = raw.parse()
    note(raw, False, 200, answer.usage)
    return answer


def answers():
    assert plain("Good morning").content[0].text == HELLO
    with client.messages.stream(**request("Good morning")) as stream:
        pieces = list(stream.text_stream)
        answer = stream.get_final_message()
        raw = stream.response
    assert "".join(pieces) == HELLO and len(pieces) > 1, pieces
    assert answer.stop_reason == "end_turn"
    note(raw, True, 200, answer.usage)


def results(answer):
    """Answers each call at once, as an agent does."""
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [call.input["city"] for call in calls] == CITIES, calls
    return [
        {"type": "tool_result", "tool_use_id": call.id, "content": json.dumps({"sky": sky})}
        for call, sky in zip(calls, ["rain", "sun"], strict=True)
    ]


def tools(stream):
    asked = request("What is the weather?", tools=[WEATHER])
    for turn in range(2):
        if stream:
            with client.messages.stream(**asked) as events:
                kinds = {event.type for event in events}
                answer = events.get_final_message()
                raw = events.response
            assert turn or "input_json" in kinds, kinds
        else:
            raw = client.messages.with_raw_response.create(**asked)
            answer = raw.parse()
        note(raw, stream, 200, answer.usage)
        if turn == 0:
            assert answer.stop_reason == "tool_use"
            asked["messages"] += [
                {
                    "role": "assistant",
                    "content": [
                        block.model_dump(include={"type", "text", "id", "name", "input"})
                        for block in answer.content
                    ],
                },
                {"role": "user", "content": results(answer)},
            ]
    assert "Köln: rain" in answer.content[0].text


async def together():
    """Several requests at once over one client."""
    many = anthropic.AsyncAnthropic(max_retries=0)
    answers = await asyncio.gather(
        *(
            many.messages.with_raw_response.create(**request(f"Good morning {number}"))
            for number in range(4)
        )
    )
    for raw in answers:
        parsed = raw.parse()
        answer = await parsed if asyncio.iscoroutine(parsed) else parsed
        assert answer.content[0].text == HELLO
        note(raw, False, 200, answer.usage)


def refused(kind, status, code, type_, asked):
    try:
        client.messages.create(**asked)
    except kind as error:
        assert error.status_code == status, error.status_code
        assert error.body["type"] == "error", error.body
        assert error.body["error"]["type"] == type_, error.body
        assert error.body["error"]["code"] == code, error.body
        assert error.body["error"]["message"], error.body
        note(error.response, bool(asked.get("stream")), status, None)
    else:
        raise AssertionError(f"{asked['model']} was answered")


before = ids()
assert "cassette-standard" in before and "cassette-tee" in before, before
answers()
tools(stream=False)
tools(stream=True)
asyncio.run(together())
refused(
    anthropic.NotFoundError,
    404,
    "model-not-served",
    "not_found_error",
    request("Good morning", model="claude-nobody"),
)
secret = f"Use these:\n{SECRET}"
denied = (anthropic.PermissionDeniedError, 403, "label-requires-tier", "permission_error")
refused(*denied, request(secret, model="cassette-standard"))
refused(*denied, request("Good day", model="cassette-standard", stream=True))
assert plain("Good morning").model == "cassette-tee"
after = ids()
assert "cassette-standard" not in after and "cassette-tee" in after, after
with open("/workspace/seen.json", "w", encoding="utf-8") as out:
    json.dump({"runs": runs, "sdk": anthropic.__version__}, out)
