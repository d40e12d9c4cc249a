// Decimals arrive as strings and are rounded as strings: no digit passes through a float.

const MINUS = "\u2212";

/** Round a plain decimal half away from zero; returns { negative, whole, fraction } as digits. */
export function rounded(text, places) {
  const negative = text.startsWith("-");
  const [whole, fraction = ""] = text.replace("-", "").split(".");
  const digits = whole + fraction.slice(0, places).padEnd(places, "0");
  const up = (fraction[places] ?? "0") >= "5" ? 1n : 0n;
  const scaled = (BigInt(digits) + up).toString().padStart(places + 1, "0");
  const cut = scaled.length - places;
  return {
    negative: negative && /[1-9]/.test(scaled),
    whole: scaled.slice(0, cut),
    fraction: scaled.slice(cut),
  };
}

const grouped = (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ",");

/** `1234.5` as `1,234.50`; with `sign`, also `+`. */
export function money(text, places = 2, sign = false) {
  const { negative, whole, fraction } = rounded(text, places);
  const isZero = !/[1-9]/.test(whole + fraction);
  const prefix = negative ? MINUS : sign && !isZero ? "+" : "";
  return prefix + grouped(whole) + (places ? `.${fraction}` : "");
}

/** Places that show a price of this size well. */
export function pricePlaces(text) {
  const whole = text.replace("-", "").split(".")[0];
  if (whole.length >= 3) return 2;
  return whole === "0" ? 8 : 4;
}

/** A quantity at eight places, split so that trailing zeros can be dimmed: [shown, zeros]. */
export function quantity(text, places = 8) {
  const shown = money(text, places);
  const kept = shown.replace(/\.?0+$/, "");
  return [kept, shown.slice(kept.length)];
}

/** "gain", "loss" or "zero", of the exact value. */
export function direction(text) {
  if (!/[1-9]/.test(text)) return "zero";
  return text.startsWith("-") ? "loss" : "gain";
}

/** A fraction such as 0.0123 as `+1.23 %`; ratios are floats to begin with. */
export function percent(fraction, places = 2) {
  const shown = Math.abs(fraction * 100).toFixed(places);
  const sign = Number(shown) === 0 ? "" : fraction < 0 ? MINUS : "+";
  return `${sign}${shown}\u202f%`;
}

/** A plain ratio such as 1.25. */
export function ratio(number, places = 2) {
  return number.toFixed(places).replace("-", MINUS);
}
