// Numbers as people read them. Sizes are decimal, as disks and networks have them.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

export function bytes(count) {
  let value = Math.max(0, Number(count) || 0);
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

export function rate(perSecond) {
  return perSecond === null || perSecond === undefined ? "unknown" : `${bytes(perSecond)}/s`;
}

export function number(value) {
  return Number(value).toLocaleString("en");
}

export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** 0..1 as whole percent: 100 % means all of it, never almost. */
export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  return `${share >= 1 ? 100 : Math.min(99, Math.floor(share * 100))} %`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** Since a moment, in seconds since the epoch. */
export function ago(moment) {
  if (!moment) return "never";
  const seconds = Date.now() / 1000 - moment;
  return seconds < 5 ? "just now" : `${coarse(seconds)} ago`;
}

function coarse(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function moment(seconds) {
  if (!seconds) return "never";
  return new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC";
}

export function short(digest) {
  const [, hex] = String(digest).split(":");
  return (hex || String(digest)).slice(0, 12);
}

export function arrived(amounts) {
  return amounts.origin + amounts.peers + amounts.local;
}

/** How much of what was wanted is here, 0..1; nothing wanted is nothing yet, unless all is done. */
export function share(amounts, done) {
  if (done) return 1;
  return amounts.total > 0 ? Math.min(1, arrived(amounts) / amounts.total) : 0;
}
