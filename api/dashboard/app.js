// Asks the API when the live stream says that something has happened, or each second while there is no stream, and shows
// what it says. While the tab is hidden it asks nothing.

import { ALERTS_MAX, showAlerts } from "./alerts.js";
import { EquityChart } from "./chart.js";
import { listen } from "./live.js";
import { direction, money, percent, ratio } from "./money.js";
import { amount, clock, gain, held, moment, none, price, share, showFigures, showTable, text } from "./tables.js";

const EVERY_MS = 1_000;
const EVERY_WITH_STREAM_MS = 10_000;
const KEY = "portfolio-key";
const BACKOFF_MAX_MS = 15_000;
const TIMEOUT_MS = 5_000;
const CURVE_EVERY_MS = 5_000;
const PERIODS = [["1h", "1H"], ["24h", "24H"], ["7d", "7D"], ["30d", "30D"], ["ytd", "YTD"], ["all", "All"]];

const account = new URLSearchParams(location.search).get("account");
const element = (id) => document.getElementById(id);
const chart = new EquityChart(element("chart"));

const state = { period: "24h", failures: 0, logPosition: null, curveAt: 0, timer: null, isAsking: false, since: null,
  isLive: false, askedAt: 0 };

/** A key lives as long as the tab; it is kept nowhere else. */
function authorization() {
  const key = sessionStorage.getItem(KEY);
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

async function ask(path, parameters = {}) {
  const query = new URLSearchParams(account === null ? parameters : { ...parameters, account });
  const answer = await fetch(`${path}?${query}`, { headers: authorization(), signal: AbortSignal.timeout(TIMEOUT_MS) });
  element("sign-in").hidden = answer.status !== 401;
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(problem.detail ?? `${path} answered ${answer.status}`), { status: answer.status });
  }
  return { body: await answer.json(), logPosition: answer.headers.get("X-Log-Position") };
}

/** What `ask` gives, with null as its body where the key lacks the scope: the rest of the page needs it not. */
async function askIfAllowed(path, parameters) {
  try {
    return await ask(path, parameters);
  } catch (error) {
    if (error.status !== 403) throw error;
    return { body: null };
  }
}

// -- what is shown ---------------------------------------------------------------------------------------------------

function showOverview({ body, logPosition }) {
  const isEmpty = body.timestamp === null;
  element("empty").hidden = !isEmpty;
  element("books").hidden = isEmpty;
  element("account").textContent = body.accounts.join(", ");
  if (isEmpty) {
    document.title = "Portfolio";
    return;
  }
  const [whole, fraction] = money(body.equity).split(".");
  const cents = document.createElement("span");
  cents.className = "fraction";
  cents.textContent = `.${fraction}`;
  element("equity").replaceChildren(whole, cents);
  element("equity").title = body.equity;
  document.title = `${whole}.${fraction} ${body.reporting} \u00b7 Portfolio`;
  for (const unit of document.querySelectorAll("[data-unit]")) unit.textContent = body.reporting;
  const total = element("total-pnl");
  total.textContent = money(body.total_pnl, 2, true);
  total.title = body.total_pnl;
  total.className = direction(body.total_pnl);
  showFigures(element("totals"), [
    { term: "Realized", ...gain(body.realized_pnl) },
    { term: "Unrealized", ...gain(body.unrealized_pnl) },
    { term: "Fees", ...amount(body.fees) },
    { term: "Net deposits", ...amount(body.net_flows) },
    { term: "Drawdown now", ...share(body.drawdown) },
    { term: "Deepest drawdown", ...share(body.max_drawdown) },
  ]);
  showBalances(body.balances);
  element("updated").textContent = `Prices of ${clock(new Date(body.timestamp))}`;
  element("log-position").textContent = `Log position ${logPosition}`;
  chart.extend(body.timestamp, body.equity);
}

