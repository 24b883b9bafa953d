import { all, events, get, part, remove } from "../api.js";
import { h, link, put, replace, say, set, text } from "../dom.js";
import { ago, arrived, bytes, duration, moment, number, percent, plural, rate, share } from "../format.js";
import { every, pause, Speed, trouble, well } from "../live.js";
import { chip, legend, refresh, smallBar, sourceBar } from "../meter.js";
import { nameOf, node, nodes } from "../names.js";
import { mayChange } from "../session.js";
import { shardChoice } from "../swarm_panel.js";
import { table } from "../table.js";

const ENDED = new Set(["done", "failed", "cancelled"]);
const URGENT = ["failed", "cancelled", "waiting", "resolving", "pulling", "materialising", "done"];

/** One pull, from start to end: how far it is, why it is not further, the swarm, and its nodes. */
export default function pull({ page, named, signal, what }) {
  named("Pull");
  const seen = { pull: null, nodes: new Map(), speed: new Speed(5), dirty: true };
  const top = summary(what, signal);
  const why = whySection(what, signal);
  const swarm = shardChoice(signal);
  const rows = nodeTable();
  put(
    page,
    top.element,
    why.element,
    h("section", { class: "part" }, h("h2", {}, "Swarm"), swarm.element),
    h("section", { class: "card part" }, h("h2", {}, "Nodes"), rows.element),
  );

  follow(what, signal, seen);
  every(0.5, signal, async () => {
    if (seen.pull === null) return;
    const moving = seen.pull.state === "running";
    if (!seen.dirty && !moving) return;
    seen.dirty = false;
    const found = [...seen.nodes.values()];
    named(seen.pull.reference);
    top.update(seen.pull, found, seen.speed);
    rows.update(found.map((each) => ({ ...each, away: node(each.node)?.connected === false })).sort(urgent));
  });
  every(4, signal, async () => {
    await nodes(signal, 4000);
    seen.dirty = true;
  });
  every(3, signal, async () => {
    swarm.update(await all(`pulls/${part(what)}/shards`, "shards", { signal, most: 500 }));
  });
}

/** Keeps `seen` at what the pull's events say; after a lost connection it begins with all of it again. */
async function follow(what, signal, seen) {
  while (!signal.aborted) {
    try {
      for await (const { event, data } of events(`pulls/${part(what)}/events`, { signal })) {
        well(follow);
        if (event === "node") {
          seen.nodes.set(data.node, data);
        } else {
          const { nodes: members, ...rest } = data;
          seen.pull = rest;
          seen.nodes = new Map(members.map((each) => [each.node, each]));
        }
        seen.dirty = true;
        if (event === "end") {
          say(`The pull is ${seen.pull.state}.`);
          return;
        }
      }
    } catch (error) {
      if (signal.aborted || error.status === 401) return;
      trouble(follow, error);
      if (error.status === 404) return;
    }
    await pause(1, signal);
  }
}

function urgent(one, other) {
  return (
    Number(other.away && other.state !== "done") - Number(one.away && one.state !== "done") ||
    URGENT.indexOf(one.state) - URGENT.indexOf(other.state) ||
    nameOf(one.node).localeCompare(nameOf(other.node), "en", { numeric: true })
  );
}

function summary(what, signal) {
  const state = h("span");
  const figure = h("span", { class: "big figure", id: "share" });
  const pace = h("span", { class: "pace", id: "pace" });
  const bar = sourceBar("Of this pull");
  const colours = legend();
  const about = h("div");
  const cancel = mayChange() ? cancelling(what, signal) : null;
  const element = h(
    "section",
    { class: "card", "aria-label": "Progress" },
    h("div", { class: "row spread" }, h("div", { class: "row" }, figure, state, pace), cancel?.element),
    h("div", { class: "thick" }, bar.element),
    colours.element,
    about,
  );
  return {
    element,
    update(pull, members, speed) {
      const amounts = added(members);
      const done = pull.state === "done";
      const here = arrived(amounts);
      speed.note(here);
      const pace_now = speed.value();
      if (state.textContent !== pull.state) replace(state, chip(pull.state));
      text(figure, percent(share(amounts, done)));
      text(pace, pacing(pull, amounts, here, pace_now));
      bar.update(amounts, done);
      colours.update(amounts);
      cancel?.update(pull);
      refresh(about, [
        ["Nodes", counted(members)],
        ["Size on all nodes", bytes(amounts.total)],
        ["Priority", pull.priority],
        ["Started", moment(pull.created_at)],
        ["Ended", pull.finished_at ? moment(pull.finished_at) : null],
        ["Deadline", pull.deadline ? moment(pull.deadline) : null],
        ["Pull", h("code", {}, pull.id)],
      ]);
    },
  };
}

function added(members) {
  const sum = { total: 0, origin: 0, peers: 0, local: 0 };
  for (const each of members) for (const source of Object.keys(sum)) sum[source] += each.bytes[source];
  return sum;
}

function counted(members) {
  const counts = new Map();
  for (const each of members) counts.set(each.state, (counts.get(each.state) || 0) + 1);
  return [...counts].map(([state, count]) => `${number(count)} ${state}`).join(", ") || "none yet";
}

