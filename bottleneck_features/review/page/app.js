// The page: one queue at a time, keys, and what the program knows, looked at again and again.

import { asked, get, post, Refusal } from "./api.js";
import { Grid, labelOf } from "./grid.js";
import { Names } from "./names.js";
import { Palette } from "./palette.js";
import { controls, defaults, expectedWords, isBulk, load, PAGE, QUEUES, showTabs } from "./queues.js";
import { showSide } from "./side.js";
import { Viewer } from "./viewer.js";
import { announce, byId, count, element, number, percent, printable, sentence } from "./words.js";
import { Work } from "./work.js";

const [SOON, LATER] = [500, 3000]; // milliseconds until the next look at what is known
const page = { name: "", params: {}, start: 0, found: { items: [], total: 0 }, loads: 0, saved: 0, pending: 0, seen: "", leaving: false };
let state = null;
let timer = 0;
let tail = Promise.resolve();

const grid = new Grid(showChosen, () => viewer.show());
const viewer = new Viewer(grid, onKey);
const palette = new Palette(give);
const names = new Names(async () => {
  await look();
  reload();
  return state;
}, go);
const work = new Work(look);

function complain(words) {
  byId("trouble").textContent = words;
  byId("trouble").hidden = !words;
}

/** Runs a job; what is refused is said on the page. */
async function told(job) {
  try {
    return await job();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    complain(error.message);
    return null;
  }
}

async function look() {
  clearTimeout(timer);
  const found = await told(() => get("/v1/state"));
  if (found) {
    if (state && byId("trouble").dataset.of === "look") complain("");
    state = found;
    showState();
    await refresh();
  }
  const busy = found && (found.learnt < found.version || found.trained < found.version || found.progress.done < found.progress.total);
  clearTimeout(timer);
  timer = setTimeout(look, busy ? SOON : LATER);
}

function showState() {
  const { progress, stopped } = state;
  byId("read-only").hidden = !state.read_only;
  byId("computing").hidden = progress.done >= progress.total || Boolean(stopped);
  byId("computed").value = progress.total ? progress.done / progress.total : 0;
  byId("computed-words").textContent = `${number(progress.done)} of ${number(progress.total)}${progress.failed ? `, ${number(progress.failed)} cannot be read` : ""}; those that are there can be labelled.`;
  if (stopped) complain(sentence(stopped));
  palette.show(state.classes, state.states);
  showSide(state, go);
  if (page.name === "confirm" || page.name === "mistakes") offer();
}

/** What is known by now of the pictures that are shown: the model has learnt more, or another tab has labelled. */
async function refresh() {
  const seen = `${state.version} ${state.learnt}`;
  const waits = !grid.items.length && state.pictures > page.of;
  page.of = state.pictures;
  if (waits) await show(page.name, page.params, page.start);
  if (seen === page.seen || page.pending || !grid.items.length) return;
  page.seen = seen;
  const pictures = grid.items.map((item) => item.picture);
  const found = await told(() => post("/v1/pictures", { pictures }));
  if (found && !page.pending) grid.update(found.pictures);
}

/** Open a queue. */
function go(name, params = {}) {
  return show(name, defaults(name, params, state), 0);
}

function reload() {
  const next = page.name === "mistakes" ? defaults("mistakes", page.params, state) : page.params;
  return show(page.name, next, page.start);
}

