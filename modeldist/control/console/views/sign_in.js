import { get } from "../api.js";
import { h, put, replace } from "../dom.js";
import { forget, keep, recognise } from "../session.js";

const ANY = /^[!-~]+$/; // what a header can carry

/** Asks for a token. */
export default function signIn({ page, named }) {
  named("Sign in");
  page.classList.add("centred");
  const said = h("p", { class: "error", role: "alert", id: "sign-in-error" });
  const input = h("input", {
    type: "password",
    id: "token",
    name: "token",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "token-help sign-in-error",
  });
  const form = h(
    "form",
    { class: "card narrow" },
    h("label", { for: "token" }, "Token"),
    input,
    h(
      "p",
      { class: "muted", id: "token-help" },
      "A token of this control plane: ",
      h("code", {}, "modeldist token create NAME --scope read"),
      " makes one that can watch; with the scope ",
      h("code", {}, "admin"),
      " it can start pulls, too. It stays in this tab and is gone when you close it.",
    ),
    said,
    h("button", { type: "submit", class: "primary" }, "Sign in"),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    replace(said);
    if (!ANY.test(input.value.trim())) {
      replace(said, "This is no token: none has such characters. Copy it again.");
      return;
    }
    keep(input.value.trim());
    try {
      const answer = await get("token", { trying: true });
      if (answer.scope !== "admin" && answer.scope !== "read") {
        forget();
        replace(said, `This token has the scope ${answer.scope}, which is for nodes. Use one with the scope read or admin.`);
        return;
      }
      recognise(answer);
      dispatchEvent(new Event("signedin"));
    } catch (error) {
      forget();
      const unknown = error.status === 401 || error.status === 403;
      replace(said, unknown ? "The control plane does not know this token." : `${error.message} ${error.remedy}`);
    }
  });
  put(page, form);
  input.focus();
}
