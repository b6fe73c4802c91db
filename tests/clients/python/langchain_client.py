"""LangChain: a task with two tool calls at once, streamed. Usage: langchain_client.py openai|anthropic.
Address and key come from the environment; raising is failing."""

import json
import os
import sys

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

SKY = {"Köln": "rain", 'São Paulo "sul"': "sun"}


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return json.dumps({"sky": SKY[city]})


CLIENTS = {
    "openai": lambda model: ChatOpenAI(model=model, max_retries=0, stream_usage=True),
    "anthropic": lambda model: ChatAnthropic(model=model, max_retries=0),
}
model = CLIENTS[sys.argv[1]](os.environ["MODEL"]).bind_tools([weather])
messages = [HumanMessage("What is the weather?")]
for turn in range(2):
    answer = None
    for chunk in model.stream(messages):
        answer = chunk if answer is None else answer + chunk
    assert answer.usage_metadata["output_tokens"] > 0, answer
    messages.append(answer)
    if turn == 0:
        assert [call["args"]["city"] for call in answer.tool_calls] == list(SKY), answer
    for call in answer.tool_calls:
        messages.append(ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]))
assert "Köln: rain; São Paulo: sun" in str(answer.text), answer
print("the weather is known")
