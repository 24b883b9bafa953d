// A table of many rows: sorted, searched and shown a page at a time. Rows are kept between updates, so that whoever
// stands on a link in one goes on standing there.

import { h, put, replace, set, text } from "./dom.js";
import { number } from "./format.js";

/**
 * columns: [{label, text(row), draw(row)?, sort(row)?, kind?}], where `text` says what is in a cell, and the cell is
 * drawn again when that changes. kind: "number" is set right; "wide" is left out on narrow screens.
 * key(row): who it is. Returns {element, update(rows)}.
 */
export function table({ caption, columns, key, size = 50, empty = "Nothing yet.", search = null, sorted = null }) {
  const state = { rows: [], page: 0, by: sorted ? sorted.by : null, down: sorted ? sorted.down : false, wanted: "" };
  const kept = new Map();
  const body = h("tbody");
  const heads = columns.map((column, index) => head(column, index, state, () => draw()));
  const nothing = h("p", { class: "empty" }, empty);
  const where = h("span", { class: "where" });
  const before = h("button", { type: "button", class: "quiet", onclick: () => turn(-1) }, "Previous");
  const after = h("button", { type: "button", class: "quiet", onclick: () => turn(1) }, "Next");
  const pager = h("div", { class: "pager" }, before, where, after);
  const grid = h(
    "table",
    {},
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, heads.map((each) => each.cell))),
    body,
  );
  const scrolls = h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": caption }, grid);
  const element = h("div", { class: "listing" });
  if (search) put(element, finder(search, state, () => draw()));
  put(element, scrolls, nothing, pager);

  function turn(by) {
    state.page += by;
    draw();
  }

  function draw() {
    const found = ordered(matching(state, search), columns, state);
    const pages = Math.max(1, Math.ceil(found.length / size));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const start = state.page * size;
    const shown = found.slice(start, start + size);
    place(body, shown, columns, key, kept);
    for (const each of heads) each.mark();
    scrolls.hidden = shown.length === 0;
    nothing.hidden = shown.length > 0;
    text(nothing, state.rows.length && !found.length ? "Nothing here matches." : empty);
    pager.hidden = pages === 1;
    before.disabled = state.page === 0;
    after.disabled = state.page === pages - 1;
    text(where, `${number(start + 1)}–${number(start + shown.length)} of ${number(found.length)}`);
  }

  draw();
  return {
    element,
    update(rows) {
      state.rows = rows;
      draw();
    },
  };
}

function head(column, index, state, draw) {
  const cell = h("th", { scope: "col", class: column.kind || null });
  if (!column.sort) {
    put(cell, column.label);
    return { cell, mark: () => {} };
  }
  const button = h("button", { type: "button", class: "sort" }, column.label);
  button.addEventListener("click", () => {
    state.down = state.by === index ? !state.down : column.kind === "number";
    state.by = index;
    state.page = 0;
    draw();
  });
  put(cell, button);
  return {
    cell,
    mark: () => set(cell, "aria-sort", state.by !== index ? "none" : state.down ? "descending" : "ascending"),
  };
}

function finder(search, state, draw) {
  const input = h("input", { type: "search", autocomplete: "off", spellcheck: "false", placeholder: search.hint });
  input.addEventListener("input", () => {
    state.wanted = input.value.trim().toLowerCase();
    state.page = 0;
    draw();
  });
  return h("label", { class: "finder" }, h("span", { class: "hidden" }, search.label), input);
}

function matching(state, search) {
  if (!search || !state.wanted) return state.rows;
  return state.rows.filter((row) => search.of(row).toLowerCase().includes(state.wanted));
}

function ordered(rows, columns, state) {
  if (state.by === null) return rows;
  const value = columns[state.by].sort;
  const sign = state.down ? -1 : 1;
  return [...rows].sort((one, other) => sign * compare(value(one), value(other)));
}

function compare(one, other) {
  if (typeof one === "string") return one.localeCompare(String(other), "en", { numeric: true });
  return (one ?? -1) - (other ?? -1);
}

function place(body, rows, columns, key, kept) {
  const present = new Set();
  rows.forEach((row, index) => {
    const name = key(row);
    present.add(name);
    let line = kept.get(name);
    if (!line) {
      line = { element: h("tr"), cells: columns.map((column) => ({ said: null, cell: h("td", { class: column.kind || null }) })) };
      put(line.element, line.cells.map((each) => each.cell));
      kept.set(name, line);
    }
    columns.forEach((column, at) => fill(line.cells[at], column, row));
    if (body.children[index] !== line.element) body.insertBefore(line.element, body.children[index] || null);
  });
  for (const [name, line] of kept) {
    if (!present.has(name)) {
      line.element.remove();
      kept.delete(name);
    }
  }
}

function fill(held, column, row) {
  const said = String(column.text(row));
  if (held.said === said) return;
  held.said = said;
  replace(held.cell, column.draw ? column.draw(row) : said);
}
