// The Vercel AI SDK: a task with two tool calls at once, streamed. It reads every event by a schema.
// Usage: node ai-sdk.mjs openai|compatible|anthropic. Address and key come from the environment.
import assert from "node:assert";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = process.env.OPENAI_BASE_URL;
const made = {
  openai: () => createOpenAI({ baseURL, apiKey: "k" }),
  compatible: () => createOpenAICompatible({ name: "local", baseURL, apiKey: "k" }),
  anthropic: () => createAnthropic({ baseURL, apiKey: "k" }),
};
const sky = { Köln: "rain", 'São Paulo "sul"': "sun" };
const asked = [];
const answer = streamText({
  model: made[process.argv[2]]()(process.env.MODEL),
  maxRetries: 0,
  prompt: "What is the weather?",
  // else its next request refers to items that OpenAI keeps
  providerOptions: { openai: { store: false } },
  stopWhen: stepCountIs(4),
  tools: {
    weather: tool({
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => {
        asked.push(city);
        return { sky: sky[city] };
      },
    }),
  },
  onError: ({ error }) => {
    throw error;
  },
});
const text = await answer.text;
assert.match(text, /Köln: rain; São Paulo: sun/);
assert.deepEqual(asked, Object.keys(sky));
assert.equal((await answer.steps).length, 2);
console.log("the weather is known");