function pacing(pull, amounts, here, speed) {
  if (pull.state !== "running") return pull.finished_at ? `after ${duration(pull.finished_at - pull.created_at)}` : "";
  if (!speed || speed < 1) return here ? "nothing arrives now" : "waiting for the first bytes";
  const left = (amounts.total - here) / speed;
  return `${rate(speed)}, ${left > 0 ? `about ${duration(left)} to go` : "putting it in place"}`;
}

function cancelling(what, signal) {
  const sure = h("dialog", { "aria-labelledby": "sure-title" });
  const button = h("button", { type: "button", class: "quiet danger", onclick: () => sure.showModal() }, "Cancel the pull");
  button.hidden = true; // until it is known to run
  put(
    sure,
    h("h2", { id: "sure-title" }, "Cancel this pull?"),
    h("p", {}, "Nodes keep what they have; a later pull goes on from there."),
    h(
      "div",
      { class: "row" },
      h(
        "button",
        {
          type: "button",
          class: "primary danger",
          onclick: async () => {
            sure.close();
            try {
              await remove(`pulls/${part(what)}`, { signal });
            } catch (error) {
              trouble(cancelling, error);
            }
          },
        },
        "Cancel the pull",
      ),
      h("button", { type: "button", class: "quiet", onclick: () => sure.close() }, "Let it go on"),
    ),
  );
  return {
    element: h("div", {}, button, sure),
    update(pull) {
      button.hidden = pull.state !== "running";
    },
  };
}

function whySection(what, signal) {
  const list = h("ul", { class: "reasons" });
  const heading = h("h2", {}, "Why?");
  const element = h("section", { class: "card part", hidden: true, "aria-labelledby": "why" }, heading, list);
  set(heading, "id", "why");
  every(3, signal, async () => {
    let answer;
    try {
      answer = await get(`pulls/${part(what)}/why`, { signal });
    } catch (error) {
      if (error.status !== 404) throw error;
      return;
    }
    const groups = grouped(answer.nodes.filter((each) => each.bottleneck !== null));
    element.hidden = groups.length === 0;
    const said = JSON.stringify(groups);
    if (list.dataset.said === said) return;
    list.dataset.said = said;
    replace(list, groups.map(reason));
  });
  return { element };
}

/** The same cause and sentence once, with the nodes that have it, the most first. */
function grouped(explained) {
  const groups = new Map();
  for (const each of explained) {
    const key = `${each.bottleneck}\n${each.summary}\n${each.remedy}`;
    const group = groups.get(key) || { ...each, who: [] };
    group.who.push({ node: each.node, name: each.name || nameOf(each.node) });
    groups.set(key, group);
  }
  return [...groups.values()].sort((one, other) => other.who.length - one.who.length).slice(0, 20);
}

function reason(group) {
  const few = group.who.slice(0, 6).map((each, index) => [index ? ", " : "", link(each.name, "nodes", each.node)]);
  const more = group.who.length - 6;
  return h(
    "li",
    {},
    h("p", { class: "reason" }, chip(group.bottleneck.replaceAll("_", " "), "cause"), " ", h("strong", {}, group.summary)),
    h("p", { class: "muted" }, few, more > 0 ? ` and ${plural(more, "other node")}` : null),
    group.evidence.length ? h("ul", { class: "evidence" }, group.evidence.map((each) => h("li", {}, each))) : null,
    group.remedy ? h("p", { class: "remedy" }, group.remedy) : null,
  );
}

function nodeTable() {
  return table({
    caption: "Nodes of this pull, those with trouble first",
    empty: "No node takes part yet.",
    key: (row) => row.node,
    search: { label: "Search nodes", hint: "Search: name, state, error", of: (row) => `${nameOf(row.node)} ${row.state} ${row.away ? "away" : ""} ${row.error?.message || ""}` },
    columns: [
      { label: "Node", text: (row) => nameOf(row.node), draw: (row) => link(nameOf(row.node), "nodes", row.node) },
      { label: "State", text: stated, draw: (row) => chip(stated(row), tone(row)) },
      {
        label: "Here",
        text: (row) => `${row.state} ${JSON.stringify(row.bytes)}`,
        draw: (row) => smallBar(`On ${nameOf(row.node)}`, row.bytes, row.state === "done"),
      },
      { label: "From nodes", kind: "number wide", text: (row) => bytes(row.bytes.peers) },
      { label: "From the origin", kind: "number wide", text: (row) => bytes(row.bytes.origin) },
      { label: "What it says", text: told, draw: (row) => h("span", { class: row.error || row.away ? "told" : "muted", title: told(row) || null }, told(row)) },
    ],
  });
}

function stated(row) {
  return row.away && !ENDED.has(row.state) ? "away" : row.state;
}

function tone(row) {
  return row.away && !ENDED.has(row.state) ? "failed" : row.state;
}

function told(row) {
  if (row.error) return `${row.error.message} ${row.error.remedy}`.trim();
  if (row.away && !ENDED.has(row.state)) {
    return `It is not connected, and was last heard ${ago(node(row.node).last_seen)}. It goes on when its agent is back.`;
  }
  return row.state === "waiting" ? "Its agent has not answered yet." : "";
}
