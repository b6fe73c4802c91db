// The official Anthropic SDK: a task with two tool calls at once, streamed and whole. Address and key
// come from the environment; throwing is failing.
import assert from "node:assert";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ maxRetries: 0 });
const model = process.env.MODEL;
const tools = [
  {
    name: "weather",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];
const sky = { Köln: "rain", 'São Paulo "sul"': "sun" };

async function task(stream) {
  const messages = [{ role: "user", content: "What is the weather?" }];
  for (;;) {
    const asked = { model, max_tokens: 500, messages, tools };
    const answer = stream
      ? await client.messages.stream(asked).finalMessage()
      : await client.messages.create(asked);
    assert(answer.usage.output_tokens > 0);
    const calls = answer.content.filter((block) => block.type === "tool_use");
    if (!calls.length) return answer.content[0].text;
    assert.equal(calls.length, 2);
    assert.equal(answer.stop_reason, "tool_use");
    messages.push({ role: "assistant", content: answer.content });
    const result = ({ id, input }) => ({
      type: "tool_result",
      tool_use_id: id,
      content: JSON.stringify({ sky: sky[input.city] }),
    });
    messages.push({ role: "user", content: calls.map(result) });
  }
}

for (const stream of [true, false]) assert.match(await task(stream), /Köln: rain; São Paulo: sun/);
await assert.rejects(
  client.messages.create({ model: "nobody", max_tokens: 5, messages: [{ role: "user", content: "x" }] }),
  (error) => error.status === 404 && error.error.error.code === "model-not-served",
);
console.log("the weather is known");
