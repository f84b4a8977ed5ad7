// The classes with their keys, below the pictures: what the chosen pictures are named by.

import { byId, button, element, keysOf, named, number, printable, STATES } from "./words.js";

export class Palette {
  /** give: takes {label} or {state}, for the chosen pictures. */
  constructor(give) {
    this.give = give;
    this.keys = new Map();
    this.shown = "";
    byId("name-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = byId("name").value.trim();
      byId("name").value = "";
      byId("grid").focus();
      if (name) give({ label: name });
    });
    byId("name").addEventListener("keydown", (event) => {
      if (event.key === "Escape") byId("grid").focus();
    });
  }

  /** classes: [{name, count}] in the order of their keys. */
  show(classes, states) {
    const text = JSON.stringify([classes.map(({ name, count }) => [name, count]), states]);
    if (text === this.shown) return;
    this.shown = text;
    const focused = [...byId("chips").children].indexOf(document.activeElement);
    this.keys = keysOf(classes.map(({ name }) => name));
    const keyOf = new Map([...this.keys].map(([key, name]) => [name, key]));
    const chips = classes.map(({ name, count }) => chip(named(name), keyOf.get(name), count, () => this.give({ label: name })));
    const others = STATES.map(({ name, key }) => chip(name, key, states[name] ?? 0, () => this.give({ state: name }), "state"));
    const none = chip("no label", "⌫", null, () => this.give({ label: "" }), "state");
    byId("chips").replaceChildren(...chips, ...others, none);
    byId("chips").children[focused]?.focus();
    byId("known").replaceChildren(...classes.map(({ name }) => element("option", { value: printable(name) })));
  }

  /** Whether the key was that of a class or a state. */
  onKey(key) {
    const state = STATES.find((one) => one.key === key);
    if (state) this.give({ state: state.name });
    else if (this.keys.has(key)) this.give({ label: this.keys.get(key) });
    else if (key === "Backspace" || key === "Delete") this.give({ label: "" });
    else return false;
    return true;
  }
}

function chip(words, key, count, act, kind = "") {
  const made = button(words, (event) => {
    act();
    if (event.detail) byId("grid").focus({ preventScroll: true }); // a mouse has gone on to the pictures: so do the keys
  }, { class: `chip ${kind}` });
  if (key) made.prepend(element("kbd", {}, key), " ");
  if (count !== null) made.append(element("span", { class: "quiet" }, ` ${number(count)}`));
  return made;
}
