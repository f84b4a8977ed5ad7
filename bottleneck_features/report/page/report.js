"use strict";

const data = (id) => JSON.parse(document.getElementById(id).textContent);
const [findings, thumbnails] = [data("findings"), data("thumbnails")];

// Thumbnails are in the page once: elsewhere they are copied from their first place.
function thumbnail(number) {
  const first = document.querySelector(`img[data-picture="${number}"][src]`);
  return first ? first.src : thumbnails[number];
}
for (const image of document.querySelectorAll("img[data-again]")) image.src = thumbnail(image.dataset.picture);

function addOption(select, value, text) {
  const option = document.createElement("option");
  option.value = value;
  option.textContent = text;
  select.append(option);
}

// Tables: a click on a heading sorts by its column, numbers from the largest at first, names from A.
function sortTable(table, heading, column) {
  const numeric = heading.classList.contains("number");
  const before = heading.getAttribute("aria-sort");
  const descending = before ? before === "ascending" : numeric;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const key = (row) => {
    const cell = row.cells[column];
    return numeric ? Number(cell.dataset.value ?? cell.textContent) : cell.textContent.trim();
  };
  const compare = numeric ? (a, b) => a - b : new Intl.Collator(undefined, { numeric: true }).compare;
  const rows = Array.from(table.tBodies[0].rows, (row) => [key(row), row]);
  rows.sort((a, b) => (descending ? compare(b[0], a[0]) : compare(a[0], b[0])));
  table.tBodies[0].append(...rows.map((pair) => pair[1]));
}
for (const table of document.querySelectorAll(".sortable table")) {
  Array.from(table.tHead.rows[0].cells).forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => sortTable(table, heading, column));
  });
}

// Galleries: only pictures that have to do with one class.
for (const filter of document.querySelectorAll(".filter[data-list]")) {
  const items = Array.from(document.getElementById(filter.dataset.list).children);
  const codes = (item) => item.dataset.classes.split(" ").filter(Boolean);
  const present = new Set(items.flatMap(codes));
  const select = filter.querySelector("select");
  addOption(select, "", "all");
  findings.classes.forEach((name, code) => present.has(String(code)) && addOption(select, String(code), name));
  select.addEventListener("change", () => {
    for (const item of items) item.hidden = select.value !== "" && !codes(item).includes(select.value);
    const shown = items.filter((item) => !item.hidden).length;
    filter.querySelector("output").textContent = select.value === "" ? "" : `${shown} of ${items.length}`;
  });
  filter.hidden = present.size < 2;
}

// The confusion matrix of many classes: the spot under the pointer in words.
const overview = document.getElementById("overview");
if (overview) {
  const say = (event) => {
    const { classList, dataset, x, y } = event.target;
    if (!dataset.count) return;
    const [truth, answer] = [findings.classes[y.baseVal.value], findings.classes[x.baseVal.value]];
    const verdict = classList.contains("right") ? "rightly answered" : `answered ${answer}`;
    document.getElementById("overview-text").textContent = `${truth}, ${verdict}: ${dataset.count} (${dataset.share})`;
  };
  overview.addEventListener("pointermove", say);
  overview.addEventListener("pointerdown", say);
}

// The map: the nearest dot under the pointer or finger, or the next one in the direction of an arrow key.
const map = document.querySelector(".map");
const dots = Array.from(map.querySelectorAll("circle"), (circle) => {
  const [file, label, answer] = findings.points[circle.dataset.n];
  const [x, y] = [Number(circle.getAttribute("cx")), Number(circle.getAttribute("cy"))];
  return { circle, x, y, file, label, answer, wrong: answer !== null && answer !== label };
});
const tip = map.querySelector(".tip");
const REACH = 40; // thousandths of the map's side
let here = null;

function line(text, className) {
  const paragraph = document.createElement("p");
  const name = document.createElement("bdi");
  name.textContent = text;
  paragraph.className = className;
  paragraph.append(name);
  return paragraph;
}
function show(dot) {
  if (dot === here) return;
  if (here) here.circle.classList.remove("here");
  here = dot;
  tip.hidden = !dot;
  if (!dot) return;
  dot.circle.classList.add("here");
  const image = document.createElement("img");
  const source = thumbnail(dot.circle.dataset.n);
  image.className = "thumb";
  image.alt = "";
  if (source) image.src = source;
  tip.replaceChildren(...(source ? [image] : []), line(dot.label, "strong"));
  if (dot.wrong) tip.append(line(`answered ${dot.answer}`, "wrong"));
  tip.append(line(dot.file, "file"));
  const scale = map.clientWidth / 1000;
  const left = dot.x * scale + (dot.x > 500 ? -tip.offsetWidth - 14 : 14);
  const top = Math.min(dot.y * scale, map.clientHeight - tip.offsetHeight);
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, top)}px`;
}
function nearest(x, y, reach, fits) {
  let best = null;
  for (const dot of dots) {
    const distance = Math.hypot(dot.x - x, dot.y - y);
    if (distance < reach && !dot.circle.classList.contains("faded") && fits(dot)) [best, reach] = [dot, distance];
  }
  return best;
}
function point(event) {
  const box = map.getBoundingClientRect();
  const scale = 1000 / box.width;
  show(nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale, REACH, () => true));
}
map.addEventListener("pointermove", point);
map.addEventListener("pointerdown", point);
map.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(null));
map.addEventListener("blur", () => show(null));
map.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (event.key === "Escape") show(null);
  if (!step) return;
  event.preventDefault();
  const { x, y } = here ?? { x: 500, y: 500 };
  const ahead = (dot) => {
    const along = (dot.x - x) * step[0] + (dot.y - y) * step[1];
    const aside = Math.abs((dot.x - x) * step[1]) + Math.abs((dot.y - y) * step[0]);
    return dot !== here && (!here || (along > 0 && aside <= along));
  };
  show(nearest(x, y, Infinity, ahead) ?? here);
});

const controls = document.getElementById("map-controls");
const [chosenClass, onlyWrong] = [controls.querySelector("select"), controls.querySelector("input")];
addOption(chosenClass, "", "all");
findings.classes.forEach((name, code) => addOption(chosenClass, String(code), name));
function fade() {
  const name = findings.classes[chosenClass.value];
  for (const dot of dots) {
    const shown = (chosenClass.value === "" || dot.label === name) && (!onlyWrong.checked || dot.wrong);
    dot.circle.classList.toggle("faded", !shown);
    dot.circle.classList.toggle("chosen", shown && chosenClass.value !== "");
  }
  show(null);
}
chosenClass.addEventListener("change", fade);
onlyWrong.addEventListener("change", fade);
controls.hidden = false;