async function show(name, params, start, { keep = false, keepControls = false } = {}) {
  const turn = (page.loads += 1);
  const other = name !== page.name;
  Object.assign(page, { name, params, start });
  const queue = QUEUES[name];
  showTabs(name, (wanted) => go(wanted));
  byId("queue-title").textContent = queue.title;
  byId("queue-words").textContent = queue.words;
  if (!keepControls) offer(true);
  byId("grid").setAttribute("aria-busy", "true");
  const found = await told(() => load(name, params, start, page.saved || undefined));
  if (turn !== page.loads) return;
  byId("grid").removeAttribute("aria-busy");
  const none = found === null;
  page.found = none ? { items: [], total: 0 } : found;
  page.of = state.pictures;
  if (!none && byId("trouble").textContent) complain("");
  // What was taken out stays out, however sure the pictures shown are to be.
  grid.show(page.found.items, { bulk: isBulk(name, params), keep: keep || keepControls });
  if (name === "confirm" && !none) byId("expected").textContent = expectedWords(page.found);
  byId("empty").hidden = none || page.found.items.length > 0;
  byId("empty").textContent = state.pictures ? queue.none : "The first pictures are being computed.";
  showPager();
  showChosen();
  if (other || keep) byId("grid").focus({ preventScroll: true });
  announce(`${queue.title}: ${count(page.found.total, name === "start" && !params.members ? "stack" : "picture")}`);
}

/** The controls of the queue; a person who is at one of them is not disturbed. */
function offer(anew = false) {
  const box = byId("controls");
  const text = JSON.stringify([page.name, page.params, state.classes, state.confused]);
  if (!anew && (box.dataset.of === text || box.contains(document.activeElement))) return;
  const said = byId("expected")?.textContent ?? "";
  box.dataset.of = text;
  box.replaceChildren(...controls(page.name, page.params, state, (params, how) => show(page.name, params, 0, how)));
  if (byId("expected")) byId("expected").textContent = said;
}

function showPager() {
  const { total, items } = page.found;
  const batch = page.name === "ask";
  byId("before").disabled = page.start === 0;
  byId("after").disabled = batch || page.start + items.length >= total;
  byId("before").hidden = byId("after").hidden = byId("before").disabled && byId("after").disabled;
  byId("where").textContent = items.length && !batch && total > items.length
    ? `${number(page.start + 1)} to ${number(page.start + items.length)} of ${number(total)}` : "";
}

function turnPage(by) {
  const start = page.start + by * PAGE;
  if (page.name === "ask" || start < 0 || start >= page.found.total) return null;
  return show(page.name, page.params, start, { keep: true });
}

/** What the buttons below the pictures are about. */
function showChosen() {
  const queue = QUEUES[page.name];
  if (!queue) return;
  const stack = page.name === "start" && page.params.members;
  const many = subject().reduce((sum, item) => sum + (item.members?.length ?? 1), 0);
  byId("chosen").textContent = grid.items.length ? `A key names ${count(many)}.` : "";
  const [confirm, all] = [byId("confirm"), byId("confirm-all")];
  const inPage = grid.items.filter((item) => grid.isChosen(item)).length;
  confirm.replaceChildren(stack ? "Confirm the model's" : page.name === "confirm" ? `Confirm these ${number(inPage)}` : queue.confirm, " ", element("kbd", {}, "Enter"));
  confirm.disabled = !grid.items.length;
  all.hidden = page.name !== "confirm" || page.found.total <= grid.items.length;
  all.textContent = `Confirm all ${number((page.found.members?.length ?? 0) - grid.out.size)}`;
  byId("keep").hidden = !queue.keeps;
  byId("open").disabled = byId("like").disabled = !grid.current;
}

/** The pictures that a key names: of an opened stack all that were not taken out, of `Confirm` the one at the cursor. */
function subject() {
  if (page.name === "confirm") return grid.current ? [grid.current] : [];
  if (page.name === "start" && page.params.members) {
    const members = page.params.members.filter((one) => !grid.out.has(one));
    return members.length ? [{ members, stack: true }] : [];
  }
  return grid.targets;
}

function give(entry) {
  const items = subject();
  act(items.map((item) => ({ item, ...entry })), items.some((item) => item.members) ? "stack" : page.name === "ask" ? "asked" : "named");
}