const difference = (row) =>
  /[1-9]/.test(row.difference)
    ? { ...held(row.difference), kind: "flag", title: `${row.difference} (exchange less ledger): ${row.difference_reason.replaceAll("_", " ")}` }
    : { text: "0", kind: "zero", title: "Ledger and exchange agree to the last digit." };

const BALANCES = [
  { head: "Asset", left: true, base: "name", cell: (row) => text(row.asset) },
  { head: "Free", cell: (row) => held(row.free), hint: "The exchange's own figure" },
  { head: "Locked", cell: (row) => (row.locked !== null && /[1-9]/.test(row.locked) ? held(row.locked) : none) },
  { head: "Ledger", cell: (row) => held(row.ledger_quantity), hint: "What the log of events comes to" },
  { head: "Difference", cell: difference, hint: "Exchange less ledger" },
  { head: "Value", cell: (row) => amount(row.usd_value) },
  { head: "Unrealized", cell: (row) => gain(row.unrealized_pnl) },
];

function showBalances(rows) {
  showTable(element("balances"), BALANCES, rows, "Nothing is held.");
  const differing = rows.filter((row) => /[1-9]/.test(row.difference)).length;
  const count = element("balances-count");
  count.textContent = differing ? `${differing} differ${differing === 1 ? "s" : ""} from the exchange` : "agree with the exchange";
  count.className = differing ? "count flag" : "count";
}

const missing = (row) =>
  /[1-9]/.test(row.missing_quantity)
    ? { ...text(row.symbol, "flag"), title: `${row.missing_quantity} ${row.asset} were sold that no event explains` }
    : { ...text(row.symbol), title: row.symbols.join(", ") };

const pnlPercent = (row) => (row.pnl_percent === null ? none : share(row.pnl_percent / 100));

const OPEN = [
  { head: "Symbol", left: true, base: "name", cell: missing },
  { head: "Side", left: true, cell: (row) => text(row.side) },
  { head: "Quantity", cell: (row) => held(row.quantity) },
  { head: "Entry", cell: (row) => price(row.entry_price) },
  { head: "Price", cell: (row) => price(row.current_price) },
  { head: "Unrealized", cell: (row) => gain(row.unrealized) },
  { head: "Realized", cell: (row) => gain(row.realized) },
  { head: "PnL", cell: (row) => gain(row.pnl) },
  { head: "PnL %", cell: pnlPercent, hint: "Of entry price x largest quantity held" },
  { head: "Fees", cell: (row) => amount(row.fees) },
  { head: "Fills", cell: (row) => text(String(row.fills)) },
  { head: "Opened", base: "time", cell: (row) => moment(row.open_time) },
];
const CLOSED = [
  { head: "Symbol", left: true, base: "name", cell: missing },
  { head: "Quantity", cell: (row) => held(row.peak_quantity), hint: "The largest that was held" },
  { head: "Entry", cell: (row) => price(row.entry_price) },
  { head: "Exit", cell: (row) => price(row.exit_price) },
  { head: "PnL", cell: (row) => gain(row.pnl) },
  { head: "PnL %", cell: pnlPercent },
  { head: "Closed", base: "time", cell: (row) => moment(row.close_time) },
];
const SYMBOLS = [
  { head: "Symbol", left: true, base: "name", cell: (row) => text(row.symbol) },
  { head: "Realized", cell: (row) => gain(row.realized_pnl) },
  { head: "Unrealized", cell: (row) => gain(row.unrealized_pnl) },
  { head: "Total", cell: (row) => gain(row.total_pnl) },
  { head: "Fees", cell: (row) => amount(row.fees) },
  { head: "Volume", cell: (row) => amount(row.volume) },
  { head: "Fills", cell: (row) => text(String(row.fills)) },
];
const TRADES = [
  { head: "Time", left: true, base: "time", cell: (row) => moment(row.time) },
  { head: "Symbol", left: true, base: "name", cell: (row) => text(row.symbol) },
  { head: "Side", left: true, cell: (row) => text(row.side === "BUY" ? "Buy" : "Sell", row.side === "BUY" ? "gain" : "loss") },
  { head: "Price", cell: (row) => price(row.price) },
  { head: "Quantity", cell: (row) => held(row.quantity) },
  { head: "Fee", cell: (row) => ({ ...amount(row.fee_value), title: `${row.fee} ${row.fee_asset}` }) },
  { head: "Realized", cell: (row) => gain(row.realized_pnl) },
];

