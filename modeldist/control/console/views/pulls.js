import { get } from "../api.js";
import { h, link, put } from "../dom.js";
import { ago, duration, number, percent, share } from "../format.js";
import { every } from "../live.js";
import { chip, smallBar } from "../meter.js";
import { table } from "../table.js";

/** Pulls, the newest first, a page of the server's at a time. */
export default function pulls({ page, named, signal }) {
  named("Pulls");
  const state = h(
    "select",
    {},
    [["", "All"], ["running", "Running"], ["done", "Done"], ["failed", "Failed"], ["cancelled", "Cancelled"]].map(
      ([value, label]) => h("option", { value }, label),
    ),
  );
  const rows = pullTable("Nothing was pulled yet.");
  const before = h("button", { type: "button", class: "quiet" }, "Newer");
  const after = h("button", { type: "button", class: "quiet" }, "Older");
  const pager = h("div", { class: "pager" }, before, after);
  const cursors = [null];
  let next = null;

  async function ask() {
    const query = new URLSearchParams({ limit: "50" });
    if (cursors.at(-1) !== null) query.set("cursor", cursors.at(-1));
    if (state.value) query.set("state", state.value);
    const answer = await get(`pulls?${query}`, { signal });
    rows.update(answer.pulls);
    next = answer.next;
    before.disabled = cursors.length === 1;
    after.disabled = next === null;
    pager.hidden = before.disabled && after.disabled;
  }

  const again = () => ask().catch(() => {});
  state.addEventListener("change", () => {
    cursors.length = 1;
    again();
  });
  before.addEventListener("click", () => {
    cursors.pop();
    again();
  });
  after.addEventListener("click", () => {
    cursors.push(next);
    again();
  });
  put(page, h("div", { class: "row" }, h("label", { class: "inline" }, "State ", state)), h("div", { class: "card" }, rows.element, pager));
  every(2, signal, ask);
}

export function pullTable(empty) {
  return table({
    caption: "Pulls, newest first",
    empty,
    key: (row) => row.id,
    columns: [
      { label: "Model", text: (row) => row.reference, draw: (row) => link(row.reference, "pulls", row.id) },
      { label: "State", text: (row) => row.state, draw: (row) => chip(row.state) },
      {
        label: "Here",
        text: (row) => `${row.state} ${percent(share(row.bytes, row.state === "done"))} ${row.bytes.origin} ${row.bytes.peers}`,
        draw: (row) => smallBar(`Of ${row.reference}`, row.bytes, row.state === "done"),
      },
      { label: "Nodes", kind: "number", text: ready },
      { label: "Priority", kind: "wide", text: (row) => row.priority },
      { label: "Started", kind: "wide", text: (row) => ago(row.created_at) },
      { label: "Took", kind: "wide number", text: took },
    ],
  });
}

function ready(row) {
  const all = Object.values(row.states).reduce((sum, count) => sum + count, 0);
  return `${number(row.states.done || 0)} of ${number(all)}`;
}

function took(row) {
  return row.finished_at ? duration(row.finished_at - row.created_at) : "–";
}