/** Say something of pictures: shown at once, sent in turn. said: [{item, label or state}], one action. */
function act(said, how) {
  if (!said.length || page.leaving) return; // keys that are typed ahead are not about these pictures any more
  if (state.read_only) {
    complain("This table of labels is open in another window: here it cannot be changed.");
    return;
  }
  const before = said.map(({ item }) => ({ item, was: { ...item } }));
  const entries = new Map();
  for (const { item, label = "", state: mark = "" } of said) {
    const key = JSON.stringify([label, mark]);
    const entry = entries.get(key) ?? { label, state: mark, pictures: [] };
    entry.pictures.push(...(item.members ?? [item.picture]));
    entries.set(key, entry);
    Object.assign(item, { label, state: mark, done: Boolean(label || mark) });
  }
  grid.items.forEach((_, at) => grid.say(at));
  const [first] = entries.values();
  const total = [...entries.values()].reduce((sum, entry) => sum + entry.pictures.length, 0);
  announce(`${printable(first.label || first.state || "no label")}: ${count(total)}`);
  if (!isBulk(page.name, page.params) && !viewer.open) {
    if (grid.chosen.size) grid.chooseAll(false);
    if (first.label || first.state) grid.advance();
  }
  page.leaving = isBulk(page.name, page.params) || (grid.items.every((item) => item.done) && Boolean(turns()));
  save({ said: [...entries.values()], how }, before);
}

function save(body, before) {
  countPending(1);
  tail = tail.then(async () => {
    const done = await told(() => post("/v1/labels", body));
    countPending(-1);
    if (done) page.saved = done.version;
    else before.forEach(({ item, was }) => Object.assign(item, { label: "", state: "", done: false }, was));
    grid.items.forEach((_, at) => grid.say(at));
    if (done && !page.pending) await next();
    if (!page.pending) page.leaving = false;
    look();
  });
}

/** How many actions are on their way: the pictures say so, and are not looked at anew. */
function countPending(more) {
  page.pending += more;
  byId("grid").toggleAttribute("data-saving", page.pending > 0);
}

/** After an action: a stack closes, a batch that is decided gives way to the next one. */
async function next() {
  if (page.name === "start" && page.params.members) await show("start", {}, 0);
  else if (page.name === "confirm") await nextToConfirm();
  else if (grid.items.length && grid.items.every((item) => item.done)) await turnOver();
}

function turnOver() {
  return turns()?.();
}

/** What comes once all pictures shown are decided: others of the queue, the next page, nothing. */
function turns() {
  if (["start", "unknown"].includes(page.name) || QUEUES[page.name].batch) return reload;
  return page.start + PAGE < page.found.total ? () => turnPage(1) : null;
}

async function nextToConfirm() {
  await show("confirm", page.params, 0, { keepControls: true });
  if (page.found.total) return;
  state = (await told(() => get("/v1/state"))) ?? state;
  const [other] = state.classes.filter((one) => one.called).sort((one, two) => two.called - one.called);
  if (other && other.name !== page.params.label) await show("confirm", { ...page.params, label: other.name }, 0);
}

function confirm(all = false) {
  if (!grid.items.length) return;
  if (page.name === "start" && !page.params.members) {
    if (grid.current.members) show("start", { members: grid.current.members }, 0);
    return;
  }
  if (page.name === "confirm") {
    const shown = new Set(grid.items.map((item) => item.picture));
    const members = page.found.members.filter((one) => !grid.out.has(one) && (all || shown.has(one)));
    if (members.length) act([{ item: { members }, label: page.params.label }], "confirmed");
    return;
  }
  const chosen = page.params.members ? grid.items.filter((item) => grid.isChosen(item)) : subject();
  const items = QUEUES[page.name].keeps ? chosen : chosen.filter((item) => !labelOf(item) && !item.state);
  if (!items.length) {
    announce("There is nothing to confirm here: what has a label is named by a key");
    return;
  }
  const answered = items.map((item) => ({ item, label: item.suggested?.label ?? item.answer }));
  if (answered.some(({ label }) => !label)) {
    complain("The model knows nothing yet: name pictures of two classes first.");
    return;
  }
  const alone = page.name === "ask" ? "asked" : "named";
  act(answered, QUEUES[page.name].keeps ? "accepted" : page.params.members ? "confirmed" : alone);
}

function keep() {
  if (QUEUES[page.name].keeps) act(subject().filter((item) => item.label).map((item) => ({ item, label: item.label })), "kept");
}

