// The page: what is shown where, keys, theme. The parts are in the modules beside it.

import { ApiError, getJson, getProps, onKeyNeeded } from "./api.js";
import { Chat } from "./chat.js";
import { askForKey, showHelp } from "./dialogs.js";
import { byId, el, icon } from "./dom.js";
import { bits, bytes } from "./format.js";
import { ModelPage } from "./model.js";
import { showSettings } from "./settings.js";
import { showSidebar } from "./sidebar.js";
import { isConversationKey, loadConversation, newConversation, saveConversation } from "./store.js";

const LAST = "upg.last";  // the settings that a new conversation starts with
const THEMES = ["system", "light", "dark"];
const RETRY_MS = 1500;

const server = { id: null, props: null };
const chat = new Chat(server, () => {
  list();
  // The first answer of a model that is loaded on demand has loaded it.
  if (server.id && !server.props && !chat.generation) connect();
});
const modelPage = new ModelPage(byId("model-view"), server);

// ---- conversations

function changed(removed) {
  if (removed && removed === chat.conversation?.id) location.hash = "";
  list();
}

changed.rename = (stored, title) => {
  const open = stored.id === chat.conversation?.id ? chat.conversation : stored;
  open.title = title;
  saveConversation(open);
};

function list() {
  showSidebar(chat, changed);
}

function lastSettings() {
  try {
    return JSON.parse(localStorage.getItem(LAST));
  } catch {
    return null;
  }
}

function settingsChanged() {
  const { conversation } = chat;
  localStorage.setItem(LAST, JSON.stringify({ system: conversation.system,
    sampling: conversation.sampling }));
  if (conversation.leaf) saveConversation(conversation);
}

function newChat() {
  if (location.hash === "") route();
  else location.hash = "";
  byId("prompt").focus();
}

// ---- what the address says: "", "#c=ID", "#model"

function route() {
  const [, id] = /^#c=(\w+)$/.exec(location.hash) ?? [];
  const model = location.hash === "#model";
  byId("chat-view").hidden = model;
  byId("model-view").hidden = !model;
  byId("settings-button").hidden = model;
  document.body.classList.toggle("on-model", model);
  byId("model-link").setAttribute("aria-current", model ? "page" : "false");
  if (model) modelPage.show();
  else modelPage.hide();
  openSettings(false);
  openSidebar(false);
  if (!model || !chat.conversation) {
    chat.open((id && loadConversation(id)) || newConversation(lastSettings()));
  }
  if (!model && matchMedia("(hover: hover)").matches) byId("prompt").focus();
  list();
}

// A conversation gets its address with its first message.
byId("composer").addEventListener("submit", () => {
  const wanted = `#c=${chat.conversation.id}`;
  if (location.hash !== wanted && chat.conversation.leaf) {
    history.pushState(null, "", wanted);
    list();
  }
});

// ---- panels

function openSidebar(open) {
  document.body.classList.toggle("sidebar-open", open);
  byId("open-sidebar").setAttribute("aria-expanded", open);
  byId("scrim").hidden = !open;
  sidebarInert();
  if (open) byId("close-sidebar").focus();
}

const narrow = matchMedia("(max-width: 860px)");

function sidebarInert() {
  byId("sidebar").inert = narrow.matches && !document.body.classList.contains("sidebar-open");
}

function fillSettings() {
  showSettings(chat.conversation, server.props?.default_sampling, settingsChanged,
    () => openSettings(false));
}

function openSettings(open) {
  const panel = byId("settings");
  const was = !panel.hidden;
  panel.hidden = !open;
  document.body.classList.toggle("settings-open", open);
  byId("settings-button").setAttribute("aria-expanded", open);
  if (open) {
    fillSettings();
    byId("settings-title").focus();
  } else if (was) {
    byId("settings-button").focus();
  }
}

// ---- theme

function showTheme() {
  const theme = document.documentElement.dataset.theme ?? "system";
  const button = byId("theme-button");
  const label = `Theme: ${theme}`;
  button.replaceChildren(icon({ system: "system", light: "sun", dark: "moon" }[theme]));
  button.setAttribute("aria-label", label);
  button.title = label;
}

function nextTheme() {
  const now = document.documentElement.dataset.theme ?? "system";
  const theme = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  localStorage.setItem("upg.theme", theme);
  showTheme();
}

// ---- the server

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = text === "";
}

function showModel(models) {
  const model = server.props?.model;
  const select = byId("model-select");
  select.replaceChildren(...models.map(({ id }) =>
    el("option", { value: id, selected: id === server.id }, id)));
  select.hidden = models.length < 2;
  byId("model-name").textContent = models.length < 2 ? server.id : "";
  byId("model-facts").textContent = model ? [model.profile, bytes(model.file_bytes),
    `${bits(model.bits_per_weight)} bits a weight`].filter(Boolean).join(" · ") : "not loaded yet";
  document.title = `${server.id} · upg`;
}

let retry = 0;
let connecting = 0;  // the newest attempt; older ones change nothing any more

async function connect() {
  const attempt = ++connecting;
  clearTimeout(retry);
  try {
    const { data } = await getJson("v1/models");
    const id = data.some((model) => model.id === server.id) ? server.id : null;
    const props = await getProps(id);
    if (attempt !== connecting) return;
    server.props = props;
    server.id = props?.id ?? id ?? data[0]?.id;
    showModel(data);
    notice("");
    if (!chat.conversation.leaf) chat.render();
    chat.showMeter();
    if (!byId("settings").hidden) fillSettings();
    if (location.hash === "#model") modelPage.show();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (attempt !== connecting) return;
    notice(error.message);
    if (error.status === 0 || error.status === 503) retry = setTimeout(connect, RETRY_MS);
  }
}

function choose(id) {
  server.id = id;
  server.props = null;
  connect();
}

// ---- keys

function keyPressed(event) {
  const command = event.ctrlKey || event.metaKey;
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if (document.body.classList.contains("sidebar-open")) openSidebar(false);
    else if (chat.generation) chat.stop();
    else if (!byId("settings").hidden) openSettings(false);
  } else if (command && event.key === "/") {
    event.preventDefault();
    showHelp();
  } else if (command && event.key === ",") {
    event.preventDefault();
    openSettings(byId("settings").hidden);
  } else if (command && event.shiftKey && event.key.toLowerCase() === "o") {
    event.preventDefault();
    newChat();
  }
}

for (const [id, name] of [["close-sidebar", "close"], ["open-sidebar", "menu"],
  ["settings-button", "sliders"]]) byId(id).append(icon(name));
byId("new-chat").addEventListener("click", newChat);
byId("help-button").addEventListener("click", showHelp);
byId("theme-button").addEventListener("click", nextTheme);
byId("open-sidebar").addEventListener("click", () => openSidebar(true));
byId("close-sidebar").addEventListener("click", () => openSidebar(false));
byId("scrim").addEventListener("click", () => openSidebar(false));
byId("settings-button").addEventListener("click", () => openSettings(byId("settings").hidden));
byId("model-select").addEventListener("change", (event) => choose(event.target.value));
narrow.addEventListener("change", sidebarInert);
addEventListener("keydown", keyPressed);
addEventListener("hashchange", route);
// Another tab wrote.
addEventListener("storage", (event) => isConversationKey(event.key) && list());

onKeyNeeded(askForKey);
showTheme();
route();
connect();
