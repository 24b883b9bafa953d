import { post } from "../api.js";
import { h, put, replace, to } from "../dom.js";
import { bytes, plural } from "../format.js";
import { forgetNodes } from "../names.js";
import { mayChange, who } from "../session.js";

/** Puts a model on nodes. */
export default function start({ page, named, query }) {
  named("Start a prefetch");
  const allowed = mayChange();
  const said = h("p", { class: "error", role: "alert", id: "start-error" });
  const reference = h("input", {
    type: "text",
    id: "reference",
    required: true,
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "org/model:tag",
    "aria-describedby": "reference-help",
  });
  reference.value = query.get("reference") || "";
  const known = h("div", { class: "known", role: "status" });
  const look = h("button", { type: "button", class: "quiet" }, "What is it?");
  const target = whichNodes();
  const priority = h(
    "select",
    { id: "priority" },
    h("option", { value: "prefetch" }, "Prefetch: behind everything else"),
    h("option", { value: "pull" }, "Pull"),
    h("option", { value: "serving" }, "Serving: before everything else"),
  );
  const deadline = h("input", { type: "datetime-local", id: "deadline" });
  const go = h("button", { type: "submit", class: "primary" }, "Start");
  const fields = h(
    "fieldset",
    { class: "bare", disabled: !allowed },
    h("legend", { class: "hidden" }, "What, where and how"),
    h("label", { for: "reference" }, "Model"),
    h("div", { class: "row" }, h("div", { class: "grow" }, reference), look),
    h("p", { class: "muted", id: "reference-help" }, "org/model:tag, registry/org/model@sha256:…, hf://org/model@revision, https://…"),
    known,
    target.element,
    h("div", { class: "pair" }, h("div", {}, h("label", { for: "priority" }, "Priority"), priority), h("div", {}, h("label", { for: "deadline" }, "Done by (optional)"), deadline)),
    said,
    go,
  );
  const form = h("form", { class: "card narrow", novalidate: true }, fields);
  if (!allowed) {
    put(
      page,
      h(
        "p",
        { class: "card narrow warning", id: "not-allowed" },
        `Your token “${who().name}” has the scope ${who().scope}: it can watch, and start nothing. Sign in with a token of the scope admin.`,
      ),
    );
  }
  put(page, form);

  look.addEventListener("click", async () => {
    replace(said);
    replace(known, "Asking the origin…");
    try {
      const model = await post("resolve", { reference: reference.value.trim() });
      replace(known, h("p", {}, `${bytes(model.size)} in ${plural(model.files.length, "file")}, `, h("code", {}, model.digest.slice(0, 19)), "…"));
    } catch (error) {
      replace(known);
      replace(said, `${error.message} ${error.remedy}`);
    }
  });
  let key = fresh();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    replace(said);
    const nodes = target.chosen();
    const wrong = !reference.value.trim() ? "Write which model." : typeof nodes === "string" && nodes !== "all" ? nodes : "";
    if (wrong) {
      replace(said, wrong);
      (reference.value.trim() ? target.first() : reference).focus();
      return;
    }
    go.disabled = true;
    try {
      const body = { reference: reference.value.trim(), nodes, priority: priority.value };
      if (deadline.value) body.deadline = new Date(deadline.value).toISOString();
      const pull = await post("pulls", body, { headers: { "Idempotency-Key": key } });
      forgetNodes();
      location.hash = to("pulls", pull.id);
    } catch (error) {
      key = error.status === 0 ? key : fresh(); // not answered: the same again makes no second pull
      replace(said, `${error.message} ${error.remedy}`);
      go.disabled = false;
    }
  });
}

function fresh() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return `console-${Array.from(random, (each) => each.toString(16).padStart(2, "0")).join("")}`;
}

const WAYS = [
  ["all", "All nodes", "also those that join while it runs"],
  ["names", "Named nodes", "names or ids, with commas"],
  ["labels", "Nodes with labels", "gpu=h100, pool=a"],
  ["count", "So many nodes", "the least busy first"],
  ["percentage", "A share of the nodes", "percent, rounded up"],
];

/** Radio buttons, and what belongs to the chosen one. */
function whichNodes() {
  const value = h("input", { type: "text", id: "which", autocomplete: "off", spellcheck: "false", "aria-describedby": "which-help" });
  const label = h("label", { for: "which" });
  const help = h("p", { class: "muted", id: "which-help" });
  const asked = h("div", { class: "asked" }, label, value, help);
  const radios = WAYS.map(([way, name], index) =>
    h("label", { class: "choice" }, h("input", { type: "radio", name: "way", value: way, checked: index === 0 }), h("span", {}, name)),
  );
  const group = h("fieldset", { class: "ways" }, h("legend", {}, "Nodes"), h("div", { class: "choices" }, radios), asked);
  const way = () => group.querySelector("input[name=way]:checked").value;
  const show = () => {
    const [kind, name, hint] = WAYS.find(([each]) => each === way());
    asked.hidden = kind === "all";
    replace(label, name);
    replace(help, hint);
    value.inputMode = kind === "count" || kind === "percentage" ? "numeric" : "text";
  };
  group.addEventListener("change", show);
  show();
  return {
    element: group,
    first: () => value,
    chosen: () => meant(way(), value.value.trim()),
  };
}

/** What the API is told; a sentence where it cannot be. */
function meant(way, written) {
  const list = written.split(",").map((each) => each.trim()).filter(Boolean);
  switch (way) {
    case "all":
      return "all";
    case "names":
      return list.length ? list : "Write the names of nodes.";
    case "labels": {
      const pairs = list.map((each) => each.split("="));
      const right = pairs.length > 0 && pairs.every((each) => each.length === 2 && each[0]);
      return right ? { labels: Object.fromEntries(pairs.map((each) => each.map((half) => half.trim()))) } : "Write labels as gpu=h100.";
    }
    default: {
      const count = Number(written);
      const most = way === "percentage" ? 100 : 100000;
      if (!Number.isInteger(count) || count < 1 || count > most) return `Write a whole number from 1 to ${most}.`;
      return { [way]: count };
    }
  }
}
