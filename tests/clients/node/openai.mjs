// The official OpenAI SDK: a task with two tool calls at once, streamed and whole. Usage:
// node openai.mjs chat|responses. Address and key come from the environment; throwing is failing.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const model = process.env.MODEL;
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const sky = { Köln: "rain", 'São Paulo "sul"': "sun" };
const weather = (text) => JSON.stringify({ sky: sky[JSON.parse(text).city] });

async function chat(stream) {
  const messages = [{ role: "user", content: "What is the weather?" }];
  const tools = [{ type: "function", function: { name: "weather", parameters } }];
  for (;;) {
    const asked = { model, messages, tools };
    const answer = stream
      ? await client.chat.completions
          .stream({ ...asked, stream_options: { include_usage: true } })
          .finalChatCompletion()
      : await client.chat.completions.create(asked);
    assert(answer.usage.completion_tokens > 0);
    const message = answer.choices[0].message;
    if (!message.tool_calls?.length) return message.content;
    assert.equal(message.tool_calls.length, 2);
    messages.push(message);
    for (const { id, function: called } of message.tool_calls)
      messages.push({ role: "tool", tool_call_id: id, content: weather(called.arguments) });
  }
}

async function responses(stream) {
  const input = [{ role: "user", content: "What is the weather?" }];
  const tools = [{ type: "function", name: "weather", parameters, strict: false }];
  for (;;) {
    const asked = { model, input, tools, store: false };
    const answer = stream
      ? await client.responses.stream(asked).finalResponse()
      : await client.responses.create(asked);
    assert(answer.usage.output_tokens > 0);
    const calls = answer.output.filter((item) => item.type === "function_call");
    if (!calls.length) return answer.output_text;
    assert.equal(calls.length, 2);
    input.push(...answer.output);
    for (const { call_id, arguments: text } of calls)
      input.push({ type: "function_call_output", call_id, output: weather(text) });
  }
}

const api = { chat, responses }[process.argv[2]];
for (const stream of [true, false]) assert.match(await api(stream), /Köln: rain; São Paulo: sun/);
await assert.rejects(
  client.chat.completions.create({ model: "nobody", messages: [{ role: "user", content: "x" }] }),
  (error) => error.status === 404 && error.code === "model-not-served",
);
console.log("the weather is known");
