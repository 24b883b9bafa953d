import { h, link, put, replace } from "../dom.js";
import { short } from "../format.js";
import { swarmPanel } from "../swarm_panel.js";

/** One shard task. */
export default function swarm({ page, named, signal, what }) {
  named(`Shard ${short(what)}`);
  const digest = h("code", {}, what);
  const about = h("p", { class: "muted" }, digest);
  let known = null;
  const told = ({ model, reference, path }) => {
    if (!reference || known === reference) return;
    known = reference;
    if (path) named(path);
    replace(about, "Of ", link(reference, "models", model), ", ", digest);
  };
  put(page, about, swarmPanel(what, signal, "h2", told));
}
