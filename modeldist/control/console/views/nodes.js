import { h, link, put } from "../dom.js";
import { ago, number, plural } from "../format.js";
import { every } from "../live.js";
import { chip } from "../meter.js";
import { nodes as known } from "../names.js";
import { table } from "../table.js";

/** Every node that connected once. */
export default function nodes({ page, named, signal }) {
  named("Nodes");
  const count = h("p", { class: "muted", id: "count" });
  const rows = table({
    caption: "Nodes",
    empty: "No node has connected yet. Start an agent: modeldist agent --control …",
    key: (row) => row.node,
    sorted: { by: 0, down: false },
    search: {
      label: "Search nodes",
      hint: "Search: name, rack, zone, label, away",
      of: (row) =>
        [row.name, row.node, row.rack, row.zone, row.address, row.connected ? "connected" : "away", ...Object.entries(row.labels).map((each) => each.join("="))].join(" "),
    },
    columns: [
      { label: "Node", text: (row) => row.name, sort: (row) => row.name, draw: (row) => link(row.name, "nodes", row.node) },
      {
        label: "State",
        text: (row) => (row.connected ? "connected" : "away"),
        sort: (row) => String(row.connected),
        draw: (row) => chip(row.connected ? "connected" : "away"),
      },
      { label: "Rack", text: (row) => row.rack || "–", sort: (row) => row.rack },
      { label: "Zone", kind: "wide", text: (row) => row.zone || "–", sort: (row) => row.zone },
      { label: "Models", kind: "number", text: (row) => number(row.artifacts.length), sort: (row) => row.artifacts.length },
      { label: "Heard", kind: "wide", text: (row) => ago(row.last_seen), sort: (row) => row.last_seen },
      { label: "Version", kind: "wide", text: (row) => row.version, sort: (row) => row.version },
    ],
  });
  put(page, count, h("div", { class: "card" }, rows.element));
  every(4, signal, async () => {
    const found = [...(await known(signal, 4000)).values()];
    const here = found.filter((each) => each.connected).length;
    count.textContent = `${number(here)} of ${plural(found.length, "node")} connected`;
    rows.update(found);
  });
}
