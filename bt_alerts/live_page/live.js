// The live page: promised events become tables. The first half, `reduce`, is pure; the second half shows what it made.
// Everything that comes from an event is put on the page as text, and the page's policy forbids anything else.
"use strict";

(() => {
  // ------------------------------------------------------------------------------------------------------ state

  const MOST = 200; // rows that a table keeps
  const AGAIN = 60_000; // milliseconds within which one position is not closed twice
  const FINAL = new Set(["executed", "rejected", "expired", "cancelled"]);

  const initial = Object.freeze({
    signals: new Map(), open: new Map(), closed: new Map(), strategies: new Map(), errors: new Map(), alerts: new Map(),
    account: null, last: null, ignored: 0,
  });

  const when = (data, time) => [data.timestamp, time].map((t) => (typeof t === "string" ? Date.parse(t) : NaN)).find((ms) => !isNaN(ms)) ?? 0;
  const known = (value) => value !== undefined && value !== null && value !== "";

  /** A copy with a row set; the oldest rows beyond the most that are kept go. */
  function put(rows, key, row) {
    const next = new Map(rows).set(key, row);
    if (next.size > MOST) {
      const oldest = [...next].sort(([, a], [, b]) => a.time - b.time).slice(0, next.size - MOST);
      oldest.forEach(([old]) => next.delete(old));
    }
    return next;
  }

  /** The steps of a signal's life, in order and each once. */
  function lived(life, step) {
    if (life.some((known) => known.status === step.status)) return life;
    const rank = (s) => (FINAL.has(s.status) ? 1 : 0);
    return [...life, step].sort((a, b) => rank(a) - rank(b) || a.time - b.time);
  }

  const steps = {
    "trading-signal"(state, data, time) {
      if (!known(data.id)) return null;
      const before = state.signals.get(String(data.id));
      const life = lived(before ? before.life : [], { status: String(data.status || "pending"), time, reason: "" });
      return { signals: put(state.signals, String(data.id), { ...data, time, life }) };
    },
    "signal-status-update"(state, data, time) {
      if (!known(data.id) || !known(data.status)) return null;
      const before = state.signals.get(String(data.id)) ?? { id: data.id, time, life: [], unseen: true };
      const life = lived(before.life, { status: String(data.status), time, reason: data.reason });
      return life === before.life ? {} : { signals: put(state.signals, String(data.id), { ...before, life }) };
    },
    "position-opened"(state, data, time) {
      if (!known(data.ticket)) return null;
      const ticket = String(data.ticket);
      const before = state.open.get(ticket);
      const over = [...state.closed.values()].some((row) => row.key === ticket && row.whole && row.time >= time);
      if (over || (before && before.time >= time)) return {}; // told again, or late
      return { open: put(state.open, ticket, { ...data, time }) };
    },
    "position-closed"(state, data, time) {
      if (!known(data.ticket)) return null;
      const ticket = String(data.ticket);
      const whole = data.close_reason !== "PartialExit";
      const key = JSON.stringify([ticket, time, whole, data.volume ?? null]);
      if (state.closed.has(key)) return {};
      const open = new Map(state.open);
      const held = open.get(ticket);
      const twin = whole && !held ? [...state.closed].find(([, row]) => row.key === ticket && row.whole && Math.abs(row.time - time) < AGAIN) : null;
      if (twin) { // the order and the trade both tell of one end
        const [first, row] = twin;
        const told = Object.fromEntries(Object.entries(data).filter(([name]) => !known(row[name])));
        return { closed: put(state.closed, first, { ...row, ...told }) };
      }
      if (held && whole && held.time <= time) open.delete(ticket);
      if (held && !whole && typeof held.volume === "number" && typeof data.volume === "number") {
        const left = Number((held.volume - data.volume).toPrecision(12));
        open.set(ticket, { ...held, volume: left });
      }
      return { open, closed: put(state.closed, key, { ...data, key: ticket, whole, time }) };
    },
    "strategy-status"(state, data, time) {
      const key = String(data.strategyId || data.strategyName || "");
      if (!key) return null;
      const before = state.strategies.get(key);
      return before && before.time > time ? {} : { strategies: put(state.strategies, key, { ...data, time }) };
    },
    "account-update"(state, data, time) {
      return state.account && state.account.time > time ? {} : { account: { ...data, time } };
    },
    error(state, data, time) {
      return { errors: put(state.errors, JSON.stringify([data.type, data.message, time]), { ...data, time }) };
    },
    alert(state, data, time) {
      return known(data.id) ? { alerts: put(state.alerts, String(data.id), { ...data, time }) } : null;
    },
  };

  /** The state after an event `{event, data, time}`; `time` (ISO 8601) counts where the data has no timestamp. */
  function reduce(state, { event, data, time }) {
    const step = Object.hasOwn(steps, event) ? steps[event] : null;
    const whole = data !== null && typeof data === "object" && !Array.isArray(data);
    const at = whole ? when(data, time) : 0;
    const change = step && whole ? step(state, data, at) : null;
    if (change === null) return { ...state, ignored: state.ignored + 1 };
    return { ...state, ...change, last: Math.max(state.last ?? 0, at) };
  }

  // ------------------------------------------------------------------------------------------------------- words

  const LONGEST = 2000; // characters of a text that are shown
  const coarse = new Intl.NumberFormat("en", { maximumFractionDigits: 4 });
  const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 8 });
  const plainNumber = { format: (value) => (Math.abs(value) >= 100 ? coarse : fine).format(value) };
  const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const signed = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: "exceptZero" });
  const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
  const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

  function words(value, format = plainNumber) {
    if (!known(value)) return "";
    if (typeof value === "number") return format.format(value);
    const text = typeof value === "object" ? JSON.stringify(value) : String(value);
    return text.length > LONGEST ? text.slice(0, LONGEST) + "…" : text;
  }

  function make(tag, { text, kind, ...attributes } = {}, ...inside) {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...inside);
    return element;
  }

  function moment(ms) {
    if (!ms) return make("span");
    const date = new Date(ms);
    const today = date.toDateString() === new Date().toDateString();
    return make("time", { text: (today ? clock : day).format(date), datetime: date.toISOString(), title: date.toString() });
  }

  function length(seconds) {
    if (typeof seconds !== "number") return "";
    const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    const first = parts.findIndex(([size]) => seconds >= size);
    if (first < 0) return "0 s";
    let left = Math.round(seconds);
    return parts.slice(first, first + 2).map(([size, unit]) => {
      const n = Math.floor(left / size);
      left -= n * size;
      return n ? `${n} ${unit}` : "";
    }).filter(Boolean).join(" ");
  }

  const TONES = {
    executed: "good", started: "good", rejected: "bad", critical: "bad", high: "warn", stopped: "warn", expired: "warn",
    cancelled: "warn",
  };
  const tone = (word) => (Object.hasOwn(TONES, word) ? TONES[word] : "");
  const profit = (value) => make("span", { text: words(value, signed), kind: value > 0 ? "good" : value < 0 ? "bad" : "" });
  const toned = (word) => make("span", { text: words(word), kind: tone(word) });

  function life(row) {
    const list = row.life.map((step, n) => {
      const after = n && row.life[0].time ? ` after ${length((step.time - row.life[0].time) / 1000)}` : "";
      return make("li", {}, toned(step.status), after, ...(known(step.reason) ? [make("small", { text: words(step.reason) })] : []));
    });
    return make("ol", { kind: "life" }, ...list);
  }

  /** Named values, folded away. */
  function more(title, values) {
    const entries = values !== null && typeof values === "object" ? Object.entries(values) : [];
    if (!entries.length) return [];
    const inside = entries.slice(0, 40).flatMap(([name, value]) => [make("dt", { text: words(name) }), make("dd", { text: words(value) })]);
    return [make("details", {}, make("summary", { text: title }), make("dl", {}, ...inside))];
  }

  const small = (...values) => {
    const text = values.map((value) => words(value)).filter(Boolean).join(" · ");
    return text ? [make("small", { text })] : [];
  };
  const said = (title, text) => [...(known(title) ? [make("b", { text: words(title) })] : []), ...(known(title) && known(text) ? [make("br")] : []), words(text)];

  const symbol = (row) => make("b", { text: words(row.symbol) });
  const unseen = (row) => (row.unseen ? make("small", { text: "sent before this page listened" }) : symbol(row));

  // Label, what is in it (text, a node or several), and how: a number, one line, at least a symbol or a side wide; on a
  // phone a third of the width, unless half or all of it.
  const COLUMNS = {
    open: [
      ["Opened", (row) => moment(row.time), "keep"], ["Symbol", symbol, "symbol"],
      ["Side", (row) => words(row.type), "side"], ["Volume", (row) => words(row.volume), "n"], ["Entry", (row) => words(row.entry_price), "n"],
      ["Stop", (row) => words(row.stop_loss), "n"], ["Target", (row) => words(row.take_profit), "n"],
      ["Strategy", (row) => words(row.strategy)], ["Ticket", (row) => words(String(row.ticket))],
    ],
    signals: [
      ["Time", (row) => moment(row.time), "keep"],
      ["Symbol", unseen, "symbol"], ["Side", (row) => words(row.type), "side"], ["Entry", (row) => words(row.entryPrice), "n"],
      ["Stop", (row) => words(row.stopLoss), "n"], ["Target", (row) => words(row.takeProfit), "n"],
      ["Strategy", (row) => [words(row.strategy), ...small(row.timeframe, known(row.confidence) ? `${words(row.confidence)} % sure` : "")], "half"],
      ["Life", life, "half"], ["Why", (row) => [words(row.reason), ...more("Indicators", row.indicators)], "whole"],
    ],
    closed: [
      ["Closed", (row) => moment(row.time), "keep"], ["Symbol", symbol, "symbol"],
      ["Side", (row) => words(row.type), "side"], ["Volume", (row) => words(row.volume), "n"], ["Entry", (row) => words(row.entry_price), "n"],
      ["Exit", (row) => words(row.exit_price), "n"], ["Profit", (row) => (known(row.profit) ? profit(row.profit) : ""), "n"],
      ["Held", (row) => length(row.duration_seconds), "keep"], ["By", (row) => words(row.close_reason)],
    ],
    strategies: [
      ["Strategy", (row) => make("b", { text: words(row.strategyName) || words(row.strategyId) })],
      ["Status", (row) => [toned(row.status), ...small(row.reason)]], ["Since", (row) => moment(row.time), "keep"],
    ],
    errors: [
      ["Time", (row) => moment(row.time), "keep"], ["Error", (row) => [...said(row.type, row.message), ...more("Context", row.context)], "whole"],
    ],
    alerts: [
      ["Time", (row) => moment(row.time), "keep"], ["Priority", (row) => toned(row.priority)],
      ["Alert", (row) => [...said(row.title, row.message), ...small(row.symbol, row.strategy)], "whole"],
    ],
  };
  const ACCOUNT = [["balance", "Balance"], ["equity", "Equity"], ["profit", "Profit"], ["margin", "Margin"], ["margin_level", "Margin level"]];

  // ---------------------------------------------------------------------------------------------------- the page

  const $ = (id) => document.getElementById(id);
  const drawn = new Map(); // by table: its rows by key, each with what it shows

  function row(name, record) {
    const cells = COLUMNS[name].map(([label, inside, kind = ""]) => {
      const shown = [inside(record)].flat().filter((part) => part !== "");
      const blank = shown.every((part) => part instanceof Element && !part.textContent);
      return make("td", { kind: [kind, blank ? "blank" : ""].join(" ").trim(), "data-label": label }, make("div", { kind: "cell" }, ...shown));
    });
    return make("tr", {}, ...cells);
  }

  /** Rows that show the same as before stay where they are, with the focus and the folds that are in them. */
  function table(name, rows) {
    const old = drawn.get(name) ?? new Map();
    const next = new Map();
    const sorted = [...rows].sort(([, a], [, b]) => b.time - a.time);
    for (const [key, record] of sorted) {
      const before = old.get(key);
      next.set(key, before && before.record === record ? before : { record, node: row(name, record) });
    }
    const body = $(name).tBodies[0];
    for (const [key, { node }] of old) if (next.get(key)?.node !== node) node.remove();
    [...next.values()].forEach(({ node }, n) => {
      if (body.children[n] !== node) body.insertBefore(node, body.children[n] ?? null);
    });
    drawn.set(name, next);
    $(name).hidden = next.size === 0;
    document.querySelector(`[data-none="${name}"]`).hidden = next.size > 0;
    const count = document.querySelector(`[data-count="${name}"]`);
    if (count) count.textContent = next.size || "";
  }

  let state = initial;
  let shown = null;

  function draw() {
    if (state === shown) return;
    for (const name of Object.keys(COLUMNS)) if (!shown || shown[name] !== state[name]) table(name, state[name]);
    const account = state.account;
    $("account").replaceChildren(...(account ? ACCOUNT : []).filter(([field]) => known(account[field])).map(([field, label]) =>
      make("div", {}, make("dt", { text: label }), make("dd", {}, field === "profit" ? profit(account.profit)
        : words(account[field], money) + (field === "margin_level" ? " %" : "")))));
    $("account").hidden = !account;
    document.querySelector('[data-none="account"]').hidden = Boolean(account);
    $("last").replaceChildren(...(state.last ? ["Last event ", moment(state.last)] : []));
    shown = state;
  }

  let waiting = false;
  function take(event) {
    state = reduce(state, event);
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(() => { waiting = false; draw(); });
    }
  }

  /** Shows these events and nothing else: `[{event, data, time}, …]`, the oldest first. */
  function show(events) {
    state = [...events].reduce(reduce, initial);
    draw();
  }

  for (const [name, columns] of Object.entries(COLUMNS)) {
    const heads = columns.map(([label, , kind = ""]) => make("th", { text: label, scope: "col", kind: kind === "n" ? "n" : "" }));
    $(name).append(make("thead", {}, make("tr", {}, ...heads)), make("tbody"));
    $(name).setAttribute("aria-labelledby", `h-${name}`);
  }
  draw();
  window.btAlertsLive = Object.freeze({ initial, reduce, show });

  // -------------------------------------------------------------------------------------------------- connection

  const KEPT = "bt_alerts.live";
  const FIELDS = ["key", "cluster", "executor", "host", "port", "tls"];
  let client = null;

  function tell(kind, text) {
    $("state").dataset.state = kind;
    $("state").textContent = text;
  }

  /** What the address says after its #, else what was kept; only the known fields, so that no secret is taken. */
  function settings() {
    const said = new URLSearchParams(location.hash.slice(1));
    if (said.has("key")) return Object.fromEntries(FIELDS.filter((name) => said.has(name)).map((name) => [name, said.get(name)]));
    try {
      return JSON.parse(localStorage.getItem(KEPT)) ?? {};
    } catch {
      return {}; // no storage in this window, or something else's
    }
  }

  const REFUSED = {
    4001: "Pusher does not know this key: compare key and cluster with the page App Keys",
    4003: "The app is disabled: look at it in Pusher's dashboard",
    4004: "The app has as many connections as its plan allows",
    4009: "The server asks for authorisation, which a public key has not",
  };

  function connect(chosen) {
    client?.disconnect();
    const channel = `executor-${chosen.executor || "default"}`;
    const tls = chosen.tls !== "0";
    const options = { cluster: chosen.cluster || "mt1", enabledTransports: ["ws", "wss"], forceTLS: tls, enableStats: false };
    const port = Number(chosen.port) || (tls ? 443 : 80);
    if (chosen.host) Object.assign(options, { wsHost: chosen.host, wsPort: port, wssPort: port });
    const where = chosen.host ? `${channel} at ${chosen.host}:${port}` : channel;
    let lost = null;
    let refused = false;

    const mine = new Pusher(chosen.key, options);
    client = mine;
    const now = (kind, text) => client === mine && tell(kind, text);
    mine.connection.bind("state_change", ({ current, previous }) => {
      if (previous === "connected") lost = Date.now();
      if (refused) return;
      if (current === "connected") now("wait", `Connected, asking for ${where}…`);
      else if (current === "connecting") now("wait", lost ? "Connection lost, trying again…" : "Connecting…");
      else if (current === "unavailable") now("bad", "No connection. It is tried again; check the network, cluster and host");
      else if (current === "failed") now("bad", "This browser has no WebSocket, or something forbids it");
      else now("off", "Not connected");
    });
    mine.connection.bind("error", (error) => {
      const code = error?.data?.code ?? error?.error?.data?.code;
      if (code >= 4000 && code < 4100) {
        refused = true; // it is not tried again
        now("bad", REFUSED[code] ?? `Refused: ${words(error?.data?.message) || code}`);
      }
    });
    const events = mine.subscribe(channel);
    events.bind("pusher:subscription_succeeded", () => {
      const gap = lost ? `; what was sent from ${clock.format(lost)} to ${clock.format(Date.now())} is not here` : "";
      now("on", `Live on ${where}${gap}`);
    });
    events.bind("pusher:subscription_error", () => now("bad", `The server refused the channel ${channel}`));
    for (const name of Object.keys(steps)) {
      events.bind(name, (data) => client === mine && take({ event: name, data, time: new Date().toISOString() }));
    }
  }

  function listen() {
    const form = $("form");
    const chosen = settings();
    $("connect").hidden = false;
    for (const name of FIELDS.filter((name) => name !== "tls")) form.elements[name].value = chosen[name] ?? "";
    form.elements.tls.checked = chosen.tls !== "0";
    form.querySelector(".own").open = Boolean(chosen.host);
    $("connect").open = !chosen.key;
    if (chosen.key) connect(chosen);
    else tell("off", "Not connected: give the key of your Pusher app");
  }

  const block = $("events");
  if (block) { // somebody else feeds this page, such as the dashboard
    document.body.classList.add("fed");
    for (const id of ["state", "foot"]) $(id).hidden = true;
    show(JSON.parse(block.textContent));
  } else if (typeof Pusher === "undefined") {
    tell("bad", "pusher.min.js is missing beside this page");
  } else {
    $("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const form = $("form");
      const given = Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value.trim()]));
      given.tls = form.elements.tls.checked ? "1" : "0";
      if (location.hash) history.replaceState(null, "", location.pathname + location.search);
      try {
        localStorage.setItem(KEPT, JSON.stringify(given));
      } catch { /* a window without storage: it is asked again next time */ }
      state = initial;
      draw();
      connect(given);
      $("connect").open = false;
    });
    $("forget").addEventListener("click", () => {
      localStorage.removeItem(KEPT);
      if (location.hash) history.replaceState(null, "", location.pathname + location.search);
      client?.disconnect();
      client = null;
      $("form").reset();
      tell("off", "Not connected: give the key of your Pusher app");
      $("form").elements.key.focus();
    });
    window.addEventListener("hashchange", listen);
    listen();
  }
})();
