// What nodes and shards are called. Of nodes it is asked now and then, and kept for all views.

import { all } from "./api.js";
import { h, link } from "./dom.js";
import { short } from "./format.js";

const FRESH = 15_000; // milliseconds
let known = new Map();
let at = -Infinity;
let asking = null;

/** All nodes, as GET /nodes has them; some seconds old at most. */
export async function nodes(signal, fresh = FRESH) {
  if (performance.now() - at > fresh) {
    asking ??= all("nodes", "nodes", {})
      .then((rows) => {
        known = new Map(rows.map((row) => [row.node, row]));
        at = performance.now();
      })
      .finally(() => {
        asking = null;
      });
    await asking;
  }
  signal?.throwIfAborted();
  return known;
}

export function forgetNodes() {
  known = new Map();
  at = -Infinity;
}

export function node(id) {
  return known.get(id) || null;
}

export function nameOf(id) {
  return known.get(id)?.name || short(id);
}

/** Of a shard task: model and file, or the digest where nobody resolved what it is of. */
export function shardName(row) {
  if (!row.reference) return short(row.digest);
  return row.path ? `${row.reference}: ${row.path}` : row.reference;
}

/** All of it, to be sorted and searched. */
export function shardText(row) {
  return row.reference ? `${shardName(row)} ${row.digest}` : row.digest;
}

/** A cell of a table: a link by the name, the digest behind it. */
export function shardCell(row) {
  return [
    link(shardName(row), "swarms", row.digest),
    " ", // where a line may end
    row.reference ? h("code", { class: "muted behind" }, short(row.digest)) : null,
  ];
}
