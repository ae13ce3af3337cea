"use strict";
// Extras of a page that reads well without them: sorting, enlarging, choosing arms, searching runs, light or dark.

const root = document.documentElement;
const darkSystem = matchMedia("(prefers-color-scheme: dark)");

function stored(value) {
  try {
    if (value) localStorage.setItem("theme", value);
    return localStorage.getItem("theme");
  } catch {
    return null; // a browser that keeps nothing for files
  }
}

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : darkSystem.matches;
}

function offerTheme() {
  const button = document.getElementById("theme");
  const say = () => (button.textContent = isDark() ? "Light" : "Dark");
  button.addEventListener("click", () => {
    root.dataset.theme = stored(isDark() ? "light" : "dark") ?? (isDark() ? "light" : "dark");
    say();
  });
  darkSystem.addEventListener("change", say);
  say();
}

function valueOf(row, column, numeric) {
  const cell = row.cells[column];
  const value = cell?.dataset.value ?? cell?.textContent.trim() ?? "";
  return value === "" ? null : numeric ? Number(value) : value;
}

function sort(table, heading) {
  const [body] = table.tBodies;
  const column = heading.cellIndex;
  const numeric = heading.classList.contains("n");
  const down = heading.getAttribute("aria-sort") === "ascending";
  const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column, numeric) }));
  rows.sort(({ value: a }, { value: b }) => {
    if (a === null || b === null) return (a === null) - (b === null); // empty ones last, up or down
    const order = numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
    return down ? -order : order;
  });
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows.map(({ row }) => row));
}

function offerSorting(table) {
  if (table.matches(".forest") || table.tBodies.length !== 1 || table.tBodies[0].rows.length < 2) return;
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(table, heading));
    heading.append(button);
  }
}

function offerEnlarging() {
  const dialog = document.createElement("dialog");
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  document.body.append(dialog);
  let opener = null;
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
  dialog.addEventListener("close", () => opener.focus());
  for (const small of document.querySelectorAll("figure img")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.setAttribute("aria-haspopup", "dialog");
    button.setAttribute("aria-label", `Enlarge: ${small.alt}`);
    small.replaceWith(button);
    button.append(small);
    button.addEventListener("click", () => {
      opener = button;
      dialog.replaceChildren(close, small.cloneNode());
      dialog.setAttribute("aria-label", small.alt);
      dialog.showModal();
    });
  }
}

function offerChoice(button) {
  button.addEventListener("click", () => {
    const away = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!away));
    for (const row of document.querySelectorAll("[data-arm]")) {
      if (row.dataset.arm === button.dataset.choice) row.toggleAttribute("data-away", away);
    }
  });
}

function offerSearch(field) {
  const rows = [...document.querySelectorAll(".runs tr[id]")];
  const texts = rows.map((row) => `${row.closest("tbody").dataset.arm} ${row.textContent}`.toLowerCase());
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    const found = texts.map((text) => words.every((word) => text.includes(word)));
    rows.forEach((row, place) => (row.hidden = !found[place]));
    for (const body of document.querySelectorAll(".runs tbody")) body.hidden = !body.querySelector("tr[id]:not([hidden])");
    const number = found.filter(Boolean).length;
    document.getElementById("found").value = field.value ? `${number} of ${rows.length}` : "";
  });
}

function showAll() {
  // A link leads to what a search or a choice of arms has put away.
  const field = document.getElementById("search");
  if (field?.value) {
    field.value = "";
    field.dispatchEvent(new Event("input"));
  }
  document.querySelectorAll('[data-choice][aria-pressed="false"]').forEach((button) => button.click());
}

function unfold() {
  // Not every browser opens what is folded when a link leads into it.
  const place = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!place) return;
  const [folded, away] = [place.closest("details:not([open])"), place.closest("[hidden], [data-away]")];
  if (folded) folded.open = true;
  if (away) showAll();
  if (folded || away) place.scrollIntoView();
}

root.dataset.script = "";
const chosen = stored();
if (chosen) root.dataset.theme = chosen;

addEventListener("DOMContentLoaded", () => {
  offerTheme();
  for (const table of document.querySelectorAll("table")) offerSorting(table);
  if (document.querySelector("figure")) offerEnlarging();
  document.querySelectorAll("[data-choice]").forEach(offerChoice);
  document.querySelectorAll("#search").forEach(offerSearch);
  addEventListener("hashchange", unfold);
  unfold();
});
