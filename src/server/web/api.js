// What this page asks of the server, and how its answers and errors are read.
//
// Addresses are relative, so that the page also works behind a proxy that adds a path.

// What the server said went wrong; `status` 0: it did not answer at all.
export class ApiError extends Error {
  constructor(status, message, detail = {}) {
    super(message);
    this.status = status;
    this.type = detail.type ?? "";
    this.code = detail.code ?? "";
    this.param = detail.param ?? "";
    this.retryAfter = detail.retryAfter ?? "";
  }
}

const KEY = "upg.key";
let askForKey = null;  // async (message) => key, or null when the user gives none
let asking = null;     // one question at a time, however many requests were refused

export function onKeyNeeded(ask) {
  askForKey = ask;
}

export const apiKey = () => sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "";

export function setApiKey(key, remember) {
  forgetApiKey();
  if (key) (remember ? localStorage : sessionStorage).setItem(KEY, key);
}

export function forgetApiKey() {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
}

async function errorOf(response) {
  const text = await response.text().catch(() => "");
  const retryAfter = response.headers.get("Retry-After") ?? "";
  try {
    const { error } = JSON.parse(text);
    return new ApiError(response.status, String(error.message), { ...error, retryAfter });
  } catch {
    const message = text.slice(0, 500) || response.statusText || `HTTP status ${response.status}`;
    return new ApiError(response.status, message, { retryAfter });
  }
}

async function send(path, options) {
  const headers = { ...options.headers };
  if (apiKey()) headers.Authorization = `Bearer ${apiKey()}`;
  try {
    return await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, `The server does not answer (${error.message}).`);
  }
}

async function newKey(message) {
  asking ??= askForKey(message).finally(() => { asking = null; });
  return asking;
}

// The response, when it is a good one. quiet: a 401 is an error like others, nobody is asked.
async function request(path, { quiet = false, ...options } = {}) {
  for (;;) {
    const response = await send(path, options);
    if (response.ok) return response;
    const error = await errorOf(response);
    if (error.status !== 401 || quiet || !askForKey) throw error;
    if ((await newKey(error.message)) === null) throw error;
  }
}

export const getJson = async (path, options = {}) => (await request(path, options)).json();

// Of that model, or of any; null when it is loaded only once it is asked something.
export async function getProps(id, options = {}) {
  try {
    return await getJson(id ? `props?model=${encodeURIComponent(id)}` : "props", options);
  } catch (error) {
    if (error.code === "model_not_loaded") return null;
    throw error;
  }
}

// The data of server-sent events, one string an event (the HTML standard, section 9.2.6).
export async function* serverEvents(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) yield data.join("\n");
        data = [];
      } else if (line.startsWith("data:")) {
        data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
  }
}

// The chunks of a streamed chat completion. Throws ApiError, also for an error inside the stream
// and for one that ends without [DONE].
export async function* chatCompletion(body, signal) {
  const response = await request("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  try {
    for await (const data of serverEvents(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(200, String(chunk.error.message), chunk.error);
      yield chunk;
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
    throw new ApiError(0, `The connection broke (${error.message}).`);
  }
  throw new ApiError(0, "The connection ended before the answer did.");
}
