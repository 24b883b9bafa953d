// The REST API, asked with the token of whoever looks.

import { forget, token } from "./session.js";

const API = new URL("../api/v1/", document.baseURI);

/** An answer that is an error (application/problem+json), or none at all. */
export class Problem extends Error {
  constructor(status, said) {
    super(said.detail || "The control plane does not answer.");
    this.status = status;
    this.code = said.code || "unreachable";
    this.remedy = said.remedy || "";
  }
}

/** `trying`: the token was only now typed; that it is refused is said where it was, and nobody is signed out. */
async function ask(method, path, { signal, body, headers, trying = false } = {}) {
  const mine = token();
  let answer;
  try {
    answer = await fetch(new URL(path, API), {
      method,
      signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      headers: {
        Authorization: `Bearer ${mine}`,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { remedy: "It is asked again. See whether it runs, and whether this machine reaches it." });
  }
  if (answer.ok) return answer;
  let said = {};
  try {
    said = await answer.json();
  } catch {
    said = { detail: `The control plane answered ${answer.status}.` };
  }
  if (answer.status === 401 && !trying && token() === mine) {
    // an answer that comes late is about who was signed in then
    forget();
    dispatchEvent(new Event("signedout"));
  }
  throw new Problem(answer.status, said);
}

export async function get(path, options) {
  return (await ask("GET", path, options)).json();
}

export async function post(path, body, options) {
  return (await ask("POST", path, { ...options, body })).json();
}

export async function remove(path, options) {
  return (await ask("DELETE", path, options)).json();
}

/** All rows of a list, page by page, up to `most`. */
export async function all(path, key, { signal, most = 20000 } = {}) {
  const rows = [];
  let cursor = null;
  do {
    const where = new URLSearchParams({ limit: "500" });
    if (cursor !== null) where.set("cursor", cursor);
    const page = await get(`${path}${path.includes("?") ? "&" : "?"}${where}`, { signal });
    rows.push(...page[key]);
    cursor = page.next;
  } while (cursor !== null && rows.length < most);
  return rows;
}

/** One part of a path. */
export const part = encodeURIComponent;

/** Server-Sent Events, as {event, data}, until the stream ends. EventSource cannot send a token. */
export async function* events(path, { signal } = {}) {
  const answer = await ask("GET", path, { signal, headers: { Accept: "text/event-stream" } });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parsed(block);
        if (event !== null) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  let kind = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) kind = line.slice(7);
    else if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  return data.length ? { event: kind, data: JSON.parse(data.join("\n")) } : null;
}
