// Which pieces each node holds: one strip a node, which fills.

import { h, put, set, text } from "./dom.js";
import { number, percent } from "./format.js";

const HEIGHT = 14; // CSS pixels of a strip

/** Strips for the nodes of a page. Returns {element, update(page), again()}; `page` as GET /tasks/{digest}/pieces has it. */
export function pieceMaps() {
  const lines = new Map();
  const list = h("ul", { class: "maps" });
  const element = h("div", {}, list);

  async function update(page) {
    const maps = await Promise.all(page.maps.map(async (map) => ({ ...map, bits: await unpacked(map.map) })));
    maps.sort((one, other) => one.name.localeCompare(other.name, "en", { numeric: true }));
    const present = new Set();
    maps.forEach((map, index) => {
      present.add(map.node);
      const line = lines.get(map.node) || strip(map);
      lines.set(map.node, line);
      if (list.children[index] !== line.element) list.insertBefore(line.element, list.children[index] || null);
      line.show(map, page.pieces);
    });
    for (const [node, line] of lines) {
      if (present.has(node)) continue;
      line.element.remove();
      lines.delete(node);
    }
  }
  return {
    element,
    update,
    again() {
      for (const line of lines.values()) line.again();
    },
  };
}

function strip(map) {
  const canvas = h("canvas", { class: "strip", role: "img" });
  const figure = h("span", { class: "figure" });
  const name = h("a", { href: `#/nodes/${encodeURIComponent(map.node)}` }, map.name);
  const element = h("li", {}, name, canvas, figure);
  let paint = () => {};
  return {
    element,
    again: () => paint(),
    show(now, pieces) {
      text(name, now.name);
      text(figure, percent(pieces ? now.have / pieces : 1));
      set(canvas, "aria-label", `${now.name} holds ${number(now.have)} of ${number(pieces)} pieces`);
      paint = () => draw(canvas, pieces, (start, stop) => held(now.bits, start, stop), now.leased);
      paint();
    },
  };
}

/** How many nodes have each stretch. Returns {element, update(holders, nodes)}. */
export function rarity() {
  const canvas = h("canvas", { class: "strip tall", role: "img" });
  return {
    element: canvas,
    update(holders, nodes) {
      const least = holders.length ? Math.min(...holders) : 0;
      set(canvas, "aria-label", `The rarest part is on ${number(Math.round(least))} of ${number(nodes)} nodes`);
      draw(canvas, holders.length, (start, stop) => {
        let sum = 0;
        for (let index = start; index < stop; index += 1) sum += holders[index];
        return sum / (stop - start) / Math.max(1, nodes);
      });
    },
  };
}

function draw(canvas, count, share, leased = []) {
  const width = canvas.clientWidth || 300;
  const height = canvas.clientHeight || HEIGHT;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const brush = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  const paint = (name) => style.getPropertyValue(name).trim();
  brush.clearRect(0, 0, canvas.width, canvas.height);
  brush.fillStyle = paint("--rail");
  brush.fillRect(0, 0, canvas.width, canvas.height);
  if (!count) return;
  const columns = Math.min(count, canvas.width);
  brush.fillStyle = paint("--origin");
  for (const [start, length] of leased) {
    const from = Math.floor((start / count) * canvas.width);
    const wide = Math.max(1, Math.ceil((length / count) * canvas.width));
    brush.globalAlpha = 0.45;
    brush.fillRect(from, 0, wide, canvas.height);
  }
  brush.fillStyle = paint("--peers");
  for (let column = 0; column < columns; column += 1) {
    const start = Math.floor((column * count) / columns);
    const stop = Math.max(start + 1, Math.floor(((column + 1) * count) / columns));
    const part = share(start, stop);
    if (part <= 0) continue;
    brush.globalAlpha = 0.15 + 0.85 * Math.min(1, part);
    const from = Math.round((column * canvas.width) / columns);
    const next = Math.round(((column + 1) * canvas.width) / columns);
    brush.fillRect(from, 0, next - from, canvas.height);
  }
  brush.globalAlpha = 1;
}

function held(bits, start, stop) {
  let count = 0;
  for (let piece = start; piece < stop; piece += 1) {
    if ((bits[piece >> 3] || 0) & (1 << (piece & 7))) count += 1;
  }
  return count / (stop - start);
}

/** A map of the API: base64 of a zlib stream of a bitmap. */
export async function unpacked(map) {
  const packed = Uint8Array.from(atob(map), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export function mapsNote() {
  const note = h("p", { class: "muted" });
  put(
    note,
    h("span", { class: "swatch from-peers" }),
    " held and verified",
    h("span", { class: "swatch leased after" }),
    " being read from the origin",
  );
  return note;
}
