// What nodes are called. Asked of now and then, and kept for all views.

import { all } from "./api.js";
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
