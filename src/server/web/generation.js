// One answer being written: the request, the text as it comes, its figures.

import { ApiError, chatCompletion } from "./api.js";
import { branch } from "./store.js";

// What the server is sent: only settings that the user changed, so that the model's defaults hold.
function requestOf(conversation, parent, model) {
  const messages = branch(conversation, parent).filter((turn) => turn.text !== "")
    .map((turn) => ({ role: turn.role, content: turn.text }));
  if (conversation.system.trim()) {
    messages.unshift({ role: "system", content: conversation.system });
  }
  return { model, messages, ...conversation.sampling };
}

function errorOf(error) {
  return { message: error.message, status: error.status ?? 0, type: error.type ?? "",
    retryAfter: error.retryAfter ?? "" };
}

export class Generation {
  // turn: the assistant's, empty, of `conversation`. changed() is called whenever it has more.
  constructor(conversation, turn, model, changed) {
    this.conversation = conversation;
    this.turn = turn;
    this.model = model;
    this.changed = changed;
    this.controller = new AbortController();
    this.tokens = 0;
    this.firstAt = 0;
  }

  stop() {
    this.controller.abort();
  }

  // Tokens a second since the first one; 0 until there are two.
  rate() {
    const seconds = (performance.now() - this.firstAt) / 1000;
    return this.tokens > 1 && seconds > 0 ? (this.tokens - 1) / seconds : 0;
  }

  async run() {
    const { turn, conversation } = this;
    try {
      const body = requestOf(conversation, turn.parent, this.model);
      for await (const chunk of chatCompletion(body, this.controller.signal)) this.take(chunk);
    } catch (error) {
      if (error.name === "AbortError") turn.finish = "stopped";
      else if (error instanceof ApiError) turn.error = errorOf(error);
      else throw error;
    }
    conversation.updated = Date.now();
    this.changed();
  }

  take(chunk) {
    const { turn } = this;
    const choice = chunk.choices?.[0];
    const text = choice?.delta?.content ?? "";
    if (text) {
      if (this.tokens === 0) this.firstAt = performance.now();
      this.tokens += 1;
      turn.text += text;
    }
    if (choice?.finish_reason) turn.finish = choice.finish_reason;
    if (chunk.usage) turn.usage = chunk.usage;
    if (chunk.timings) turn.timings = chunk.timings;
    if (chunk.model) turn.model = chunk.model;
    this.changed();
  }
}
