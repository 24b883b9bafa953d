// The swarm as a ring: the origin in the middle, nodes (or racks, or zones) around it, what flows between them as arcs
// whose dashes move the way the bytes do. What it shows is in the table beside it, too.

import { h, put, s, set, text, to } from "./dom.js";
import { bytes, number, percent, plural } from "./format.js";
import { Speed } from "./live.js";
import { key } from "./meter.js";

const MOST_EDGES = 90;
const MANY = 24; // places beyond which names stand along the rays, and lines are thin
const SMALL = 460; // pixels, of a picture without names
const CLEAR = 105; // pixels
const HEADS = 60; // edges up to which each has the head of an arrow
const FAINT = 18; // places up to which edges without traffic are drawn

/** Returns {element, update(swarm, flows)}; `swarm` as GET /tasks/{digest}/swarm has it, `flows` by flowsOf. */
export function swarmPicture() {
  const edges = s("g", { class: "edges" });
  const places = s("g", { class: "places" });
  const origin = s("g", { class: "origin" });
  const drawing = s("svg", { class: "ring", role: "img", "aria-label": "The swarm" }, heads(), edges, origin, places);
  const element = h("div", { class: "ring-box" }, drawing);
  const kept = { places: new Map(), edges: new Map() };
  let last = null;
  let flows = [];
  const resized = new ResizeObserver(() => last && paint());
  resized.observe(element);

  function paint() {
    const width = Math.max(280, element.clientWidth);
    const height = Math.min(width, 560);
    const layout = ring(last.places, width, height);
    set(drawing, "viewBox", `${-width / 2} ${-height / 2} ${width} ${height}`);
    set(drawing, "aria-label", described(last));
    drawOrigin(origin, last);
    drawPlaces(places, kept.places, last, layout, edges);
    drawEdges(edges, kept.edges, flows, layout);
  }

  return {
    element,
    update(swarm, now) {
      last = swarm;
      flows = now;
      paint();
    },
  };
}

function heads() {
  const head = (kind) =>
    s(
      "marker",
      { id: `to-${kind}`, class: `head ${kind}`, viewBox: "0 0 8 8", refX: "4", refY: "4", markerWidth: "9", markerHeight: "9", markerUnits: "userSpaceOnUse", orient: "auto" },
      s("path", { d: "M0 0 8 4 0 8z" }),
    );
  return s("defs", {}, head("peer"), head("origin"));
}

function described(swarm) {
  const flowing = swarm.edges.filter((edge) => edge.rate > 0).length;
  const what = { node: "node", rack: "rack", zone: "zone" }[swarm.by];
  return `The swarm: ${plural(swarm.places.length, what)}, ${plural(flowing, "flow")} between them. The table beside it has them.`;
}

function ring(places, width, height) {
  const count = Math.max(1, places.length);
  const many = count > MANY;
  const bare = width < SMALL;
  const names = bare ? 26 : many ? 78 : 92;
  const across = Math.max(90, width / 2 - names);
  const down = Math.max(90, height / 2 - (bare ? 26 : many ? 78 : 40));
  const gaps = places.map((place, index) => (index && apart(places[index - 1], place) ? 0.6 : 0));
  const whole = count + gaps.reduce((sum, gap) => sum + gap, 0) + (places.length && apart(places.at(-1), places[0]) ? 0.6 : 0);
  const radius = Math.max(3.5, Math.min(20, (Math.PI * Math.min(across, down)) / count / 1.7));
  const found = new Map();
  let turn = 0;
  places.forEach((place, index) => {
    turn += gaps[index];
    const angle = (turn / whole) * 2 * Math.PI - Math.PI / 2;
    turn += 1;
    found.set(place.place, { x: across * Math.cos(angle), y: down * Math.sin(angle), angle, radius, names: bare ? "none" : many ? "rays" : "level" });
  });
  return found;
}

function apart(one, other) {
  return one.zone !== other.zone || one.rack !== other.rack;
}

function drawOrigin(group, swarm) {
  const reading = swarm.places.some((place) => place.reading > 0);
  if (!group.firstChild) {
    put(group, s("rect", { x: "-26", y: "-26", width: "52", height: "52", rx: "12" }), s("text", { y: "4" }), s("title"));
  }
  set(group, "class", reading ? "origin busy" : "origin");
  text(group.children[1], "origin");
  text(group.children[2], `${swarm.origin || "origin"}: ${bytes(swarm.origin_bytes)} read`);
}

