// The conversation in the middle of the page: its turns, the message box, what is being written.

import { announce, byId, el, icon, toast } from "./dom.js";
import { bytes, count, large, rate } from "./format.js";
import { Generation } from "./generation.js";
import { addTurn, branch, saveConversation, showTurn } from "./store.js";
import { turnEditor, turnElement } from "./turns.js";

const NEAR = 80;           // pixels from the end within which the page follows the text
const SAVE_EVERY_MS = 1000;

export class Chat {
  // server: {id, props} as far as known. onChange(): the list of conversations may look different.
  constructor(server, onChange) {
    this.server = server;
    this.onChange = onChange;
    this.conversation = null;
    this.generations = new Map();  // conversation id -> Generation: several may write at once
    this.thread = byId("thread");
    this.scroller = byId("scroller");
    this.prompt = byId("prompt");
    this.follow = true;
    this.frame = 0;
    this.savedAt = 0;
    this.actions = {
      edit: (turn) => this.edit(turn),
      regenerate: (turn) => this.regenerate(turn),
      show: (turn) => this.showVersion(turn),
    };
    this.listen();
  }

  listen() {
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.generation) this.stop();
      else this.submit();
    });
    this.prompt.addEventListener("input", () => this.fitPrompt());
    this.prompt.addEventListener("keydown", (event) => this.promptKey(event));
    this.scroller.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.scroller;
      this.follow = scrollHeight - scrollTop - clientHeight < NEAR;
      byId("jump").hidden = this.follow;
    }, { passive: true });
    byId("jump").addEventListener("click", () => {
      this.scroller.scrollTop = this.scroller.scrollHeight;
    });
    addEventListener("pagehide", () => this.generations.forEach((one) => this.save(one.conversation)));
  }

  get generation() {
    return this.generations.get(this.conversation?.id);
  }

  // The object that is being written to, if the conversation is.
  open(conversation) {
    this.conversation = this.generations.get(conversation.id)?.conversation ?? conversation;
    this.render();
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.follow = true;
  }

  save(conversation) {
    this.savedAt = performance.now();
    if (!saveConversation(conversation)) {
      toast("This browser's storage is full: the conversation is not kept. Delete others first.");
    }
  }

  // ---- the message box

  fitPrompt() {
    this.prompt.style.height = "auto";
    this.prompt.style.height = `${this.prompt.scrollHeight}px`;
    this.showSend();
  }

  promptKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!this.generation) byId("composer").requestSubmit();
    } else if (event.key === "ArrowUp" && this.prompt.value === "") {
      const last = branch(this.conversation).filter((turn) => turn.role === "user").pop();
      if (!last || this.generation) return;
      event.preventDefault();
      this.edit(last);
    }
  }

  showSend() {
    const button = byId("send");
    const busy = this.generation !== undefined;
    button.replaceChildren(icon(busy ? "stop" : "send"));
    button.setAttribute("aria-label", busy ? "Stop" : "Send");
    button.title = busy ? "Stop (Esc)" : "Send (Enter)";
    button.disabled = !busy && this.prompt.value.trim() === "";
  }

  submit() {
    const text = this.prompt.value;
    if (text.trim() === "") return;
    this.prompt.value = "";
    this.fitPrompt();
    const turn = addTurn(this.conversation, this.conversation.leaf, "user", text);
    this.answer(turn);
    this.prompt.focus();
  }

  // ---- turns

  answer(turn) {
    const { conversation } = this;
    const reply = addTurn(conversation, turn.id, "assistant", "");
    const generation = new Generation(conversation, reply, this.server.id, () => this.progress(generation));
    this.generations.set(conversation.id, generation);
    this.save(conversation);
    this.follow = true;
    this.render();
    this.onChange();
    announce("Writing");
    generation.run().finally(() => this.finished(generation));
  }

  progress(generation) {
    if (performance.now() - this.savedAt > SAVE_EVERY_MS) this.save(generation.conversation);
    if (generation.conversation !== this.conversation || this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (this.generation) this.showLive(this.generation);
    });
  }

  showLive(generation) {
    this.thread.querySelector(`[data-id="${generation.turn.id}"]`)?.update(true);
    this.showMeter();
    this.scrollAlong();
  }

  finished(generation) {
    const { conversation, turn } = generation;
    this.generations.delete(conversation.id);
    this.save(conversation);
    this.onChange();
    if (!turn.error) announce(turn.finish === "stopped" ? "Stopped" : "Answer complete");
    if (conversation === this.conversation) this.render();
  }

  stop() {
    this.generation?.stop();
  }

  regenerate(turn) {
    if (this.generation) return;
    this.answer(turn.role === "user" ? turn : this.conversation.turns[turn.parent]);
  }

  showVersion(turn) {
    if (this.generation) return;
    showTurn(this.conversation, turn);
    this.save(this.conversation);
    this.render();
    this.thread.querySelector(`[data-id="${turn.id}"] .versions button:not(:disabled)`)?.focus();
  }

  edit(turn) {
    if (this.generation) return;
    const node = this.thread.querySelector(`[data-id="${turn.id}"]`);
    const editor = turnEditor(turn, (text) => {
      this.render();
      this.prompt.focus();
      if (text === null || text === turn.text) return;
      const changed = addTurn(this.conversation, turn.parent, turn.role, text);
      if (turn.role === "user") {
        this.answer(changed);
      } else {
        this.save(this.conversation);
        this.render();
      }
    });
    node.replaceChildren(editor);
    const area = editor.querySelector("textarea");
    area.style.height = `${Math.min(area.scrollHeight + 2, 400)}px`;
    area.focus();
  }

  // ---- drawing

  render() {
    const turns = branch(this.conversation);
    const live = this.generation?.turn;
    this.thread.replaceChildren(...turns.map((turn) => {
      const node = turnElement(this.conversation, turn, this.actions);
      node.update(turn === live);
      return node;
    }));
    if (turns.length === 0) this.thread.append(this.welcome());
    this.thread.classList.toggle("empty", turns.length === 0);
    this.thread.setAttribute("aria-busy", live !== undefined);
    this.showSend();
    this.showMeter();
    this.scrollAlong();
  }

  welcome() {
    const model = this.server.props?.model;
    const facts = model ? `${large(model.parameters)} parameters in ${bytes(model.file_bytes)}, ` +
      `${model.ratio_f32.toFixed(1)} to 1 against float32.` : "";
    return el("div", { class: "welcome" },
      el("h1", {}, this.server.id ?? "upg"),
      el("p", {}, facts),
      el("p", {}, "The model runs on this server. Conversations stay in this browser."));
  }

  scrollAlong() {
    if (this.follow) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  showMeter() {
    const { generation } = this;
    const parts = [];
    if (generation) {
      const speed = generation.rate();
      parts.push(generation.tokens === 0 ? "Reading the prompt" :
        `${count(generation.tokens)} tokens`);
      if (speed > 0) parts.push(`${rate(speed)} tokens/s`);
    } else {
      const last = branch(this.conversation).pop();
      const context = this.server.props?.model?.context;
      if (last?.usage && context) {
        parts.push(`${count(last.usage.total_tokens)} of ${count(context)} tokens of context`);
      }
    }
    byId("meter").textContent = parts.join(" · ");
  }
}