function showOpen({ body }) {
  showTable(element("open"), OPEN, body, "No position is open.");
  element("open-count").textContent = body.length ? String(body.length) : "";
}

function showMetrics({ body }) {
  const figure = (term, name, format) =>
    body[name] === null
      ? { term, text: "n/a", kind: "undefined", title: body.undefined[name] ?? "undefined" }
      : { term, title: String(body[name]), ...format(body[name]) };
  showFigures(element("metrics"), [
    { term: "PnL in period", ...gain(body.total_pnl) },
    figure("Return (TWR)", "time_weighted_return", share),
    figure("ROI", "roi_percent", (value) => share(value / 100)),
    figure("Max drawdown", "max_drawdown", share),
    figure("Sharpe", "sharpe_ratio", (value) => text(ratio(value))),
    figure("Win rate", "win_rate", (value) => text(percent(value, 0).replace("+", ""))),
    figure("Profit factor", "profit_factor", (value) => text(ratio(value))),
    { term: "Round trips", ...text(String(body.closed_round_trips)) },
  ]);
}

// -- the state of the pipeline ---------------------------------------------------------------------------------------

const LEVELS = { live: "good", connected: "good", syncing: "warn", stale: "bad", failed: "bad", disconnected: "bad", unknown: "" };

function showStatus({ body }) {
  if (body === null) {
    showParts([["State", "shown to keys with the scope admin:read", ""]], "");
    return;
  }
  const lag = body.sync_lag_seconds;
  const lagText = lag === null ? "\u2013" : lag < 100 ? `${lag.toFixed(1)} s` : age(lag);
  const parts = [
    ["Sync", body.sync_status, LEVELS[body.sync_status]],
    ["Lag", lagText, lag === null ? "" : lag < 5 ? "good" : lag < 15 ? "warn" : "bad"],
    ["Binance", body.binance_connection, LEVELS[body.binance_connection]],
    ["Kafka", body.kafka_connection, LEVELS[body.kafka_connection]],
    ["Postgres", body.database_connection, LEVELS[body.database_connection]],
    ["Redis", body.redis_connection, LEVELS[body.redis_connection]],
  ];
  showParts(parts, body.problems.join("\n"));
  element("empty-problems").replaceChildren(...body.problems.map((problem) => {
    const item = document.createElement("li");
    item.textContent = problem;
    return item;
  }));
}

function showParts(parts, title) {
  const list = element("status");
  const key = JSON.stringify([parts, title]);
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...parts.map(([name, value, level]) => statusItem(name, value, level)));
    list.title = title;
  }
}

function statusItem(name, value, level) {
  const item = document.createElement("li");
  const strong = document.createElement("b");
  strong.textContent = value === "connected" ? "ok" : value === "disconnected" ? "away" : value;
  item.dataset.level = level;
  item.append(`${name} `, strong);
  return item;
}

