import { all, get, part } from "../api.js";
import { h, link, put } from "../dom.js";
import { ago, bytes, moment, percent, rate } from "../format.js";
import { every } from "../live.js";
import { chip, level, refresh } from "../meter.js";
import { nameOf, nodes, shardCell, shardText } from "../names.js";
import { table } from "../table.js";
import { named_as } from "./models.js";

/** One node: how it is, what it serves, what it fetches, what it has. */
export default async function node({ page, named, signal, what }) {
  const first = await get(`nodes/${part(what)}`, { signal });
  named(first.name);
  const state = h("p");
  const about = h("div");
  const load = { Processors: gauge("Processors"), Disk: gauge("Disk"), Serving: gauge("Serving") };
  const loads = h("section", { class: "card part" }, h("h2", {}, "Load"));
  const figures = h("div");
  put(
    loads,
    h(
      "div",
      { class: "levels" },
      Object.values(load).map((each) => each.element),
    ),
    figures,
  );
  const tasks = taskTable();
  const models = modelTable();
  put(
    page,
    state,
    h("div", { class: "card" }, about),
    loads,
    h("section", { class: "card part" }, h("h2", {}, "Shards"), tasks.element),
    h("section", { class: "card part" }, h("h2", {}, "Models it has"), models.element),
  );
  every(2, signal, async () => {
    const [now, shards] = await Promise.all([
      get(`nodes/${part(what)}`, { signal }),
      all(`nodes/${part(what)}/tasks`, "tasks", { signal, most: 2000 }),
      nodes(signal),
    ]);
    state.replaceChildren(chip(now.connected ? "connected" : "away"), ` heard ${ago(now.last_seen)}`);
    refresh(about, identity(now));
    const traffic = now.traffic;
    loads.hidden = traffic === null;
    if (traffic !== null) {
      load.Processors.update(traffic.cpu_busy);
      load.Disk.update(traffic.disk_busy);
      load.Serving.update(traffic.utilisation);
      refresh(figures, serving(traffic));
    }
    tasks.update(shards.sort((one, other) => Number(one.complete) - Number(other.complete)));
  });
  every(10, signal, async () => {
    const here = new Set((await get(`nodes/${part(what)}`, { signal })).artifacts);
    models.update((await all("models", "models", { signal })).filter((each) => here.has(each.digest)));
  });
}

function gauge(label) {
  const words = h("span");
  const bar = level(label, 0);
  return {
    element: h("div", {}, words, bar.element),
    update(value) {
      words.textContent = `${label} ${percent(value)}`;
      bar.update(value);
    },
  };
}

function identity(now) {
  return [
    ["Node", h("code", {}, now.node)],
    ["Address", now.address || "serves nobody"],
    ["Rack", now.rack || "not named"],
    ["Zone", now.zone || "not named"],
    ["Labels", Object.entries(now.labels).map((each) => each.join("=")).join(", ") || "none"],
    ["Version", now.version],
    ["First seen", now.first_seen ? moment(now.first_seen) : null],
  ];
}

function serving(traffic) {
  return [
    ["Receives", rate(traffic.received)],
    ["Sends", rate(traffic.sent)],
    ["Line rate", rate(traffic.nic_speed)],
    ["A child gets", rate(traffic.goodput)],
    ["Children", traffic.children],
    ["Failures seen by children, fading", traffic.failures.toFixed(1)],
    ["Requests waiting", traffic.queue ?? "unknown"],
    ["Measured", traffic.load_age === null ? "never" : `${traffic.load_age.toFixed(1)} s ago`],
    ["Its link, when idle", idleLink(traffic)],
  ];
}

function idleLink(traffic) {
  if (traffic.link_age == null) return "not measured";
  const minutes = Math.round(traffic.link_age / 60);
  return `sends ${rate(traffic.link_sends)}, receives ${rate(traffic.link_receives)}, ${minutes} min ago`;
}

function taskTable() {
  return table({
    caption: "Shards that it fetches or offers",
    empty: "It takes part in no swarm now.",
    size: 20,
    key: (row) => row.digest,
    columns: [
      { label: "Shard", text: shardText, draw: shardCell },
      { label: "Here", kind: "number", text: (row) => percent(row.complete ? 1 : row.bytes_here / Math.max(1, row.size)) },
      { label: "Size", kind: "number", text: (row) => bytes(row.size) },
      { label: "From the origin", kind: "number wide", text: (row) => bytes(row.bytes_origin) },
      { label: "Fetches from", text: (row) => row.parents.slice(0, 4).map(nameOf).join(", ") + (row.parents.length > 4 ? ` and ${row.parents.length - 4} more` : "") || "–" },
      { label: "Feeds", kind: "number wide", text: (row) => row.children },
    ],
  });
}

function modelTable() {
  return table({
    caption: "Models that it has complete",
    empty: "It has no complete model, or is away.",
    size: 20,
    key: (row) => row.digest,
    columns: [
      { label: "Model", text: named_as, draw: (row) => link(named_as(row), "models", row.digest) },
      { label: "Size", kind: "number", text: (row) => bytes(row.size) },
    ],
  });
}
