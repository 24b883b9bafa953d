import { all, get } from "../api.js";
import { h, link, put, replace } from "../dom.js";
import { ago, duration, number, percent, plural, rate } from "../format.js";
import { every } from "../live.js";
import { chip, key, level, tile } from "../meter.js";
import { nodes } from "../names.js";
import { pullTable } from "./pulls.js";

const DAY = 86400;

/** The cluster at a glance: how much of it is there, what it does, and what needs somebody. */
export default function overview({ page, named, signal }) {
  named("Overview");
  const tiles = {
    nodes: tile("Nodes connected", "#/nodes"),
    pulls: tile("Pulls running", "#/pulls"),
    models: tile("Models", "#/models"),
    swarms: tile("Shard tasks", "#/swarms"),
    moves: tile("Nodes send"),
  };
  const running = pullTable("Nothing is being pulled now.");
  const attention = h("div");
  const racks = h("div", { class: "racks" });
  const colours = key([
    ["level", "busy serving"],
    ["rail", "free to serve"],
    ["is-missing", "nodes away"],
  ]);
  colours.hidden = true;
  put(
    page,
    h("div", { class: "tiles" }, Object.values(tiles).map((each) => each.element)),
    h("section", { class: "card part" }, h("h2", {}, "Pulls under way"), running.element),
    h("section", { class: "card part" }, h("h2", {}, "Needs attention"), attention),
    h("section", { class: "card part" }, h("h2", {}, "Racks"), racks, colours),
  );
  every(2, signal, async () => {
    const [status, now, places] = await Promise.all([
      get("status", { signal }),
      get("pulls?state=running&limit=20", { signal }),
      all("racks", "racks", { signal }),
    ]);
    const known = places.reduce((sum, each) => sum + each.known, 0);
    tiles.nodes.update(number(status.agents), `of ${number(Math.max(known, status.agents))} known`);
    tiles.pulls.update(number(status.pulls_running));
    tiles.models.update(number(status.models), "resolved here");
    tiles.swarms.update(number(status.tasks), "files that are shared");
    tiles.moves.update(rate(places.reduce((sum, each) => sum + each.sent, 0)), "all of their traffic");
    running.update(now.pulls);
    showRacks(racks, places);
    colours.hidden = places.length === 0;
    document.getElementById("who").title = `modeldist ${status.version}, ${status.database}, up ${duration(status.uptime)}`;
  });
  every(5, signal, async () => {
    const [failed, known] = await Promise.all([get("pulls?state=failed&limit=50", { signal }), nodes(signal)]);
    showAttention(attention, failed.pulls, [...known.values()]);
  });
}

function showAttention(holder, failed, known) {
  const away = known.filter((each) => !each.connected);
  const late = failed.filter((each) => each.finished_at > Date.now() / 1000 - DAY);
  const lines = [
    ...late.slice(0, 5).map((each) =>
      h("li", {}, chip("failed"), " ", link(each.reference, "pulls", each.id), h("span", { class: "muted" }, ` failed ${ago(each.finished_at)}`)),
    ),
    late.length > 5 ? h("li", {}, chip("failed"), ` and ${plural(late.length - 5, "other pull")} since yesterday`) : null,
    ...away.slice(0, 5).map((each) =>
      h("li", {}, chip("away"), " ", link(each.name, "nodes", each.node), h("span", { class: "muted" }, ` was last heard ${ago(each.last_seen)}`)),
    ),
    away.length > 5 ? h("li", {}, chip("away"), ` and ${plural(away.length - 5, "other node")}`) : null,
  ].filter(Boolean);
  const fresh = lines.length ? h("ul", { class: "plain" }, lines) : h("p", { class: "empty" }, "Nothing: all nodes are here, and no pull failed since yesterday.");
  if (holder.textContent !== fresh.textContent) replace(holder, fresh);
}

function showRacks(holder, places) {
  const said = JSON.stringify(places.map((each) => [each.zone, each.rack, each.known, each.connected, Math.round(each.busy * 20)]));
  if (holder.dataset.said === said) return;
  holder.dataset.said = said;
  const zones = new Map();
  for (const each of places) zones.set(each.zone, [...(zones.get(each.zone) || []), each]);
  if (!places.length) {
    replace(holder, h("p", { class: "empty" }, "No node has connected yet. Start an agent: modeldist agent --control …"));
    return;
  }
  replace(
    holder,
    [...zones].map(([zone, members]) => [
      h("h3", {}, zone || "No zone"),
      h("ul", { class: "rack-grid" }, members.map(rackTile)),
    ]),
  );
}

function rackTile(rack) {
  const missing = rack.known - rack.connected;
  return h(
    "li",
    { class: missing > 0 ? "rack missing" : "rack" },
    h("span", { class: "rack-name" }, rack.rack || "No rack"),
    h("span", { class: "figure" }, `${number(rack.connected)} of ${number(rack.known)}`),
    level(`${rack.rack || "No rack"}: serving, ${percent(rack.busy)} of what it can`, rack.busy).element,
  );
}
