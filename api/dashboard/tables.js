// Tables and lists that change only what changed, so that a selection or a scroll position survives an update.

import { direction, money, percent, pricePlaces, quantity } from "./money.js";

/** Set an element to { text, zeros, title, kind } without touching what is the same. */
export function fillCell(cell, { text, zeros = "", title = "", kind = "" }) {
  const key = `${text}|${zeros}|${title}|${kind}`;
  if (cell.dataset.key === key) return;
  cell.dataset.key = key;
  cell.textContent = text;
  if (zeros) {
    const dim = document.createElement("span");
    dim.className = "fraction-zero";
    dim.textContent = zeros;
    cell.append(dim);
  }
  if (title) cell.title = title;
  else cell.removeAttribute("title");
  cell.className = [cell.dataset.base, kind].filter(Boolean).join(" ");
}

/** Make a parent have so many children, new ones at its end. */
export function sized(parent, count, make) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(make());
}

/** Show rows. A column is { head, cell: (row) => {text, ...}, left, base, hint }. */
export function showTable(table, columns, rows, blank) {
  if (!table.tHead) {
    const head = table.createTHead().insertRow();
    for (const column of columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = column.head;
      cell.className = column.left ? "left" : "";
      if (column.hint) cell.title = column.hint;
      head.append(cell);
    }
    table.createTBody();
  }
  const body = table.tBodies[0];
  if (rows.length === 0) {
    body.replaceChildren();
    const cell = body.insertRow().insertCell();
    cell.colSpan = columns.length;
    cell.className = "blank";
    cell.textContent = blank;
    return;
  }
  if (body.querySelector("td.blank")) body.replaceChildren();
  sized(body, rows.length, () => {
    const row = document.createElement("tr");
    for (const column of columns) {
      const cell = row.insertCell();
      cell.dataset.base = [column.left ? "left" : "", column.base ?? ""].filter(Boolean).join(" ");
    }
    return row;
  });
  rows.forEach((row, at) => {
    columns.forEach((column, number) => fillCell(body.rows[at].cells[number], column.cell(row)));
  });
}

/** Show terms and figures: [{ term, text, title, kind, note }]. */
export function showFigures(list, figures) {
  sized(list, figures.length, () => {
    const group = document.createElement("div");
    group.append(document.createElement("dt"), document.createElement("dd"));
    return group;
  });
  figures.forEach(({ term, ...cell }, at) => {
    const [name, value] = list.children[at].children;
    if (name.textContent !== term) name.textContent = term;
    fillCell(value, cell);
  });
}

export const text = (value, kind = "") => ({ text: value, kind });
export const none = { text: "\u2013", kind: "zero" };
export const amount = (value) => (value === null ? none : { text: money(value), title: value });
export const gain = (value) => ({ text: money(value, 2, true), title: value, kind: direction(value) });
export const price = (value) => (value === null ? none : { text: money(value, pricePlaces(value)), title: value });
export const share = (fraction) =>
  fraction === null ? none : { text: percent(fraction), kind: direction(String(fraction.toFixed(8))), title: String(fraction) };

export function held(value) {
  if (value === null) return none;
  const [shown, zeros] = quantity(value);
  return { text: shown, zeros, title: value };
}

/** A time of day on the 24-hour clock. */
export const clock = (date) =>
  date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export function moment(time) {
  if (time === null) return none;
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  const day = date.toLocaleDateString([], { day: "2-digit", month: "short" });
  return { text: isToday ? clock(date) : `${day} ${clock(date)}`, title: time };
}
