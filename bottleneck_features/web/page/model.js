// What the model is: labels, scores, backbone, when it was trained.

import { count, day, percent, printable } from "./wording.js";

const SHOWN = 8; // labels in a row; of more there is a list

export function showModel({ labels, head, recipe, scores, created, digest, views }) {
  const backbone = recipe.map((part) => printable(part.backbone)).join(" + ");
  const date = day(created);
  const made = document.getElementById("made");
  made.textContent = `${labelled(labels)}${date ? `. Trained on ${date}` : ""}.`;
  made.hidden = false;
  facts(scores, labels);
  const list = document.getElementById("classes");
  list.querySelector("summary").textContent = count(labels.length, "label");
  list.querySelector("ul").replaceChildren(...labels.map((label) => named("li", printable(label))));
  list.hidden = labels.length <= SHOWN;
  const rows = {
    Labels: list.hidden ? labels.map(printable).join(", ") : "",
    Head: head,
    Backbone: backbone,
    Input: recipe.map(({ size }) => (size ? `${size[1]} x ${size[0]} pixels` : "its own size")).join(", "),
    Views: views > 1 ? `the mean of ${views} views of each picture` : "",
    Trained: date,
    Digest: digest.slice(0, 16),
  };
  const shown = Object.entries(rows).filter(([, text]) => text);
  document.getElementById("recipe").replaceChildren(
    ...shown.flatMap(([name, text]) => [named("dt", name), named("dd", text)]));
  document.getElementById("model").hidden = false;
}

function labelled(labels) {
  const shown = labels.map(printable);
  if (shown.length <= 4) return `It tells ${shown.slice(0, -1).join(", ")} and ${shown.at(-1)} apart`;
  return `It tells ${labels.length} labels apart: ${shown.slice(0, 3).join(", ")} and others`;
}

function facts(scores, labels) {
  const found = [
    score("Accuracy", scores.accuracy, scores.accuracy_interval),
    labels.length > 2 && score("Balanced accuracy", scores.balanced_accuracy, scores.balanced_accuracy_interval),
    scores.n && ["Measured on", scores.n.toLocaleString("en"), "held-out pictures"],
    ["Labels", String(labels.length), scores.baseline_accuracy ? `always the most frequent one: ${percent(scores.baseline_accuracy)}` : ""],
  ];
  document.getElementById("facts").replaceChildren(...found.filter(Boolean).map(([name, value, more]) => {
    const group = document.createElement("div");
    group.append(named("dt", name), named("dd", value), ...(more ? [named("dd", more)] : []));
    return group;
  }));
}

function score(name, value, interval) {
  if (value === undefined) return null;
  return [name, percent(value), interval ? `95% interval ${interval.map(percent).join(" to ")}` : ""];
}

function named(tag, text) {
  const element = document.createElement(tag);
  const inside = document.createElement("bdi");
  inside.textContent = text;
  element.append(inside);
  return element;
}
