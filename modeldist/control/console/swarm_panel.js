// One shard task, live: the picture, its flows as a table, and the piece maps of its nodes.

import { get, part } from "./api.js";
import { h, replace, set, text } from "./dom.js";
import { number, plural, rate } from "./format.js";
import { every } from "./live.js";
import { refresh } from "./meter.js";
import { mapsNote, pieceMaps, rarity } from "./pieces.js";
import { flowRows, flowsOf, ringLegend, swarmFigures, swarmPicture } from "./swarm.js";
import { table } from "./table.js";

const MAPS = 20; // nodes whose piece maps are shown at once
const UNKNOWN = "Which files this is about is not known: no node has resolved the reference.";
const NOBODY = "No connected node fetches or offers any of its files now.";
const NODES_READABLE = 200;

/** Follows the task until the signal; `heading` is the rank of what is inside, `told` hears of each answer. Returns its element. */
export function swarmPanel(digest, signal, heading = "h3", told = () => {}) {
  const picture = swarmPicture();
  const by = byChoice();
  const figures = h("div");
  const flows = flowTable();
  const rare = rarity();
  const maps = mapsPager(digest);
  const note = h("p", { class: "empty", hidden: true });
  const live = h(
    "div",
    { class: "swarm" },
    h(
      "div",
      { class: "columns" },
      h("div", { class: "card" }, by.element, picture.element, ringLegend()),
      h("div", { class: "card" }, figures, h(heading, { class: "minor" }, "Who feeds whom"), flows.element),
    ),
    h(
      "div",
      { class: "card" },
      h(heading, { class: "minor" }, "Piece maps"),
      h("p", { class: "muted" }, "How many nodes have each part, the rarest palest"),
      rare.element,
      mapsNote(),
      maps.element,
    ),
  );
  const speeds = new Map();
  let grouped = null;
  let last = null;

  every(1, signal, async () => {
    let swarm;
    try {
      swarm = await get(`tasks/${part(digest)}/swarm${by.query()}`, { signal });
    } catch (error) {
      if (error.status !== 404) throw error;
      live.hidden = true;
      note.hidden = false;
      text(note, "No connected node takes part in this shard now. A swarm ends with its last node.");
      return;
    }
    live.hidden = false;
    note.hidden = true;
    if (grouped !== swarm.by) speeds.clear();
    grouped = swarm.by;
    const now = flowsOf(swarm, speeds);
    by.allow(swarm);
    picture.update(swarm, now);
    flows.update(flowRows(swarm, now));
    refresh(figures, swarmFigures(swarm));
    rare.update(swarm.holders, swarm.nodes);
    last = swarm;
    told(swarm);
    await maps.ask(signal);
  });
  const painted = () => {
    if (last === null) return;
    rare.update(last.holders, last.nodes); // canvases know nothing of style sheets
    maps.again();
  };
  addEventListener("themechange", painted, { signal });
  addEventListener("resize", painted, { signal });
  return h("div", {}, note, live);
}

function flowTable() {
  return table({
    caption: "Who feeds whom",
    size: 8,
    empty: "Nothing flows now.",
    key: (row) => row.key,
    columns: [
      { label: "From", text: (row) => row.parent },
      { label: "To", text: (row) => row.child },
      { label: "Rate", kind: "number", text: (row) => rate(row.rate) },
    ],
  });
}

function byChoice() {
  const choice = h(
    "select",
    {},
    h("option", { value: "" }, "Automatic"),
    h("option", { value: "node" }, "Nodes"),
    h("option", { value: "rack" }, "Racks"),
    h("option", { value: "zone" }, "Zones"),
  );
  const shown = h("span", { class: "muted" });
  return {
    element: h("div", { class: "row spread" }, h("label", { class: "inline" }, "Drawn by ", choice), shown),
    query: () => (choice.value ? `?by=${choice.value}` : ""),
    allow(swarm) {
      choice.options[1].disabled = swarm.nodes > NODES_READABLE;
      const what = { node: "node", rack: "rack", zone: "zone" }[swarm.by];
      text(shown, `${plural(swarm.nodes, "node")}${swarm.by === "node" ? "" : ` in ${plural(swarm.places.length, what)}`}`);
    },
  };
}

function mapsPager(digest) {
  const maps = pieceMaps();
  const cursors = [null]; // of the pages up to this one
  let next = null;
  const where = h("span", { class: "where" });
  const before = h("button", { type: "button", class: "quiet" }, "Previous");
  const after = h("button", { type: "button", class: "quiet" }, "Next");
  const pager = h("div", { class: "pager" }, before, where, after);
  let last = null;
  before.addEventListener("click", () => {
    cursors.pop();
    ask(last).catch(() => {});
  });
  after.addEventListener("click", () => {
    cursors.push(next);
    ask(last).catch(() => {});
  });

  async function ask(signal) {
    last = signal;
    const query = new URLSearchParams({ limit: String(MAPS) });
    if (cursors.at(-1) !== null) query.set("cursor", cursors.at(-1));
    const page = await get(`tasks/${part(digest)}/pieces?${query}`, { signal });
    await maps.update(page);
    next = page.next;
    before.disabled = cursors.length === 1;
    after.disabled = next === null;
    pager.hidden = before.disabled && after.disabled;
    text(where, `Page ${number(cursors.length)}`);
  }
  return { element: h("div", {}, maps.element, pager), ask, again: maps.again };
}

/** A choice among the files of a model, the largest first, and the panel of the one chosen. */
export function shardChoice(signal) {
  const choice = h("select", {});
  const holder = h("div");
  const empty = h("p", { class: "empty" }, UNKNOWN);
  const label = h("label", { class: "inline", hidden: true }, "File ", choice);
  let stop = null;
  let shown = null;

  function show(digest) {
    if (digest === shown) return;
    shown = digest;
    stop?.abort();
    stop = new AbortController();
    signal.addEventListener("abort", () => stop.abort(), { once: true, signal: stop.signal });
    replace(holder, swarmPanel(digest, stop.signal));
  }

  choice.addEventListener("change", () => show(choice.value));
  return {
    element: h("div", {}, h("div", { class: "row" }, label), empty, holder),
    update(shards) {
      const sized = shards.filter((shard) => shard.task !== null).sort((one, other) => other.size - one.size);
      empty.hidden = sized.length > 0;
      text(empty, shards.length ? NOBODY : UNKNOWN);
      label.hidden = sized.length < 2;
      if (!sized.length) return;
      const names = sized.map((shard) => shard.digest).join();
      if (choice.dataset.names !== names) {
        replace(choice, sized.map((shard) => h("option", { value: shard.digest }, shard.path)));
        set(choice, "data-names", names);
      }
      if (shown === null || !sized.some((shard) => shard.digest === shown)) show(sized[0].digest);
      choice.value = shown;
    },
  };
}

