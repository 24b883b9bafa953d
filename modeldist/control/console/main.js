// Which view is shown, and who looks.

import { get } from "./api.js";
import { h, put, replace, say, text } from "./dom.js";
import { trouble, well } from "./live.js";
import { forgetNodes } from "./names.js";
import { forget, recognise, token, who } from "./session.js";
import audit from "./views/audit.js";
import model from "./views/model.js";
import models from "./views/models.js";
import node from "./views/node.js";
import nodes from "./views/nodes.js";
import overview from "./views/overview.js";
import pull from "./views/pull.js";
import pulls from "./views/pulls.js";
import signIn from "./views/sign_in.js";
import start from "./views/start.js";
import swarm from "./views/swarm.js";
import swarms from "./views/swarms.js";

const VIEWS = {
  "": overview,
  audit,
  models,
  "models/": model,
  nodes,
  "nodes/": node,
  pulls,
  "pulls/": pull,
  start,
  swarms,
  "swarms/": swarm,
};

const main = document.getElementById("main");
let shown = null; // AbortController of the view

function chosen() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [room, ...rest] = path.split("/");
  const what = rest.length ? decoded(rest.join("/")) : null;
  const key = what === null ? room : `${room}/`;
  const view = what !== undefined && Object.hasOwn(VIEWS, key) ? VIEWS[key] : lost;
  return { room, what, view, query: new URLSearchParams(query || "") };
}

/** undefined where it is no address, as of a link that was cut off: decodeURIComponent would throw. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

async function show({ moved }) {
  shown?.abort();
  shown = new AbortController();
  const { signal } = shown;
  well(null);
  if (!token()) {
    await draw(signIn, {}, signal, moved);
    return;
  }
  if (who() === null) {
    try {
      recognise(await get("token", { signal }));
    } catch (error) {
      if (error.name !== "AbortError" && error.status !== 401) {
        trouble(show, error);
        setTimeout(() => !signal.aborted && show({ moved }), 2000);
      }
      return;
    }
  }
  if (signal.aborted) return;
  const { room, what, view, query } = chosen();
  mark(room);
  await draw(view, { what, query }, signal, moved);
}

async function draw(view, asked, signal, moved) {
  const page = h("div", { class: "page" });
  const title = h("h1", { tabindex: "-1" });
  const named = (name) => {
    text(title, name);
    document.title = `${name} · modeldist`;
  };
  put(page, title);
  replace(main, page);
  try {
    await view({ page, title, named, signal, ...asked });
  } catch (error) {
    if (!signal.aborted && error.status !== 401) trouble(draw, error);
  }
  if (signal.aborted) return;
  tools();
  scrollTo(0, 0);
  if (moved && !page.contains(document.activeElement)) title.focus({ preventScroll: true });
}

function lost({ page, named }) {
  named("No such page");
  put(page, h("p", {}, "There is nothing here. ", h("a", { href: "#/" }, "Go to the overview."), ""));
}

function mark(room) {
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.getAttribute("href") === `#/${room}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function tools() {
  const signed = Boolean(token()) && who() !== null;
  document.getElementById("nav").hidden = !signed;
  document.getElementById("leave").hidden = !signed;
  text(document.getElementById("who"), signed ? `${who().name} · ${who().scope}` : "");
}

addEventListener("hashchange", () => show({ moved: true }));
addEventListener("signedin", () => show({ moved: true }));
addEventListener("signedout", () => {
  forgetNodes();
  show({ moved: true });
});
document.getElementById("leave").addEventListener("click", () => {
  forget();
  say("Signed out.");
  dispatchEvent(new Event("signedout"));
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part of the address behind # says which view this is
  main.focus();
});
show({ moved: false });
