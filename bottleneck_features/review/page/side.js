// The live side: how many labels, how good the model is, what the next labels may bring.

import { button, byId, count, element, named, number, percent, printable } from "./words.js";

const [WIDTH, HEIGHT] = [240, 90];
let shown = "";

/** go: opens a queue with parameters. */
export function showSide(state, go) {
  const text = JSON.stringify([state.version, state.trained, state.pictures, state.accuracy, state.gain, state.curve]);
  if (text === shown) return;
  shown = text;
  byId("side-body").replaceChildren(
    ...labelled(state, go), ...accuracy(state), ...accepted(state, go), ...curve(state), ...confused(state, go));
}

function labelled(state, go) {
  const most = Math.max(1, ...state.classes.map((one) => one.count));
  const rows = state.classes.map((one) => element("li", {},
    button(named(one.name), () => go("search", { label: one.name }), { class: "link" }),
    element("span", { class: "share" }, number(one.count)), bar(one.count / most)));
  const others = Object.entries(state.states).filter(([, many]) => many).map(([name, many]) => element("li", {},
    button(name, () => go("search", { text: name }), { class: "link quiet" }), element("span", { class: "share" }, number(many))));
  return [
    element("p", { class: "large" }, `${number(state.labelled)} of ${count(state.pictures)} labelled`),
    element("ul", { class: "bars" }, ...rows, ...others),
  ];
}

function accuracy({ accuracy: found, learnt, trained, version }) {
  const words = trained < version && learnt < version ? "learning…" : trained < version ? "checking…" : "";
  if (!found) {
    return [element("h3", {}, "Accuracy"),
      element("p", { class: "quiet small" }, words || "Not known yet: name pictures of two classes or more one by one, as Ask shows them. What was named together does not count.")];
  }
  const [low, high] = found.interval;
  return [
    element("h3", {}, "Accuracy "),
    element("p", { class: "large" }, percent(found.value), " ", element("span", { class: "quiet small" }, words)),
    element("p", { class: "quiet small" },
      `95% interval ${percent(low)} to ${percent(high)}, in folds of ${found.of}.`),
  ];
}

function accepted({ accepted: found }, go) {
  if (!found || !found.left) return [];
  const target = percent(found.target, 0);
  const words = found.refused
    ? `Nothing can be accepted at ${target} yet: ${found.refused}.`
    : `${number(found.count)} of ${count(found.left)} without label can be accepted with ${target} right.`;
  return [
    element("h3", {}, "Without looking"),
    element("p", { class: found.refused ? "quiet small" : "small" }, words),
    ...(found.count ? [button("Open Confirm", () => go("confirm", {}))] : []),
  ];
}

function curve({ curve: points, gain }) {
  const more = gain === null ? [] : [element("p", { class: "small" },
    gain < 0.001 ? "Another 50 labels: hardly any more." : `Another 50 labels: about +${(100 * gain).toFixed(1)} points.`)];
  if (points.length < 2) return more;
  const last = points.at(-1).labels;
  const lowest = Math.min(...points.map((one) => one.accuracy), 0.9);
  const x = (labels) => 4 + (WIDTH - 8) * (labels / last);
  const y = (share) => HEIGHT - 6 - (HEIGHT - 12) * ((share - lowest) / (1 - lowest || 1));
  const line = points.map((one, at) => `${at ? "L" : "M"}${x(one.labels).toFixed(1)} ${y(one.accuracy).toFixed(1)}`).join("");
  const words = points.map((one) => `${one.labels} labels ${percent(one.accuracy)}`).join(", ");
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "curve", "aria-label": `Accuracy by labels: ${words}` },
    svg("path", { d: line, class: "line" }),
    ...points.map((one) => svg("circle", { cx: x(one.labels), cy: y(one.accuracy), r: 3 })));
  return [
    element("h3", {}, "Learning curve"), drawing,
    element("p", { class: "quiet small" }, `From ${points[0].labels} labels (${percent(points[0].accuracy)}) to ${last} (${percent(points.at(-1).accuracy)}).`),
    ...more,
  ];
}

function confused({ confused: pairs }, go) {
  if (!pairs.length) return [];
  const items = pairs.slice(0, 5).map((one) => element("li", {},
    button(element("span", {}, named(one.true), " → ", named(one.answer), ` ${one.count}`),
      () => go("mistakes", { true: one.true, answer: one.answer }),
      { class: "link", "aria-label": `Mistakes: ${printable(one.true)} taken for ${printable(one.answer)}, ${one.count}` })));
  return [element("h3", {}, "Confused classes"), element("ul", { class: "pairs" }, ...items)];
}

function bar(share) {
  return svg("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none", class: "bar", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 100, height: 1 }), svg("rect", { class: "fill", width: 100 * share, height: 1 }));
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}
