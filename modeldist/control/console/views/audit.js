import { get } from "../api.js";
import { h, link, put } from "../dom.js";
import { duration, moment, number } from "../format.js";
import { every } from "../live.js";
import { chip } from "../meter.js";
import { mayChange, who } from "../session.js";
import { table } from "../table.js";

/** Who did what. */
export default function audit({ page, named, signal }) {
  named("Audit");
  if (!mayChange()) {
    put(
      page,
      h(
        "p",
        { class: "card" },
        `Your token “${who().name}” has the scope ${who().scope}. Who did what is shown to tokens with the scope admin.`,
      ),
    );
    return;
  }
  const since = h("p", { class: "muted" });
  const rows = table({
    caption: "Who did what, newest first",
    empty: "Nobody has done anything yet.",
    key: (row) => row.id,
    search: {
      label: "Search the records",
      hint: "Search: name, action, pull…",
      of: (row) => `${row.token} ${row.role} ${row.action} ${row.asked} ${row.object} ${row.client} ${row.outcome}`,
    },
    columns: [
      { label: "When", text: (row) => moment(row.at) },
      { label: "Who", text: (row) => (row.token ? `${row.token} (${row.role})` : "no valid token") },
      { label: "Did", text: (row) => row.action.replaceAll("_", " ") || row.asked },
      { label: "To", kind: "wide", text: (row) => row.object, draw: object },
      {
        label: "Outcome",
        text: (row) => row.outcome,
        draw: (row) => chip(row.outcome, row.outcome < 400 ? "ok" : "failed"),
      },
      { label: "From", kind: "wide", text: (row) => row.client },
    ],
  });
  put(page, since, h("div", { class: "card" }, rows.element));
  every(3, signal, async () => {
    const answer = await get("audit?limit=500", { signal });
    since.textContent =
      `Of each kind (what people did, sessions, refusals) the newest ${number(answer.most)} of the last ${duration(answer.age)}, ` +
      `the oldest of ${moment(answer.since)}. The log modeldist.audit has all.`;
    rows.update(answer.records);
  });
}

function object(row) {
  const [first, ...rest] = row.object.split(" ");
  return rest.length && row.action === "create_pull" ? h("span", {}, link(rest.join(" "), "pulls", first)) : row.object;
}
