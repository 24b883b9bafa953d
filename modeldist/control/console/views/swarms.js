import { all } from "../api.js";
import { h, put } from "../dom.js";
import { bytes, number, percent } from "../format.js";
import { every } from "../live.js";
import { shardCell, shardText } from "../names.js";
import { table } from "../table.js";

/** Shard tasks: one for each file that nodes share. */
export default function swarms({ page, named, signal }) {
  named("Swarms");
  const rows = table({
    caption: "Shard tasks",
    empty: "No connected node fetches or offers anything.",
    key: (row) => row.digest,
    sorted: { by: 1, down: true },
    search: { label: "Search shards", hint: "Search: model, file, digest", of: (row) => `${shardText(row)} ${row.origin}` },
    columns: [
      { label: "Shard", text: shardText, sort: shardText, draw: shardCell },
      { label: "Size", kind: "number", text: (row) => bytes(row.size), sort: (row) => row.size },
      { label: "Nodes", kind: "number", text: (row) => number(row.nodes), sort: (row) => row.nodes },
      { label: "Have it all", kind: "number wide", text: (row) => number(row.holders), sort: (row) => row.holders },
      { label: "Held somewhere", kind: "number wide", text: (row) => percent(row.size ? row.held / row.size : 1), sort: (row) => row.held / Math.max(1, row.size) },
      { label: "Origin leases", kind: "number wide", text: (row) => number(row.leases), sort: (row) => row.leases },
      { label: "A", kind: "number", text: (row) => (row.ratio === null ? "–" : row.ratio.toFixed(2)), sort: (row) => row.ratio ?? -1 },
    ],
  });
  put(
    page,
    h("p", { class: "muted" }, "A is what was read from the origin over what is held: 1.00 is each byte read once."),
    h("div", { class: "card" }, rows.element),
  );
  every(3, signal, async () => rows.update(await all("tasks", "tasks", { signal, most: 5000 })));
}
