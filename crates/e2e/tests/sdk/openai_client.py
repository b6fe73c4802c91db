"""The official OpenAI SDK against a room's gateway: what a client sees, written to seen.json.

Runs inside a room, with the addresses that the room gives. `assert` is the test.
"""

import asyncio
import json

import openai

# Nobody's: made up for tests.
SECRET = "AWS_ACCESS_KEY_ID=AKIA" + "ZYNWSO6MFVJP3JJH\nAWS_SECRET_ACCESS_KEY=" + (
    "GRr6fUyMmjfzJx9OyNtyJIdCub" + "riVzmewnbovwIU"
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CITIES = ["Köln", 'São Paulo "sul"']
HELLO = "Hello from a recording. Nobody thought about this."

client = openai.OpenAI(max_retries=0)
runs = []


def note(raw, stream, status, usage, endpoint="/v1/chat/completions"):
    """What this client knows of one run, to be held against its record."""
    runs.append(
        {
            "run": raw.headers["x-proofroom-run"],
            "label": raw.headers["x-proofroom-label"],
            "tier": raw.headers.get("x-proofroom-tier"),
            "endpoint": endpoint,
            "stream": stream,
            "http_status": status,
            "tokens": usage and counted(usage),
        }
    )


def counted(usage):
    """Tokens as each API names them; embeddings have none of their own."""
    if hasattr(usage, "input_tokens"):
        return {"input": usage.input_tokens, "output": usage.output_tokens}
    return {"input": usage.prompt_tokens, "output": getattr(usage, "completion_tokens", 0)}


def user(text):
    return [{"role": "user", "content": text}]


def ids():
    return sorted(model.id for model in client.models.list())


def plain(text, model="default"):
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=user(text)
    )
    answer = raw.parse()
    note(raw, False, 200, answer.usage)
    return answer


def answers():
    assert plain("Good morning").choices[0].message.content == HELLO
    for options, counted in [({"stream_options": {"include_usage": True}}, True), ({}, False)]:
        raw = client.chat.completions.with_raw_response.create(
            model="default", messages=user("Good morning"), stream=True, **options
        )
        text, usage, pieces = "", None, 0
        for chunk in raw.parse():
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                pieces += 1
        assert text == HELLO and pieces > 2, (text, pieces)
        assert (usage is not None) == counted
        note(raw, True, 200, usage)


def results(calls):
    """Answers each call at once, as an agent does."""
    assert [json.loads(call.function.arguments)["city"] for call in calls] == CITIES
    return [
        {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"sky": sky})}
        for call, sky in zip(calls, ["rain", "sun"], strict=True)
    ]


def tools():
    messages = user("What is the weather?")
    raw = client.chat.completions.with_raw_response.create(
        model="default", messages=messages, tools=[WEATHER], parallel_tool_calls=True
    )
    first = raw.parse()
    note(raw, False, 200, first.usage)
    assert first.choices[0].finish_reason == "tool_calls"
    message = first.choices[0].message
    messages += [message.model_dump(exclude_none=True), *results(message.tool_calls)]
    raw = client.chat.completions.with_raw_response.create(
        model="default", messages=messages, tools=[WEATHER]
    )
    last = raw.parse()
    note(raw, False, 200, last.usage)
    assert "Köln: rain" in last.choices[0].message.content


def streamed_tools():
    """The SDK's own assembly of a stream, with tools."""
    messages = user("What is the weather?")
    for turn in range(2):
        with client.chat.completions.stream(
            model="default",
            messages=messages,
            tools=[WEATHER],
            stream_options={"include_usage": True},
        ) as stream:
            kinds = {event.type for event in stream}
            raw = stream._response
            answer = stream.get_final_completion()
        note(raw, True, 200, answer.usage)
        message = answer.choices[0].message
        if turn == 0:
            assert "tool_calls.function.arguments.done" in kinds, kinds
            messages += [
                {
                    "role": "assistant",
                    "content": message.content,
                    "tool_calls": [
                        {
                            "id": call.id,
                            "type": "function",
                            "function": {
                                "name": call.function.name,
                                "arguments": call.function.arguments,
                            },
                        }
                        for call in message.tool_calls
                    ],
                },
                *results(message.tool_calls),
            ]
    assert "Köln: rain" in message.content


async def together():
    """Several requests at once over one client."""
    many = openai.AsyncOpenAI(max_retries=0)
    answers = await asyncio.gather(
        *(
            many.chat.completions.with_raw_response.create(
                model="default", messages=user(f"Good morning {number}")
            )
            for number in range(4)
        )
    )
    for raw in answers:
        answer = raw.parse()
        assert answer.choices[0].message.content == HELLO
        note(raw, False, 200, answer.usage)


def refused(kind, status, code, model, text, **options):
    try:
        client.chat.completions.create(model=model, messages=user(text), **options)
    except kind as error:
        assert error.status_code == status, error.status_code
        assert error.code == code, error.code
        assert error.body["message"] and error.body["type"], error.body
        assert error.body["param"] is None, error.body
        note(error.response, bool(options.get("stream")), status, None)
    else:
        raise AssertionError(f"{model} was answered")


def responses():
    """The newer API: whole, as events, and with what it is told to forget."""
    ask = {"model": "default", "input": "Good morning", "store": False}
    raw = client.responses.with_raw_response.create(**ask)
    answer = raw.parse()
    assert answer.output_text == HELLO, answer
    note(raw, False, 200, answer.usage, "/v1/responses")
    raw = client.responses.with_raw_response.create(stream=True, **ask)
    events = list(raw.parse())
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(pieces) == HELLO and len(pieces) > 1, pieces
    assert events[-1].type == "response.completed", events[-1]
    note(raw, True, 200, events[-1].response.usage, "/v1/responses")


def embeddings():
    raw = client.embeddings.with_raw_response.create(model="default", input=["one", "two", "one"])
    answer = raw.parse()
    first, second, third = (one.embedding for one in answer.data)
    assert first == third != second, answer
    note(raw, False, 200, answer.usage, "/v1/embeddings")


def not_allowed():
    """The access policy names the endpoints that there are; others are refused in the SDK's terms."""
    for ask in (
        lambda: client.moderations.create(model="default", input="Good morning"),
        lambda: client.completions.create(model="default", prompt="Good morning"),
    ):
        try:
            ask()
        except openai.PermissionDeniedError as error:
            assert error.code == "access-policy", error.body
        else:
            raise AssertionError("an endpoint that the policy does not name was answered")


before = ids()
assert "cassette-standard" in before and "cassette-tee" in before, before
answers()
tools()
streamed_tools()
asyncio.run(together())
responses()
embeddings()
refused(openai.NotFoundError, 404, "model-not-served", "gpt-nobody", "Good morning")
not_allowed()
secret = f"Use these:\n{SECRET}"
refused(openai.PermissionDeniedError, 403, "label-requires-tier", "cassette-standard", secret)
refused(
    openai.PermissionDeniedError, 403, "label-requires-tier", "cassette-standard", "Good day", stream=True
)
assert plain("Good morning").model == "cassette-tee"
after = ids()
assert "cassette-standard" not in after and "cassette-tee" in after, after
with open("/workspace/seen.json", "w", encoding="utf-8") as out:
    json.dump({"runs": runs, "sdk": openai.__version__}, out)
