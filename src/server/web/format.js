// Numbers as people read them.

const whole = new Intl.NumberFormat("en");

export const count = (value) => whole.format(Math.round(value));

export function bytes(value) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)}\u00a0${units[unit]}`;
}

export function large(value) {
  if (value >= 1e9) return `${(value / 1e9).toFixed(value < 1e10 ? 2 : 1)}\u00a0B`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(value < 1e7 ? 2 : 1)}\u00a0M`;
  return count(value);
}

export const rate = (value) => (value === 0 ? "0" : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0));

export const bits = (value) => value.toFixed(value < 10 ? 2 : 0);

export const percent = (part, all) => (all > 0 ? `${Math.round((100 * part) / all)} %` : "0 %");

// The heading under which a conversation is listed.
export function day(time, now = Date.now()) {
  const start = new Date(now).setHours(0, 0, 0, 0);
  if (time >= start) return "Today";
  if (time >= start - 86400e3) return "Yesterday";
  if (time >= start - 7 * 86400e3) return "This week";
  return "Earlier";
}
