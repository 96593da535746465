"use strict";
// Figures, theme, tables and filters of the report. Everything it needs is in this file's page.

const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const DATA = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;

function say(words) {
  document.getElementById("said").textContent = words;
}

// ---- theme -------------------------------------------------------------------------------------------------
// Figures take their colours from CSS variables, so they follow without being drawn again.

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.getElementById("theme");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);

function showTheme() {
  themeButton.textContent = isDark() ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
}

themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try { localStorage.setItem("unmask-theme", root.dataset.theme); } catch { /* storage is off */ }
  showTheme();
});
systemDark.addEventListener("change", showTheme);
showTheme();

// ---- figures -----------------------------------------------------------------------------------------------
// `ast` has Vega interpret its expressions: the page's policy allows no code to be made from text.

const OPTIONS = {
  config: DATA.config, renderer: "svg", ast: true, actions: false, defaultStyle: false,
  tooltip: { disableDefaultStyle: true, theme: "own" },
};

async function drawFigures() {
  for (const [id, spec] of Object.entries(DATA.charts)) {
    const box = document.getElementById(id);
    try {
      await vegaEmbed(box, spec, OPTIONS);
    } catch (error) {
      console.error(`figure ${id}:`, error);
      box.textContent = "This figure could not be drawn; its numbers are in the tables.";
    }
    await new Promise((resume) => setTimeout(resume)); // the page stays responsive between figures
  }
  root.dataset.figures = "drawn";
}

function resolved(svg) {
  // A saved figure leaves the page, so its variables become the colours they stand for now.
  const probe = document.body.appendChild(document.createElement("i"));
  const text = svg.replace(/var\(--[\w-]+\)/g, (variable) => {
    probe.style.color = variable;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return text;
}

for (const button of $$("[data-save]")) {
  button.addEventListener("click", () => {
    $$(".chart svg", document.getElementById(button.dataset.save)).forEach((svg, i) => {
      const copy = svg.cloneNode(true);
      copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
      save(`${button.dataset.save}${i ? `-${i + 1}` : ""}.svg`, resolved(copy.outerHTML), "image/svg+xml");
    });
  });
}

// ---- tables ------------------------------------------------------------------------------------------------

function save(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const was = button.textContent;
  button.textContent = "Copied";
  say("Copied to the clipboard");
  setTimeout(() => { button.textContent = was; }, 1500);
}

function csv({ columns, rows }) {
  const cell = (value) => {
    if (value === null) return "";
    if (typeof value !== "string") return String(value);
    const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
}

function drawTable(box, { columns, rows }) {
  const grid = document.createElement("table");
  grid.className = "grid";
  const add = (parent, tag, text) => {
    const element = parent.appendChild(document.createElement(tag));
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const head = add(add(grid, "thead"), "tr");
  for (const column of columns) add(head, "th", column).scope = "col";
  const body = add(grid, "tbody");
  for (const row of rows) {
    const line = add(body, "tr");
    row.forEach((value) => {
      const shown = typeof value === "number" ? String(value).replace("-", "−") : value === null ? "–" : String(value);
      const cell = add(line, "td", shown);
      if (typeof value === "number") cell.className = "number";
      else if (shown.length > 40) cell.className = "text";
    });
  }
  box.replaceChildren(grid);
}

for (const details of $$("details[data-table]")) {
  const table = DATA.tables[details.dataset.table];
  const name = details.dataset.table.replaceAll("/", "-");
  details.addEventListener("toggle", () => {
    const box = details.querySelector(".scroll");
    if (details.open && !box.firstChild) drawTable(box, table);
  });
  details.querySelector("[data-copy]").addEventListener("click", (event) => copy(csv(table), event.target));
  details.querySelector("[data-download]").addEventListener("click", () => save(`${name}.csv`, csv(table), "text/csv"));
}

for (const button of $$("[data-copy-text]")) {
  button.addEventListener("click", () => copy(button.dataset.copyText, button));
}

// A link into a closed box opens it.
function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", openTarget);

// ---- answers -----------------------------------------------------------------------------------------------

const STEP = 8;

for (const form of $$("[data-filters]")) {
  const cards = $$(".card", document.getElementById(form.dataset.filters));
  const more = document.querySelector(`[data-more="${CSS.escape(form.dataset.filters)}"]`);
  const count = form.elements.namedItem("count");
  let limit = 4;
  const show = () => {
    const wanted = Object.entries(Object.fromEntries(new FormData(form))).filter(([, value]) => value);
    const fitting = cards.filter((card) => wanted.every(([key, value]) => card.dataset[key] === value));
    for (const card of cards) card.hidden = true;
    for (const card of fitting.slice(0, limit)) card.hidden = false;
    count.textContent = fitting.length ? `${Math.min(limit, fitting.length)} of ${fitting.length} shown` : "none fits";
    more.hidden = limit >= fitting.length;
  };
  form.addEventListener("input", () => { limit = 4; show(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { limit += STEP; show(); });
  show();
}

// ---- latents -----------------------------------------------------------------------------------------------

for (const form of $$("[data-latents]")) {
  const box = document.getElementById(form.dataset.latents);
  const rows = $$(".latent", box);
  const count = form.elements.namedItem("count");
  const words = new Map(rows.map((row) => [row, [
    `latent ${row.dataset.latent}`, row.dataset.pole, ...$$(".context bdi", row).map((context) => context.textContent),
  ].join("\n").toLowerCase()]));
  const show = () => {
    const { find, state } = Object.fromEntries(new FormData(form));
    const wanted = find.trim().toLowerCase();
    for (const row of rows) {
      row.hidden = Boolean(state && row.dataset.state !== state) || !words.get(row).includes(wanted);
    }
    const fitting = rows.filter((row) => !row.hidden).length;
    count.textContent = fitting ? `${fitting} of ${rows.length} shown` : "none fits";
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();

  const heads = $$(`[data-head="${CSS.escape(form.dataset.latents)}"] [data-sort]`);
  for (const head of heads) {
    const { sort } = head.dataset;
    const named = ["pole", "state"].includes(sort);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      // Names and numbers of latents rise first, everything else falls first.
      const rises = head.dataset.order ? head.dataset.order === "falls" : named || sort === "latent";
      for (const other of heads) delete other.dataset.order;
      head.dataset.order = rises ? "rises" : "falls";
      const value = (row) => (row.dataset[sort] === "" ? -Infinity : Number(row.dataset[sort]));
      const by = (a, b) => (named ? a.dataset[sort].localeCompare(b.dataset[sort]) : value(a) - value(b) || 0);
      box.append(...[...rows].sort((a, b) => (rises ? by(a, b) : by(b, a))));
      say(`Sorted by ${button.textContent}, ${rises ? "rising" : "falling"}`);
    });
    head.replaceChildren(button);
  }
}

openTarget();
drawFigures();
