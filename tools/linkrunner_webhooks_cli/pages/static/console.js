"use strict";

// The live list: rows come as they change, the newest on top, and no more than the page holds.
const table = document.getElementById("requests");

// A part of a page that changes by itself, while somebody looks.
for (const part of document.querySelectorAll("[data-refresh]")) {
  setInterval(async () => {
    if (document.hidden || part.querySelector("details[open]")) return;
    const answer = await fetch(part.dataset.refresh || location.href).catch(() => null);
    if (!answer?.ok) return;
    const text = await answer.text();
    // Of a whole page the same part; when that is done, it has nothing to refresh any more.
    const whole = new DOMParser().parseFromString(text, "text/html").querySelector("main > div");
    if (part.dataset.refresh) part.innerHTML = text;
    else if (whole) part.replaceChildren(...whole.childNodes);
  }, Number(part.dataset.every) * 1000);
}

for (const choice of document.querySelectorAll("[data-submits]")) {
  choice.addEventListener("change", () => { choice.form.submit(); });
}

function follow() {
  const body = table.tBodies[0];
  const most = Number(table.dataset.most);
  const state = document.getElementById("state");
  const address = new URL(table.dataset.live, location.href);
  address.searchParams.set("after", table.dataset.after);
  let news = null;

  function listen() {
    news = new EventSource(address);
    news.onopen = () => { state.textContent = "live"; };
    news.onerror = () => { state.textContent = "not connected: does it still run?"; };
    news.addEventListener("anew", () => { location.reload(); });
    news.onmessage = (message) => {
      address.searchParams.set("after", message.lastEventId);
      for (const each of JSON.parse(message.data)) show(body, each, most);
      document.getElementById("empty").hidden = body.rows.length > 0;
    };
  }

  // A browser has six connections to a server, for all its tabs together.
  document.addEventListener("visibilitychange", () => {
    news?.close();
    if (!document.hidden) listen();
  });
  if (!document.hidden) listen();
}

function show(body, news, most) {
  const old = document.getElementById(`r${news.number}`);
  if (!news.row) {
    old?.remove();
    return;
  }
  const made = document.createElement("template");
  made.innerHTML = news.row.trim();
  const row = made.content.firstElementChild;
  if (old) {
    if (old.classList.contains("here")) row.classList.add("here");
    const focused = old.contains(document.activeElement);
    old.replaceWith(row);
    if (focused) row.querySelector("a").focus();
  } else {
    // The newest are on top, whichever of them has changed last.
    const below = [...body.rows].find((each) => Number(each.id.slice(1)) < news.number);
    if (!below && body.rows.length >= most) return;
    body.insertBefore(row, below ?? null);
    while (body.rows.length > most) body.lastElementChild.remove();
  }
}

function move(steps) {
  const rows = [...table.tBodies[0].rows];
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.classList.contains("here"));
  const to = Math.min(Math.max(at + steps, 0), rows.length - 1);
  rows[at]?.classList.remove("here");
  rows[to].classList.add("here");
  rows[to].querySelector("a").focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "u") document.getElementById("back")?.click();
  if (!table) return;
  if (event.key === "j") move(1);
  if (event.key === "k") move(-1);
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search").focus();
  }
});

if (table && !table.dataset.still) follow();
