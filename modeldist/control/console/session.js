// The token, for as long as this tab lives. It is sent in a header that no browser adds by itself, so no other page can
// have this one's browser ask for anything (ADR 42).

const KEY = "modeldist.token";
let known = null;

export function token() {
  return sessionStorage.getItem(KEY);
}

export function keep(text) {
  sessionStorage.setItem(KEY, text);
}

export function forget() {
  known = null;
  sessionStorage.removeItem(KEY);
}

/** Who is signed in: {name, scope, expires_at}; null before that is known. */
export function who() {
  return known;
}

export function recognise(answer) {
  known = answer;
}

export function mayChange() {
  return known !== null && known.scope === "admin";
}
