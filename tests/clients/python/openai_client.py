"""The official OpenAI SDK: a task with two tool calls at once, streamed; vectors. Usage:
openai_client.py chat|responses. Address and key come from the environment; raising is failing."""

import json
import os
import sys

import openai

SKY = {"Köln": "rain", 'São Paulo "sul"': "sun"}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
MODEL = os.environ["MODEL"]
client = openai.OpenAI(max_retries=0)


def weather(text):
    return json.dumps({"sky": SKY[json.loads(text)["city"]]})


def chat():
    tools = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
    messages = [{"role": "user", "content": "What is the weather?"}]
    while True:
        with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools) as stream:
            message = stream.get_final_completion().choices[0].message
        if not message.tool_calls:
            return message.content
        calls = [{"id": call.id, "type": "function", "function": {"name": call.function.name,
                  "arguments": call.function.arguments}} for call in message.tool_calls]
        assert len(calls) == 2, calls
        messages.append({"role": "assistant", "content": message.content, "tool_calls": calls})
        messages += [
            {"role": "tool", "tool_call_id": call["id"],
             "content": weather(call["function"]["arguments"])}
            for call in calls
        ]


def responses():
    tools = [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}]
    items = [{"role": "user", "content": "What is the weather?"}]
    while True:
        with client.responses.stream(model=MODEL, input=items, tools=tools, store=False) as stream:
            for _ in stream:
                pass
            answer = stream.get_final_response()
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return answer.output_text
        assert len(calls) == 2, calls
        items += [{"type": "function_call", "call_id": call.call_id, "name": call.name,
                   "arguments": call.arguments} for call in calls]
        items += [{"type": "function_call_output", "call_id": call.call_id,
                   "output": weather(call.arguments)} for call in calls]


said = {"chat": chat, "responses": responses}[sys.argv[1]]()
assert "Köln: rain; São Paulo: sun" in said, said
print("the weather is known")
