// What is asked again and again while somebody looks.

import { replace, h } from "./dom.js";
import { Problem } from "./api.js";

let troubled = null;

/** Shows what went wrong, until the same work goes well again. */
export function trouble(source, error) {
  troubled = source;
  const notice = document.getElementById("notice");
  const sentence = error instanceof Problem ? `${error.message} ${error.remedy}` : `The console failed: ${error}`;
  if (notice.textContent !== sentence) replace(notice, h("p", {}, sentence));
}

export function well(source) {
  if (troubled === source || source === null) {
    troubled = null;
    document.getElementById("notice").replaceChildren();
  }
}

/** Runs `work` now and then `seconds` after each end, until the signal; not while nobody sees the page. */
export async function every(seconds, signal, work) {
  while (!signal.aborted) {
    try {
      await work();
      well(work);
    } catch (error) {
      if (signal.aborted) return;
      if (error.status !== 401) trouble(work, error);
    }
    await pause(seconds, signal);
    await seen(signal);
  }
}

export function pause(seconds, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

function seen(signal) {
  if (!document.hidden || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
    signal.addEventListener("abort", resolve, { once: true });
  });
}

/** Bytes a second of something that grows, from what was seen of it in the last seconds. */
export class Speed {
  constructor(window = 4) {
    this.window = window * 1000;
    this.seen = [];
  }

  note(total, now = performance.now()) {
    const last = this.seen.at(-1);
    if (last && total < last.total) this.seen = [];
    this.seen.push({ now, total });
    while (this.seen.length > 2 && now - this.seen[1].now > this.window) this.seen.shift();
    return this.value(now);
  }

  value(now = performance.now()) {
    const first = this.seen[0];
    const last = this.seen.at(-1);
    if (!first || now - first.now < 400) return null;
    return (last.total - first.total) / ((now - first.now) / 1000);
  }
}
