// How much of something is here, and where it came from.

import { h, put, replace, s, set, text } from "./dom.js";
import { arrived, bytes, percent, share } from "./format.js";

const SOURCES = ["origin", "peers", "local"];
const NAMES = { origin: "from the origin", peers: "from other nodes", local: "here before" };

/** A bar of bytes by source. `amounts`: {total, origin, peers, local}. Returns {element, update(amounts, done)}. */
export function sourceBar(label) {
  const parts = SOURCES.map((source) => s("rect", { class: `from-${source}`, y: "0", height: "10" }));
  const element = s(
    "svg",
    { class: "sources", viewBox: "0 0 1000 10", preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("rect", { class: "rail", width: "1000", height: "10" }),
    parts,
  );
  return {
    element,
    update(amounts, done = false) {
      const whole = Math.max(amounts.total, arrived(amounts), 1);
      let at = 0;
      SOURCES.forEach((source, index) => {
        const width = (1000 * amounts[source]) / whole;
        set(parts[index], "x", at.toFixed(1));
        set(parts[index], "width", width.toFixed(1));
        at += width;
      });
      set(element, "aria-label", `${label}: ${percent(share(amounts, done))}`);
    },
  };
}

/** The same for a cell of a table: drawn once. */
export function smallBar(label, amounts, done) {
  const bar = sourceBar(label);
  bar.update(amounts, done);
  return h("div", { class: "small-bar" }, bar.element, h("span", { class: "figure" }, percent(share(amounts, done))));
}

/** A plain bar, 0..1. */
export function level(label, value, kind = "level") {
  const bar = s("rect", { class: kind, height: "10" });
  const element = s(
    "svg",
    { class: "sources", viewBox: "0 0 1000 10", preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("rect", { class: "rail", width: "1000", height: "10" }),
    bar,
  );
  const update = (now) => {
    set(bar, "width", (1000 * Math.min(1, Math.max(0, now || 0))).toFixed(1));
    set(element, "aria-label", `${label}: ${percent(now)}`);
  };
  update(value);
  return { element, update };
}

/** What the colours of a bar mean, with bytes. Returns {element, update(amounts)}. */
export function legend() {
  const figures = Object.fromEntries(SOURCES.map((source) => [source, h("span", { class: "figure" })]));
  const element = h(
    "ul",
    { class: "legend" },
    SOURCES.map((source) =>
      h("li", {}, h("span", { class: `swatch from-${source}` }), figures[source], ` ${NAMES[source]}`),
    ),
  );
  return {
    element,
    update(amounts) {
      for (const source of SOURCES) text(figures[source], bytes(amounts[source]));
    },
  };
}

/** What else colours mean. `meanings`: [class of the swatch, words]. */
export function key(meanings) {
  return h("ul", { class: "legend" }, meanings.map(([kind, words]) => h("li", {}, h("span", { class: `swatch ${kind}` }), ` ${words}`)));
}

/** A word in a lozenge. */
export function chip(word, tone) {
  return h("span", { class: `chip ${tone || word}` }, word);
}

/** A figure with what it is. Returns {element, update(value, note)}. */
export function tile(label, href = null) {
  const value = h("span", { class: "value" });
  const note = h("span", { class: "note" });
  const element = h(href ? "a" : "div", { class: "tile", href }, h("span", { class: "label" }, label), value, note);
  return {
    element,
    update(now, said = "") {
      text(value, now);
      text(note, said);
    },
  };
}

/** Names and values of one thing. `pairs`: [name, value or node]. */
export function facts(pairs) {
  const list = h("dl", { class: "facts" });
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    put(list, h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  }
  return list;
}

export function refresh(holder, pairs) {
  const fresh = facts(pairs);
  if (holder.textContent !== fresh.textContent) replace(holder, fresh);
}
