// The queues: what each is for, which pictures it shows, and what can be set above them.

import { get, post } from "./api.js";
import { button, byId, count, element, number, percent, printable } from "./words.js";

export const PAGE = 100; // pictures
const BATCH = 10; // pictures that are asked at once: then the model learns
const DELAY = 120; // milliseconds after the last move of the slider

/** confirm: what Enter does, in words. batch: reloaded once all of it is decided. keeps: a label can be kept. */
export const QUEUES = {
  start: {
    title: "Start",
    words: "Stacks of pictures that look alike, on top the most typical one. A key names the whole stack; Enter opens it, to take pictures out first.",
    confirm: "Open the stack",
    none: "Every picture has been looked at.",
  },
  ask: {
    title: "Ask",
    words: "The pictures whose labels help most; a fifth of them is drawn at random, also of those in named stacks, which keeps the accuracy honest.",
    confirm: "The model is right",
    batch: true,
    none: "Every picture has been looked at.",
  },
  confirm: {
    title: "Confirm",
    words: "All that the model calls one class, surest first. Take out what is wrong, or name it; then confirm the others.",
    confirm: "Confirm this page",
    none: "There is nothing to confirm above this confidence.",
  },
  doubt: {
    title: "Doubt",
    words: "Labels that are probably wrong, the most doubtful first: accept what the model says, keep the label, or give another.",
    confirm: "Accept the model's",
    batch: true,
    keeps: true,
    none: "No label is in doubt.",
  },
  mistakes: {
    title: "Mistakes",
    words: "Labelled pictures that the model, without having learnt them, takes for something else.",
    confirm: "Accept the model's",
    batch: true,
    keeps: true,
    none: "The model makes no such mistakes on labelled pictures.",
  },
  unknown: {
    title: "Unknown",
    words: "Pictures without label, those least like any labelled one first.",
    confirm: "The model is right",
    none: "Every picture has been looked at.",
  },
  like: {
    title: "Like this",
    words: "All other pictures, the most similar first.",
    confirm: "The model is right",
    none: "There is no other picture.",
  },
  search: {
    title: "Search",
    words: "By file name, label, or state.",
    confirm: "The model is right",
    none: "No picture has this text.",
  },
};

/** Whether all pictures are chosen until they are taken out. */
export function isBulk(name, params) {
  return name === "confirm" || (name === "start" && Boolean(params.members));
}

/** {items, total, ...} of a page of a queue. after: a version whose labels the model is to have learnt. */
export async function load(name, params, start, after) {
  if (name === "start" && params.members) {
    const { pictures } = await post("/v1/pictures", { pictures: params.members.slice(start, start + PAGE) });
    return { items: pictures, total: params.members.length };
  }
  if (name === "start") {
    const found = await get("/v1/queue", { name, after });
    return { items: found.stacks.map(({ picture, members }) => ({ ...picture, members })), total: found.total };
  }
  const { label, true: truth, answer, picture, text, least } = params;
  const query = { name, start, count: name === "ask" ? BATCH : PAGE, after, label, true: truth, answer, picture, text, least };
  const found = await get("/v1/queue", query);
  // What was named together with others is asked like any other picture.
  const items = found.pictures.map((one) => ({ ...one, ...suggestion(found, one, params), anew: name === "ask" && one.together }));
  return { ...found, items };
}

function suggestion(found, one, params) {
  const own = found.suggested?.[one.picture];
  if (own) return { suggested: own };
  return params.answer ? { suggested: { label: params.answer, probability: one.confidence, doubt: "a mistake of the model or of the label" } } : {};
}

/** What the page shows when a queue is opened without parameters of its own. */
export function defaults(name, params, state) {
  if (name === "confirm" && !params.label) {
    const [first] = [...state.classes].sort((one, other) => other.called - one.called);
    return { least: 0.9, ...params, label: first?.name ?? "" };
  }
  if (name === "mistakes" && !params.true && state.confused.length) {
    const [{ true: truth, answer }] = state.confused;
    return { ...params, true: truth, answer };
  }
  return params;
}