function undo() {
  countPending(1);
  tail = tail.then(async () => {
    const done = await told(() => post("/v1/undo"));
    countPending(-1);
    if (!done) return;
    page.saved = 0; // nothing waits until the model has learnt what was taken back
    const shown = new Set(grid.items.map((item) => item.picture));
    const here = done.pictures.filter((one) => shown.has(one.picture));
    grid.update(here.map((one) => ({ ...one, done: Boolean(one.label || one.state) && !QUEUES[page.name].keeps })));
    if (here.length) grid.move(grid.items.findIndex((item) => item.picture === here[0].picture));
    announce(done.total ? `Undone: ${count(done.total)}` : "There is nothing to undo");
    if (done.total && (!here.length || page.name === "start" || page.name === "confirm")) await reload();
    look();
  });
}

function showLike() {
  const { current } = grid;
  if (current) go("like", { picture: current.picture, of: current.name });
}

/** Whether the key did something. */
function onKey(event) {
  const plain = !(event.ctrlKey || event.metaKey || event.altKey);
  const { key } = event;
  if (plain && key === "Enter") confirm(event.shiftKey);
  else if (plain && key === "z") undo();
  else if (plain && key === "k") keep();
  else if (plain && palette.onKey(key)) return true;
  else return false;
  return true;
}

function onPageKey(event) {
  if (document.querySelector("dialog[open]") || event.target.closest("input, select, textarea")) return;
  // A button has the focus for a moment after a dialog closes, or after a click: letters and digits mean what they always do.
  if (event.target.closest("button, summary, a") && !/^[^ ]$/.test(event.key)) return;
  const plain = !(event.ctrlKey || event.metaKey || event.altKey);
  const act = {
    o: () => viewer.show(),
    l: showLike,
    n: () => byId("name").focus(),
    "?": () => byId("keys").showModal(),
    "/": async () => {
      await go("search");
      byId("text").focus();
    },
    PageDown: () => turnPage(1),
    PageUp: () => turnPage(-1),
    Escape: () => (page.params.members ? show("start", {}, 0) : grid.chooseAll(grid.bulk)),
  }[event.key];
  if (plain && act) act();
  else if (!grid.onKey(event) && !onKey(event)) return;
  event.preventDefault();
}

function listen() {
  document.addEventListener("keydown", onPageKey);
  // Whoever leaves while labels are on their way would lose them: the browser asks.
  addEventListener("beforeunload", (event) => page.pending && event.preventDefault());
  byId("undo").addEventListener("click", undo);
  byId("confirm").addEventListener("click", () => confirm());
  byId("confirm-all").addEventListener("click", () => confirm(true));
  byId("keep").addEventListener("click", keep);
  byId("open").addEventListener("click", () => viewer.show());
  byId("like").addEventListener("click", showLike);
  byId("before").addEventListener("click", () => turnPage(-1));
  byId("after").addEventListener("click", () => turnPage(1));
  byId("open-names").addEventListener("click", () => names.open(state));
  byId("open-work").addEventListener("click", () => work.open());
  byId("open-keys").addEventListener("click", () => byId("keys").showModal());
  byId("size").addEventListener("input", () => byId("grid").style.setProperty("--tile", `${byId("size").value}rem`));
  for (const close of document.querySelectorAll("dialog [data-close]")) {
    close.addEventListener("click", () => close.closest("dialog").close());
  }
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", () => byId("grid").focus());
  if (matchMedia("(max-width: 60rem)").matches) byId("side").open = false;
}

async function start() {
  listen();
  const [found, project] = [await told(() => get("/v1/state")), await told(() => get("/v1/work"))];
  if (!found) return;
  state = found;
  byId("folder").textContent = project ? `${printable(project.data)}, labels in ${printable(project.labels)}` : "";
  const wanted = asked.get("queue");
  if (wanted !== "like" && Object.hasOwn(QUEUES, wanted)) await go(wanted, { text: asked.get("text") ?? undefined });
  else await go(state.labelled ? "ask" : "start");
  await look();
}

start();
