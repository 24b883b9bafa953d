import { get, part } from "../api.js";
import { h, link, put } from "../dom.js";
import { bytes, moment, number } from "../format.js";
import { every } from "../live.js";
import { refresh } from "../meter.js";
import { nameOf, node, nodes } from "../names.js";
import { mayChange } from "../session.js";
import { table } from "../table.js";
import { named_as } from "./models.js";

/** One model: what it is called, and where it is. */
export default async function model({ page, named, signal, what }) {
  const first = await get(`models/${part(what)}`, { signal });
  named(named_as(first));
  const about = h("div");
  const holders = table({
    caption: "Nodes that have it",
    empty: "No connected node has all of it.",
    key: (row) => row,
    search: { label: "Search nodes", hint: "Search: name, rack, zone", of: (row) => `${nameOf(row)} ${node(row)?.rack} ${node(row)?.zone}` },
    columns: [
      { label: "Node", text: nameOf, sort: nameOf, draw: (row) => link(nameOf(row), "nodes", row) },
      { label: "Rack", text: (row) => node(row)?.rack || "–", sort: (row) => node(row)?.rack || "" },
      { label: "Zone", text: (row) => node(row)?.zone || "–", sort: (row) => node(row)?.zone || "" },
    ],
  });
  const put_there = `#/start?reference=${encodeURIComponent(named_as(first))}`;
  put(
    page,
    mayChange() ? h("p", {}, h("a", { class: "button", href: put_there }, "Put it on more nodes")) : null,
    h("div", { class: "card" }, about),
    h("section", { class: "card" }, h("h2", {}, "Nodes that have it"), holders.element),
  );
  every(5, signal, async () => {
    const [now, where] = await Promise.all([
      get(`models/${part(what)}`, { signal }),
      get(`models/${part(what)}/nodes`, { signal }),
      nodes(signal),
    ]);
    refresh(about, [
      ["Digest", h("code", {}, now.digest)],
      ["Also called", now.references.join(", ")],
      ["Origin", now.origin],
      ["Size", bytes(now.size)],
      ["Files", number(now.files)],
      ["Resolved", moment(now.resolved_at)],
      ["On", `${number(now.holders)} connected nodes`],
    ]);
    holders.update(where.nodes);
  });
}
