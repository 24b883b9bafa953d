import { h, put } from "../dom.js";
import { short } from "../format.js";
import { swarmPanel } from "../swarm_panel.js";

/** One shard task. */
export default function swarm({ page, named, signal, what }) {
  named(`Shard ${short(what)}`);
  put(page, h("p", { class: "muted" }, h("code", {}, what)), swarmPanel(what, signal, "h2"));
}
