// The equity curve, drawn as SVG. Positions on the screen are floats; what is written next to them is not.

import { money } from "./money.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const EDGE = { top: 10, right: 78, bottom: 22, left: 2 };

function shape(name, attributes, parent) {
  const node = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent?.append(node);
  return node;
}

function niceStep(span, count) {
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= raw);
}

/** Places that tell multiples of a step apart: 0.25 takes two, 2.5 one, 20 none. */
function placesOf(step) {
  for (let places = 0; places < 8; places += 1) {
    if (Math.abs(step - Number(step.toFixed(places))) < step * 1e-6) return places;
  }
  return 8;
}

function timeLabel(time, span) {
  const day = 86_400_000;
  const ofDay = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (span <= 10 * 60_000) return time.toLocaleTimeString([], { ...ofDay, second: "2-digit" });
  if (span <= 2 * day) return time.toLocaleTimeString([], ofDay);
  return time.toLocaleDateString([], { day: "numeric", month: "short" });
}

export class EquityChart {
  constructor(figure) {
    this.figure = figure;
    this.points = [];
    this.svg = shape("svg", { role: "img" });
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.blank = document.createElement("p");
    this.blank.className = "blank";
    figure.append(this.svg, this.tip, this.blank);
    figure.addEventListener("pointermove", (event) => this.point(event));
    figure.addEventListener("pointerleave", () => this.unpoint());
    new ResizeObserver(() => this.draw()).observe(figure);
  }

  /** Replace the curve: a list of { time, equity } with equity as a string. */
  show(points) {
    this.points = points.map((point) => ({ ...point, at: Date.parse(point.time), value: Number(point.equity) }));
    this.draw();
  }

  /** Add the newest point, or move the last one on. */
  extend(time, equity) {
    const at = Date.parse(time);
    const last = this.points.at(-1);
    if (last === undefined || at < last.at) return;
    if (at === last.at) this.points.pop();
    this.points.push({ time, equity, at, value: Number(equity) });
    this.draw();
  }

  draw() {
    const { width, height } = this.figure.getBoundingClientRect();
    this.svg.replaceChildren();
    this.blank.textContent = this.points.length < 2 ? "The curve begins with the second valuation." : "";
    if (this.points.length < 2 || width < 50) return;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.scale(width, height);
    this.drawAxes(width, height);
    const path = this.points.map((point) => `${this.x(point.at).toFixed(1)},${this.y(point.value).toFixed(1)}`);
    const floor = height - EDGE.bottom;
    const ends = [this.x(this.points[0].at), this.x(this.points.at(-1).at)];
    shape("path", { class: "area", d: `M${ends[0]},${floor}L${path.join("L")}L${ends[1]},${floor}Z` }, this.svg);
    shape("path", { class: "line", d: `M${path.join("L")}` }, this.svg);
    const last = this.points.at(-1);
    shape("circle", { class: "now", cx: this.x(last.at), cy: this.y(last.value), r: 4 }, this.svg);
    this.cross = shape("line", { class: "cross", y1: EDGE.top, y2: floor, visibility: "hidden" }, this.svg);
    this.describe();
  }

  scale(width, height) {
    const values = this.points.map((point) => point.value);
    let [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = (high - low) * 0.08 || Math.abs(high) * 0.001 || 1;
    [this.low, this.high] = [low - margin, high + margin];
    const [first, last] = [this.points[0].at, this.points.at(-1).at];
    [this.first, this.span] = [first, Math.max(last - first, 1)];
    const across = width - EDGE.left - EDGE.right;
    const down = height - EDGE.top - EDGE.bottom;
    this.x = (at) => EDGE.left + ((at - first) / this.span) * across;
    this.y = (value) => EDGE.top + (1 - (value - this.low) / (this.high - this.low)) * down;
  }

  drawAxes(width, height) {
    const step = niceStep(this.high - this.low, 4);
    const places = placesOf(step);
    for (let value = Math.ceil(this.low / step) * step; value <= this.high; value += step) {
      const y = Math.round(this.y(value));
      shape("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y }, this.svg);
      const label = shape("text", { x: width, y: y + 4, "text-anchor": "end" }, this.svg);
      label.textContent = money(value.toFixed(places), places);
    }
    const count = Math.max(2, Math.min(6, Math.floor(width / 140)));
    let before = "";
    for (let number = 0; number <= count; number += 1) {
      const at = this.first + (this.span * number) / count;
      const text = timeLabel(new Date(at), this.span);
      if (text === before) continue;
      before = text;
      const anchor = number === 0 ? "start" : number === count ? "end" : "middle";
      shape("text", { x: this.x(at), y: height - 4, "text-anchor": anchor }, this.svg).textContent = text;
    }
  }

  describe() {
    const [first, last] = [this.points[0], this.points.at(-1)];
    this.svg.setAttribute("aria-label", `Equity from ${money(first.equity)} to ${money(last.equity)}, ${this.points.length} points`);
  }

  point(event) {
    if (!this.x || this.points.length < 2) return;
    const left = event.clientX - this.figure.getBoundingClientRect().left;
    const nearest = this.points.reduce((best, point) =>
      Math.abs(this.x(point.at) - left) < Math.abs(this.x(best.at) - left) ? point : best);
    const x = this.x(nearest.at);
    this.cross.setAttribute("x1", x);
    this.cross.setAttribute("x2", x);
    this.cross.setAttribute("visibility", "visible");
    const value = document.createElement("b");
    value.textContent = money(nearest.equity);
    this.tip.replaceChildren(value, new Date(nearest.at).toLocaleString([], { hourCycle: "h23" }));
    this.tip.hidden = false;
    const room = this.figure.clientWidth - EDGE.right - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(x + 10, room))}px`;
  }

  unpoint() {
    this.tip.hidden = true;
    this.cross?.setAttribute("visibility", "hidden");
  }
}