/** The controls above the pictures. change: takes new parameters, shows the queue anew. */
export function controls(name, params, state, change) {
  const make = { confirm: ofConfirm, mistakes: ofMistakes, search: ofSearch, start: ofStart, like: ofLike }[name];
  return make ? make(params, state, change) : [];
}

function ofStart(params, _, change) {
  if (!params.members) return [];
  return [button("Back to the stacks (Esc)", () => change({}))];
}

function ofLike(params) {
  return [element("p", { class: "quiet small" }, "Like ", element("bdi", {}, printable(params.of ?? "")))];
}

function ofConfirm(params, state, change) {
  const options = state.classes.filter((one) => one.called || one.name === params.label);
  const select = selectOf(options.map((one) => [one.name, `${printable(one.name)} (${number(one.called)})`]), params.label);
  select.id = "confirm-class";
  select.addEventListener("change", () => change({ ...params, label: select.value }));
  const slider = element("input", {
    type: "range", id: "least", min: 0, max: 100, step: 1, "aria-describedby": "expected",
  });
  slider.value = String(Math.round(100 * params.least));
  const shown = element("output", { for: "least" }, percent(params.least, 0));
  let timer = 0;
  slider.addEventListener("input", () => {
    const least = Number(slider.value) / 100;
    shown.textContent = percent(least, 0);
    byId("grid").setAttribute("aria-busy", "true"); // other pictures are about to come
    clearTimeout(timer);
    timer = setTimeout(() => change({ ...params, least }, { keepControls: true }), DELAY);
    params.least = least;
  });
  return [
    element("label", {}, "Called ", select),
    element("label", { for: "least" }, "at least this sure ", slider, " ", shown),
    element("p", { id: "expected", class: "expected", role: "status" }),
  ];
}

/** "312 pictures; about 2.1 are wrong (95% interval 0 to 5)". */
export function expectedWords({ total, called, mistakes }) {
  const of = `${count(total)} of ${number(called)}`;
  if (!total) return of;
  if (!mistakes) return `${of}. How many are wrong cannot be told before 30 pictures were named one by one: see Ask.`;
  const [low, high] = mistakes.interval;
  return `${of}. Expected mistakes: ${mistakes.expected.toFixed(1)} (95% interval ${low} to ${high}).`;
}

function ofMistakes(params, state, change) {
  const cells = state.confused.map((one, at) => [String(at), `${printable(one.true)} taken for ${printable(one.answer)} (${one.count})`]);
  if (!cells.length) return [];
  const now = state.confused.findIndex((one) => one.true === params.true && one.answer === params.answer);
  const select = selectOf(cells, String(now));
  select.id = "cell";
  select.addEventListener("change", () => {
    const { true: truth, answer } = state.confused[Number(select.value)];
    change({ true: truth, answer });
  });
  return [element("label", {}, "Cell of the confusion matrix ", select)];
}

function ofSearch(params, state, change) {
  const text = element("input", { type: "search", id: "text", autocomplete: "off", spellcheck: "false", maxlength: 200 });
  text.value = params.text ?? "";
  const classes = [["", "any"], ...state.classes.map(({ name }) => [name, printable(name)])];
  const select = selectOf(classes, params.label ?? "");
  const go = (event) => {
    event.preventDefault();
    change({ text: text.value, label: select.value || undefined });
  };
  const form = element("form", { class: "controls", role: "search" },
    element("label", {}, "Text ", text), element("label", {}, "Class ", select), element("button", {}, "Search"));
  form.addEventListener("submit", go);
  select.addEventListener("change", go);
  return [form];
}

function selectOf(options, value) {
  const made = element("select", {}, ...options.map(([key, words]) => element("option", { value: key }, words)));
  made.value = value;
  return made;
}

/** The tabs. */
export function showTabs(now, go) {
  const items = Object.entries(QUEUES).filter(([name]) => name !== "like" || now === "like").map(([name, { title }]) =>
    element("li", {}, button(title, () => go(name), { "data-queue": name, "aria-current": name === now ? "page" : undefined })));
  byId("queues").replaceChildren(...items);
}
