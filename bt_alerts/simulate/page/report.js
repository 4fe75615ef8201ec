// The report's script: phones, their filters, the charts' switches and the copy buttons. Text of alerts is only ever set
// as textContent, never as markup.
"use strict";
(() => {
  const PAGE = 60; // messages shown at a time
  const SVG = "http://www.w3.org/2000/svg";
  const WEEK = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const GATHERED = { fills: "parts of one order", similar: "alike", batch: "gathered", quiet: "quiet hours", digest: "digest" };
  const [TIME, CHANNEL, PRIORITY, TITLE, TEXT, TARGET, SILENT, LATE, BATCH, INSIDE, MORE] = Array(11).keys();

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) { element.textContent = text; element.dir = "auto"; }
    return element;
  };
  const two = (n) => String(n).padStart(2, "0");
  const many = (n) => n.toLocaleString("en");
  // Times are seconds of the clock on the wall, so they are read as if it stood in UTC.
  const clock = (seconds) => { const d = new Date(seconds * 1000); return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`; };
  const day = (seconds) => {
    const d = new Date(seconds * 1000);
    return `${WEEK[d.getUTCDay()]} ${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]} ${d.getUTCFullYear()}`;
  };
  const span = (seconds) => {
    const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
    if (days) return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
    if (hours) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
    return minutes ? `${minutes} min` : `${seconds} s`;
  };

  function phone(root) {
    const data = JSON.parse(document.getElementById(root.dataset.source).textContent);
    const lowered = data.strings.map((text) => text.toLowerCase());
    const lock = root.querySelector(".lock"), count = root.parentElement.querySelector(".count");
    let found = [], shown = 0, lastDay = null, older = null;

    const note = (row) => {
      const channel = data.channels[row[CHANNEL]], priority = data.priorities[row[PRIORITY]];
      const card = make("article", row[SILENT] ? "note silent" : "note");
      const app = make("div", "app");
      app.style.background = channel.colour;
      app.title = channel.type || channel.name;
      const picture = document.createElementNS(SVG, "svg"), use = document.createElementNS(SVG, "use");
      use.setAttribute("href", `#icon-${channel.icon}`);
      picture.setAttribute("aria-hidden", "true");
      picture.append(use);
      const dot = make("i");
      dot.style.background = priority.colour;
      dot.title = priority.name;
      app.append(picture, dot);
      const body = make("div"), head = make("div", "head");
      head.append(make("span", "", `${channel.name} · ${priority.name}`), make("time", "", clock(row[TIME])));
      body.append(head, make("b", "", data.strings[row[TITLE]]));
      const inside = row[INSIDE];
      if (inside.length) body.append(unfolding(inside, row[MORE]));
      else if (data.strings[row[TEXT]]) body.append(...told(data.strings[row[TEXT]]));
      const tags = make("div", "tags");
      if (row[LATE] >= 60 && !data.strings[row[TEXT]].includes("⏱")) tags.append(make("span", "late", `⏱ ${span(row[LATE])} late`));
      if (row[SILENT]) tags.append(make("span", "", "no sound"));
      const gathered = data.strings[row[BATCH]];
      if (gathered) tags.append(make("span", "", GATHERED[gathered] || gathered));
      if (tags.childElementCount) body.append(tags);
      card.append(app, body);
      return card;
    };
    const told = (text) => {
      const paragraph = make("p", "", text);
      if (text.length < 240 && text.split("\n").length <= 5) return [paragraph];
      const whole = make("button", "whole", "Show all");
      whole.type = "button";
      whole.addEventListener("click", () => { whole.textContent = paragraph.classList.toggle("open") ? "Show less" : "Show all"; });
      return [paragraph, whole];
    };
    const unfolding = (inside, more) => {
      const details = make("details"), list = make("ol");
      details.append(make("summary", "", `${many(inside.length + more)} alerts in it`), list);
      details.addEventListener("toggle", () => {
        if (!details.open || list.childElementCount) return;
        for (const [time, title] of inside) {
          const item = make("li");
          item.append(make("time", "", clock(time)), make("bdi", "", data.strings[title]));
          list.append(item);
        }
        if (more) list.append(make("li", "dim", `… and ${many(more)} more`));
      });
      return details;
    };
    const page = () => {
      const rows = found.slice(shown, shown + PAGE), part = document.createDocumentFragment();
      for (const row of rows) {
        const today = day(row[TIME]);
        if (today !== lastDay) {
          const heading = make("h3", "day");
          heading.append(make("span", "", today));
          part.append(heading);
          lastDay = today;
        }
        part.append(note(row));
      }
      shown += rows.length;
      if (older) older.remove();
      if (shown < found.length) {
        older = make("button", "older", `${many(found.length - shown)} more`);
        older.type = "button";
        older.addEventListener("click", page);
        part.append(older);
        watcher.observe(older);
      } else older = null;
      lock.append(part);
    };
    const watcher = new IntersectionObserver((seen) => {
      if (seen.some((entry) => entry.isIntersecting)) { watcher.disconnect(); page(); }
    }, { root: lock, rootMargin: "600px" });

    const filter = ({ text, channel, priority, order, on }) => {
      const wanted = text.trim().toLowerCase();
      const hit = wanted ? lowered.map((line) => line.includes(wanted)) : null; // each text once, however often it is said
      const oldest = order === "oldest";
      const edge = on ? Date.parse(`${on}T00:00:00Z`) / 1000 + (oldest ? 0 : 86400) : null;
      found = data.rows.filter((row) =>
        (!channel || data.channels[row[CHANNEL]].name === channel) &&
        row[PRIORITY] >= priority &&
        (edge === null || (oldest ? row[TIME] >= edge : row[TIME] < edge)) &&
        (!hit || hit[row[TITLE]] || hit[row[TEXT]] || row[INSIDE].some(([, title]) => hit[title])));
      if (oldest) found.reverse();
      lock.replaceChildren();
      lock.scrollTop = 0;
      shown = 0; lastDay = null; older = null;
      watcher.disconnect();
      if (found.length) page();
      else lock.append(make("p", "empty", data.rows.length ? "No message is like that." : "Nothing would have come."));
      count.textContent = found.length === data.rows.length
        ? `${many(found.length)} messages` : `${many(found.length)} of ${many(data.rows.length)} messages`;
    };
    return filter;
  }

  const phones = [...document.querySelectorAll(".phone")].map(phone);
  const form = document.querySelector(".filters");
  if (form) {
    const apply = () => {
      const value = (name) => form.elements[name].value;
      const asked = { text: value("text"), channel: value("channel"), priority: Number(value("priority")), order: value("order"), on: value("on") };
      for (const filter of phones) filter(asked);
    };
    let waiting = 0;
    form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(apply, 120); });
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }

  for (const box of document.querySelectorAll("[data-charts]")) {
    const chosen = { by: "channel", unit: box.dataset.unit };
    const show = () => {
      for (const chart of box.querySelectorAll("[data-chart]"))
        chart.hidden = chart.dataset.by !== chosen.by || chart.dataset.unit !== chosen.unit;
      for (const button of box.querySelectorAll("button[data-set]"))
        button.setAttribute("aria-pressed", String(chosen[button.dataset.set] === button.dataset.value));
    };
    box.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-set]");
      if (button) { chosen[button.dataset.set] = button.dataset.value; show(); }
    });
    show();
  }

  for (const button of document.querySelectorAll("button[data-copy]"))
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("pre");
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        getSelection().selectAllChildren(code); // where the browser lets no page copy, it is selected at least
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    });
})();
