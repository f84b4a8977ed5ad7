// The pictures of a page as a listbox: a cursor, chosen ones, arrows, mouse and touch.

import { show } from "./thumbnails.js";
import { byId, count, element, named, percent, printable } from "./words.js";

/**
 * items: [{picture, name, label, state, answer, confidence, ...}], a stack has `members` too.
 * bulk: all are chosen but those in `out`; else those in `chosen`.
 */
export class Grid {
  constructor(changed, opened) {
    this.box = byId("grid");
    this.items = [];
    this.tiles = [];
    this.cursor = 0;
    this.anchor = 0;
    this.bulk = false;
    this.chosen = new Set();
    this.out = new Set();
    this.changed = changed;
    this.opened = opened;
    this.box.addEventListener("pointerdown", (event) => this.onPointer(event));
    this.box.addEventListener("click", (event) => this.onClick(event));
    this.box.addEventListener("dblclick", (event) => this.tileOf(event) && this.opened());
  }

  /** Show items. keep: leave what is chosen as it is, for another page of the same queue. */
  show(items, { bulk = false, keep = false } = {}) {
    this.items = items;
    this.bulk = bulk;
    if (!keep) {
      this.chosen.clear();
      this.out.clear();
    }
    this.tiles = items.map((item, at) => tile(item, at));
    this.box.replaceChildren(...this.tiles);
    this.items.forEach((item, at) => show(this.tiles[at].querySelector("img"), item.picture));
    this.items.forEach((_, at) => this.say(at));
    this.move(0, { quiet: true });
    this.box.scrollTop = 0;
  }

  /** Put what is known by now of some pictures in place. */
  update(known) {
    const of = new Map(known.map((one) => [one.picture, one]));
    this.items.forEach((item, at) => {
      if (!of.has(item.picture)) return;
      Object.assign(item, of.get(item.picture));
      this.say(at);
    });
  }

  get current() {
    return this.items[this.cursor];
  }

  isChosen(item) {
    return this.bulk ? !this.out.has(item.picture) : this.chosen.has(item.picture);
  }

  /** What an action is about: the chosen ones, else the one under the cursor. */
  get targets() {
    const chosen = this.items.filter((item) => this.isChosen(item));
    if (chosen.length) return chosen;
    return this.current && !this.bulk ? [this.current] : [];
  }

  move(to, { extend = false, quiet = false } = {}) {
    const last = this.items.length - 1;
    if (last < 0) {
      this.box.removeAttribute("aria-activedescendant");
      this.changed();
      return;
    }
    this.tiles[this.cursor]?.classList.remove("cursor");
    this.cursor = Math.max(0, Math.min(last, to));
    if (!extend) this.anchor = this.cursor;
    else this.range(this.anchor, this.cursor);
    const tileNow = this.tiles[this.cursor];
    tileNow.classList.add("cursor");
    this.box.setAttribute("aria-activedescendant", tileNow.id);
    if (!quiet) tileNow.scrollIntoView({ block: "nearest" });
    this.changed();
  }

  range(one, other) {
    const [first, last] = [Math.min(one, other), Math.max(one, other)];
    this.items.forEach((item, at) => this.choose(at, at >= first && at <= last));
  }

  choose(at, wanted) {
    const { picture } = this.items[at];
    const marked = this.bulk ? this.out : this.chosen;
    if (wanted === this.bulk) marked.delete(picture);
    else marked.add(picture);
    this.say(at);
  }

  toggle(at = this.cursor) {
    if (!this.items[at]) return;
    this.choose(at, !this.isChosen(this.items[at]));
    this.changed();
  }

  chooseAll(wanted) {
    this.items.forEach((_, at) => this.choose(at, wanted));
    this.changed();
  }

  /** To the next picture that nobody has looked at, if there is one. */
  advance() {
    const order = [...this.items.keys()];
    const after = [...order.slice(this.cursor + 1), ...order.slice(0, this.cursor)];
    const next = after.find((at) => !this.items[at].done);
    if (next !== undefined) this.move(next);
  }

  get columns() {
    const top = this.tiles[0]?.offsetTop;
    const row = this.tiles.findIndex((one) => one.offsetTop !== top);
    return row < 0 ? Math.max(1, this.tiles.length) : row;
  }

  /** Whether the key was one of moving or choosing. */
  onKey(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns };
    if (event.key in steps) {
      const to = this.cursor + steps[event.key];
      if (to >= 0 && to < this.items.length) this.move(to, { extend: event.shiftKey });
    } else if (event.key === "Home") this.move(0, { extend: event.shiftKey });
    else if (event.key === "End") this.move(this.items.length - 1, { extend: event.shiftKey });
    else if (event.key === " ") this.toggle();
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) this.chooseAll(true);
    else return false;
    event.preventDefault();
    return true;
  }

  tileOf(event) {
    const found = event.target.closest(".tile");
    return found && this.box.contains(found) ? found : null;
  }

  onPointer(event) {
    this.touch = event.pointerType !== "mouse";
  }

  onClick(event) {
    const found = this.tileOf(event);
    if (!found) return;
    const at = this.tiles.indexOf(found);
    if (event.shiftKey) {
      this.move(at, { extend: true });
      return;
    }
    const toggles = this.bulk || this.touch || event.ctrlKey || event.metaKey;
    if (!toggles) this.chooseAll(false);
    this.move(at, { quiet: true });
    if (toggles) this.toggle(at);
  }

  /** What a tile shows and says. */
  say(at) {
    const [item, made] = [this.items[at], this.tiles[at]];
    const chosen = this.isChosen(item);
    made.setAttribute("aria-selected", String(chosen));
    const words = describe(item);
    made.setAttribute("aria-label", [printable(item.name), ...words].join(", "));
    const tag = made.querySelector(".tag");
    const label = labelOf(item);
    tag.className = `tag ${label ? "label" : item.state ? "state" : "guess"}`;
    const shown = label || item.state || (item.answer ?? "");
    tag.replaceChildren(...(shown ? [named(shown)] : []));
    if (!label && !item.state && item.answer) tag.append(` ${percent(item.confidence, 0)}`);
    const other = made.querySelector(".other");
    other.hidden = !item.suggested || Boolean(item.done);
    if (item.suggested) other.replaceChildren("→ ", named(item.suggested.label), ` ${percent(item.suggested.probability, 0)}`);
    const many = made.querySelector(".many");
    many.hidden = !item.members;
    if (item.members) many.textContent = count(item.members.length);
    made.classList.toggle("done", Boolean(item.done));
  }
}

/** The label that is shown: none of a picture that is asked anew, until it is named. */
export function labelOf(item) {
  return item.anew && !item.done ? "" : item.label;
}

function describe(item) {
  const [words, label] = [[], labelOf(item)];
  if (item.members) words.push(`stack of ${count(item.members.length)}`);
  if (label) words.push(`labelled ${printable(label)}`);
  else if (item.state) words.push(item.state);
  if (item.suggested) words.push(`the model says ${printable(item.suggested.label)}, ${item.suggested.doubt}`);
  else if (item.answer && item.answer !== label) {
    words.push(`the model says ${printable(item.answer)} ${percent(item.confidence, 0)}`);
  }
  return words;
}

function tile(item, at) {
  return element("div", { class: "tile", role: "option", id: `tile-${at}` },
    element("img", { alt: "", draggable: "false" }),
    element("span", { class: "many", hidden: true }),
    element("span", { class: "mark", "aria-hidden": "true" }),
    element("span", { class: "tag" }),
    element("span", { class: "other", hidden: true }),
    element("span", { class: "file" }, named(item.name.split("/").at(-1))));
}
