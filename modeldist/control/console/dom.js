// Elements without markup: names of models and nodes come from outside, so text is only ever text.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  put(element, ...children);
  return element;
}

/** An HTML element; children are nodes, texts, numbers, lists of them, or nothing. */
export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

export function put(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

export function replace(element, ...children) {
  element.replaceChildren();
  put(element, ...children);
}

/** Sets what changed alone, so that readers of the screen are told of nothing else. */
export function text(element, value) {
  const written = String(value);
  if (element.textContent !== written) element.textContent = written;
}

export function set(element, name, value) {
  const written = String(value);
  if (element.getAttribute(name) !== written) element.setAttribute(name, written);
}

/** A link to a place of the console. Each part is encoded. */
export function to(...parts) {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

export function link(label, ...parts) {
  return h("a", { href: to(...parts) }, label);
}

/** Says something to whoever listens rather than looks. */
export function say(sentence) {
  text(document.getElementById("said"), sentence);
}
