import { all } from "../api.js";
import { link, h, put } from "../dom.js";
import { ago, bytes, number } from "../format.js";
import { every } from "../live.js";
import { table } from "../table.js";

/** Models that were resolved here. */
export default function models({ page, named, signal }) {
  named("Models");
  const rows = table({
    caption: "Models",
    empty: "No model was asked for yet.",
    key: (row) => row.digest,
    sorted: { by: 0, down: false },
    search: { label: "Search models", hint: "Search: name, origin, digest", of: (row) => [...row.references, row.digest, row.origin].join(" ") },
    columns: [
      { label: "Model", text: named_as, sort: named_as, draw: (row) => link(named_as(row), "models", row.digest) },
      { label: "Origin", kind: "wide", text: (row) => row.origin, sort: (row) => row.origin },
      { label: "Size", kind: "number", text: (row) => bytes(row.size), sort: (row) => row.size },
      { label: "Files", kind: "number wide", text: (row) => number(row.files), sort: (row) => row.files },
      { label: "On nodes", kind: "number", text: (row) => number(row.holders), sort: (row) => row.holders },
      { label: "Resolved", kind: "wide", text: (row) => ago(row.resolved_at), sort: (row) => row.resolved_at },
    ],
  });
  put(page, h("div", { class: "card" }, rows.element));
  every(5, signal, async () => rows.update(await all("models", "models", { signal })));
}

export function named_as(row) {
  return row.references.find((each) => !each.includes("@sha256:")) || row.references[0] || row.reference;
}
