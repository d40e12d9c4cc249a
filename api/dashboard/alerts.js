// The open alerts: what nobody takes care of first, and of it the worst; each with since when it is open, and why.

import { fillCell, moment, sized } from "./tables.js";

/** As many as are asked for; more than that nobody reads here. */
export const ALERTS_MAX = 100;

const SEVERITIES = ["critical", "warning", "info"];

/** Show alerts as the API lists them; null: the key may not see them. */
export function showAlerts(panel, alerts) {
  const list = panel.querySelector("ul");
  const count = panel.querySelector(".count");
  const rows = sorted(alerts ?? []);
  panel.dataset.worst = rows.length && !isQuiet(rows[0]) ? rows[0].severity : "";
  fillCell(count, { text: summary(alerts) });
  list.hidden = rows.length === 0;
  sized(list, rows.length, newItem);
  rows.forEach((alert, at) => fillItem(list.children[at], alert));
}

function summary(alerts) {
  if (alerts === null) return "are shown to keys with the scope admin:read";
  if (alerts.length === 0) return "none is open";
  return alerts.length < ALERTS_MAX ? `${alerts.length} open` : `the newest ${ALERTS_MAX} that are open`;
}

const isQuiet = (alert) => alert.silenced || alert.acknowledged_by !== "";
const rank = (alert) => SEVERITIES.indexOf(alert.severity) + (isQuiet(alert) ? SEVERITIES.length : 0);

function sorted(alerts) {
  // The API lists the newest first, and the order of equals is kept.
  return [...alerts].sort((one, other) => rank(one) - rank(other));
}

function newItem() {
  const item = document.createElement("li");
  for (const [tag, name] of [["b", "severity"], ["span", "what"], ["span", "whose"], ["span", "care"], ["time", "since"], ["p", "message"]]) {
    const part = document.createElement(tag);
    part.dataset.base = name;
    part.className = name;
    item.append(part);
  }
  return item;
}

function fillItem(item, alert) {
  const [severity, what, whose, care, since, message] = item.children;
  const { text, title } = moment(alert.raised);
  item.dataset.severity = alert.severity;
  item.dataset.quiet = String(isQuiet(alert));
  fillCell(severity, { text: alert.severity });
  fillCell(what, { text: `${alert.rule} ${alert.subject}`.trim(), title: `Rule ${alert.rule} (${alert.kind}), alert ${alert.id}` });
  fillCell(whose, { text: alert.account });
  fillCell(care, careOf(alert));
  fillCell(since, { text: `since ${text}`, title });
  since.dateTime = title;
  fillCell(message, { text: alert.text });
}

function careOf({ id, silenced, acknowledged_by: by }) {
  const said = [by && `acknowledged by ${by}`, silenced && "silenced"].filter(Boolean);
  return said.length ? { text: said.join(", ") } : { text: "", title: `portfolio alerts ack ${id}` };
}
