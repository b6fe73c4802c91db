"""The official Anthropic SDK: a task with two tool calls at once, streamed. Address and key come from
the environment; raising is failing."""

import json
import os

import anthropic

SKY = {"Köln": "rain", 'São Paulo "sul"': "sun"}
WEATHER = {
    "name": "weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
client = anthropic.Anthropic(max_retries=0)
messages = [{"role": "user", "content": "What is the weather?"}]
for _ in range(2):
    with client.messages.stream(
        model=os.environ["MODEL"], max_tokens=500, messages=messages, tools=[WEATHER]
    ) as stream:
        answer = stream.get_final_message()
    assert answer.usage.output_tokens > 0, answer
    calls = [block for block in answer.content if block.type == "tool_use"]
    messages.append({"role": "assistant", "content": answer.content})
    messages.append(
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": call.id,
                    "content": json.dumps({"sky": SKY[call.input["city"]]}),
                }
                for call in calls
            ],
        }
    )
assert "Köln: rain; São Paulo: sun" in answer.content[0].text, answer
print("the weather is known")