function drawPlaces(group, kept, swarm, layout, edges) {
  const present = new Set();
  for (const place of swarm.places) {
    present.add(place.place);
    const spot = layout.get(place.place);
    let drawn = kept.get(place.place);
    if (!drawn) {
      drawn = newPlace(place, swarm.by, edges);
      kept.set(place.place, drawn);
      put(group, drawn.group);
    }
    showPlace(drawn, place, spot, swarm);
  }
  for (const [name, drawn] of kept) {
    if (present.has(name)) continue;
    drawn.group.remove();
    kept.delete(name);
  }
}

function newPlace(place, by, edges) {
  const disc = s("circle", { class: "disc" });
  const arc = s("circle", { class: "arc" });
  const name = s("text", { class: "name" });
  const title = s("title");
  const group = s("g", { class: "place" }, disc, arc, name, title);
  const shine = (on) => () => {
    edges.classList.toggle("looking", on);
    for (const edge of edges.children) {
      const near = edge.dataset.parent === place.place || edge.dataset.child === place.place;
      edge.classList.toggle("near", on && near);
    }
  };
  group.addEventListener("pointerenter", shine(true));
  group.addEventListener("pointerleave", shine(false));
  if (by === "node") {
    group.classList.add("leads");
    group.addEventListener("click", () => {
      location.hash = to("nodes", place.place);
    });
  }
  return { group, disc, arc, name, title };
}

function showPlace(drawn, place, spot, swarm) {
  const whole = swarm.size * place.nodes;
  const part = whole ? Math.min(1, place.bytes_here / whole) : 1;
  const away = place.away === place.nodes;
  const kind = away ? "away" : place.complete === place.nodes ? "complete" : place.reading ? "reading" : "fetching";
  set(drawn.group, "class", `place ${kind}${swarm.by === "node" ? " leads" : ""}`);
  set(drawn.group, "transform", `translate(${spot.x.toFixed(1)} ${spot.y.toFixed(1)})`);
  const radius = spot.radius;
  const round = 2 * Math.PI * radius;
  set(drawn.disc, "r", radius.toFixed(1));
  set(drawn.arc, "r", radius.toFixed(1));
  set(drawn.arc, "transform", "rotate(-90)");
  set(drawn.arc, "stroke-width", Math.max(2, radius / 3.2).toFixed(1));
  set(drawn.arc, "stroke-dasharray", `${(round * part).toFixed(1)} ${round.toFixed(1)}`);
  label(drawn.name, spot.names === "none" ? "" : clipped(place.name || "no name"), spot);
  const nodes = place.nodes > 1 ? ` (${plural(place.nodes, "node")})` : "";
  text(drawn.title, `${place.name || "no name"}${nodes}: ${percent(part)}${away ? ", away" : ""}`);
}

/** Beside its place: level, or along the ray where many stand close. */
function label(name, words, { angle, radius, names }) {
  text(name, words);
  const left = Math.cos(angle) < -0.05;
  const side = left ? -1 : 1;
  if (names === "rays") {
    const degrees = (angle * 180) / Math.PI + (left ? 180 : 0);
    set(name, "transform", `rotate(${degrees.toFixed(1)})`);
    set(name, "text-anchor", left ? "end" : "start");
    set(name, "x", side * (radius + 6));
    set(name, "y", 4);
    return;
  }
  name.removeAttribute("transform");
  const middle = Math.abs(Math.cos(angle)) <= 0.05;
  set(name, "text-anchor", middle ? "middle" : left ? "end" : "start");
  set(name, "x", middle ? 0 : side * (radius + 8));
  set(name, "y", middle ? (Math.sin(angle) < 0 ? -radius - 8 : radius + 18) : 4);
}

function clipped(name) {
  return name.length > 14 ? `${name.slice(0, 13)}…` : name;
}

/** What flows now, the most first: between places, and from the origin by what was read of it. `speeds`: a Map that is kept. */
export function flowsOf(swarm, speeds) {
  const found = swarm.edges.map((edge) => ({ ...edge, kind: "peer" }));
  for (const place of swarm.places) {
    const speed = speeds.get(place.place) || new Speed();
    speeds.set(place.place, speed);
    const measured = speed.note(place.bytes_origin);
    if (place.reading > 0 || measured > 0) {
      found.push({ parent: "", child: place.place, rate: measured || 0, links: place.reading, kind: "origin" });
    }
  }
  return found.sort((one, other) => other.rate - one.rate);
}