function age(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

function showNotice(message) {
  const notice = element("notice");
  document.body.dataset.stale = String(message !== null);
  notice.hidden = message === null;
  if (message !== null && notice.textContent !== message) notice.textContent = message;
}

function noticeOf(status) {
  if (status === null) return null;
  if (status.database_connection === "disconnected") return "The database does not answer: what is shown is of the past.";
  if (status.sync_status === "stale") {
    return `Stale: the newest prices are ${age(status.sync_lag_seconds)} old. Are the gateway and a worker running?`;
  }
  return null;
}

// -- the loop --------------------------------------------------------------------------------------------------------

async function refresh() {
  const [overview, open, status, alerts] = await Promise.all([
    ask("portfolio/overview"),
    ask("portfolio/positions", { status: "open", limit: "200" }),
    askIfAllowed("admin/status"),
    askIfAllowed("admin/alerts", { status: "raised", limit: String(ALERTS_MAX) }),
  ]);
  showOverview(overview);
  showOpen(open);
  showStatus(status);
  element("alerts").hidden = false;
  showAlerts(element("alerts"), alerts.body);
  showNotice(overview.body.timestamp === null ? null : noticeOf(status.body));
  const later = [refreshSymbols(), refreshMetrics()];
  if (overview.logPosition !== state.logPosition) later.push(refreshBooks(overview.logPosition));
  if (Date.now() - state.curveAt > CURVE_EVERY_MS) later.push(refreshCurve());
  await Promise.all(later);
}

async function refreshBooks(logPosition) {
  const [trades, closed] = await Promise.all([
    ask("portfolio/trade-history", { limit: "50" }),
    ask("portfolio/positions", { status: "closed", limit: "50" }),
  ]);
  showTable(element("trades"), TRADES, trades.body, "No trade yet.");
  showTable(element("closed"), CLOSED, closed.body, "No position was closed yet.");
  state.logPosition = logPosition;
}

async function refreshSymbols() {
  const { body } = await ask("portfolio/pnl-by-symbol");
  showTable(element("symbols"), SYMBOLS, body, "Nothing was traded.");
}

async function refreshMetrics() {
  const { period } = state;
  const metrics = await ask("portfolio/metrics", { period });
  if (period === state.period) showMetrics(metrics);
}

async function refreshCurve() {
  const { period } = state;
  const { body } = await ask("portfolio/equity", { period });
  if (period !== state.period) return;
  chart.show(body);
  state.curveAt = Date.now();
}

async function tick() {
  if (state.isAsking || document.hidden) return;
  clearTimeout(state.timer);
  state.isAsking = true;
  state.askedAt = Date.now();
  try {
    await refresh();
    state.failures = 0;
    state.since = Date.now();
  } catch (error) {
    state.failures += 1;
    const since = state.since === null ? "" : ` What is shown is ${age((Date.now() - state.since) / 1_000)} old.`;
    showNotice(`No answer: ${error.message}${since}`);
  } finally {
    state.isAsking = false;
    const pause = Math.min(EVERY_MS * 2 ** state.failures, BACKOFF_MAX_MS);
    const calm = state.isLive ? EVERY_WITH_STREAM_MS : EVERY_MS;
    state.timer = setTimeout(tick, state.failures ? pause : calm);
  }
}

function choosePeriod(period) {
  state.period = period;
  for (const button of element("periods").children) button.setAttribute("aria-pressed", String(button.value === period));
  Promise.all([refreshCurve(), refreshMetrics()]).catch((error) => showNotice(`No answer: ${error.message}`));
}

element("periods").append(...PERIODS.map(([value, label]) => {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", value, textContent: label });
  button.setAttribute("aria-pressed", String(value === state.period));
  button.addEventListener("click", () => choosePeriod(value));
  return button;
}));
/** Asks soon, but not more often than each second: a busy account has news all the time. */
function onNews() {
  if (state.failures) return;
  clearTimeout(state.timer);
  state.timer = setTimeout(tick, Math.max(0, state.askedAt + EVERY_MS - Date.now()));
}

element("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, element("key").value.trim());
  element("key").value = "";
  state.failures = 0;
  tick();
});
document.addEventListener("visibilitychange", tick);
tick();
listen(account === null ? "portfolio/stream" : `portfolio/stream?${new URLSearchParams({ account })}`, authorization, onNews,
  (isLive) => { state.isLive = isLive; });
