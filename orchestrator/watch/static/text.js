// Numbers, durations and times as text.
export const MISSING = "–";

export function number(value, digits = 4) {
  if (value === null || value === undefined || value === "") return MISSING;
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  if (Math.abs(value) >= 1e6) return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  return Number(value.toPrecision(digits)).toString();
}

export const percent = (value) => (value === null || value === undefined ? MISSING : value.toFixed(2));

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return MISSING;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60 && s < 600 ? `${s % 60} s` : ""}`.trim();
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.round((s % 86400) / 3600)} h`;
}

export function ago(time, now = Date.now()) {
  const at = typeof time === "number" ? time * 1000 : Date.parse(time);
  if (!at) return MISSING;
  const seconds = Math.max(0, (now - at) / 1000);
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

export function clock(time) {
  const at = new Date(time);
  if (!time || Number.isNaN(at.getTime())) return MISSING;
  const today = at.toDateString() === new Date().toDateString();
  const hours = at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return today ? hours : `${at.toLocaleDateString("en-CA")} ${hours}`;
}

export const counted = (n, one, many) => `${n.toLocaleString("en-US")} ${n === 1 ? one : (many ?? `${one}s`)}`;

// An id in little space; the whole one is in the tooltip and in the downloads.
export const short = (id) => (id.length > 24 ? `${id.slice(0, 10)}…${id.slice(-6)}` : id);