function drawEdges(group, kept, all, layout) {
  const most = Math.max(1, ...all.map((edge) => edge.rate));
  const drawn = all.filter((edge) => edge.rate > 0 || edge.kind === "origin" || layout.size <= FAINT).slice(0, MOST_EDGES);
  const [least, range] = layout.size > MANY ? [0.6, 2.2] : [1.2, 4.3];
  const present = new Set();
  for (const edge of drawn) {
    const name = `${edge.parent}\n${edge.child}`;
    present.add(name);
    let path = kept.get(name);
    if (!path) {
      path = s("path", { "data-parent": edge.parent, "data-child": edge.child });
      kept.set(name, path);
      put(group, path);
    }
    const flowing = edge.rate > 0;
    set(path, "class", `${edge.kind}${flowing ? " flowing" : ""}`);
    set(path, "d", curve(edge, layout));
    if (flowing && drawn.length <= HEADS) set(path, "marker-end", `url(#to-${edge.kind})`);
    else path.removeAttribute("marker-end");
    set(path, "stroke-width", flowing ? (least + range * Math.sqrt(edge.rate / most)).toFixed(1) : "1");
  }
  for (const [name, path] of kept) {
    if (present.has(name)) continue;
    path.remove();
    kept.delete(name);
  }
}

function curve(edge, layout) {
  const child = layout.get(edge.child);
  const parent = edge.parent ? layout.get(edge.parent) : { x: 0, y: 0, radius: 30 };
  // Towards the middle, and a little to the left of the way: one way and back lie beside each other, and none runs
  // through the origin.
  const aside = edge.parent ? 0.16 : 0;
  let turnX = edge.parent ? ((parent.x + child.x) / 2) * 0.38 - (child.y - parent.y) * aside : child.x / 2;
  let turnY = edge.parent ? ((parent.y + child.y) / 2) * 0.38 + (child.x - parent.x) * aside : child.y / 2;
  if (edge.parent) [turnX, turnY] = clear(turnX, turnY, parent, child);
  const from = off(parent, turnX, turnY, parent.radius + 3);
  const till = off(child, turnX, turnY, child.radius + 7);
  const point = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  return `M${point(from.x, from.y)}Q${point(turnX, turnY)} ${point(till.x, till.y)}`;
}

/** A turning point far enough from the middle that the way does not cross what stands there. */
function clear(x, y, parent, child) {
  const length = Math.hypot(x, y);
  if (length >= CLEAR) return [x, y];
  if (length > 1) return [(x / length) * CLEAR, (y / length) * CLEAR];
  const way = Math.hypot(child.x - parent.x, child.y - parent.y) || 1;
  return [(-(child.y - parent.y) / way) * CLEAR, ((child.x - parent.x) / way) * CLEAR];
}

function off(spot, x, y, distance) {
  const length = Math.hypot(x - spot.x, y - spot.y) || 1;
  return { x: spot.x + ((x - spot.x) / length) * distance, y: spot.y + ((y - spot.y) / length) * distance };
}

/** The flows as rows of a table: {key, parent, child, rate}. */
export function flowRows(swarm, flows) {
  const names = new Map(swarm.places.map((place) => [place.place, place.name || "no name"]));
  return flows
    .filter((edge) => edge.rate > 0)
    .map((edge) => ({
      key: `${edge.parent}\n${edge.child}`,
      parent: edge.parent ? names.get(edge.parent) : "origin",
      child: names.get(edge.child),
      rate: edge.rate,
    }));
}

export function ringLegend() {
  return key([
    ["from-origin", "from the origin"],
    ["from-peers", "between nodes"],
    ["is-complete", "has it all"],
    ["is-away", "away"],
  ]);
}

export function swarmFigures(swarm) {
  const whole = swarm.size * swarm.nodes;
  const here = swarm.places.reduce((sum, place) => sum + place.bytes_here, 0);
  const complete = swarm.places.reduce((sum, place) => sum + place.complete, 0);
  return [
    ["Size", bytes(swarm.size)],
    ["Pieces", `${number(swarm.pieces)} of ${bytes(swarm.piece_size)}`],
    ["Nodes that have it", `${number(complete)} of ${number(swarm.nodes)}`],
    ["Here, all nodes", whole ? percent(here / whole) : "–"],
    ["Read from the origin", bytes(swarm.origin_bytes)],
    ["Read per byte held (A)", swarm.held ? (swarm.origin_bytes / swarm.held).toFixed(2) : "–"],
  ];
}


