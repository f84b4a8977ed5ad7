// One picture at full resolution: zoom, pan, what its file says of itself.

import { blob, get, Refusal } from "./api.js";
import { byId, element, named, number, printable } from "./words.js";

const STEP = 1.4;
const MOVE = 60; // pixels
const LARGEST = 40;

export class Viewer {
  /** grid: whose cursor it shows. onKey: what the page does with a key, such as that of a class. */
  constructor(grid, onKey) {
    this.grid = grid;
    this.dialog = byId("viewer");
    this.stage = byId("stage");
    this.image = this.stage.querySelector("img");
    this.dialog.addEventListener("click", (event) => this.onButton(event));
    this.dialog.addEventListener("keydown", (event) => this.onKeyDown(event, onKey));
    this.dialog.addEventListener("close", () => this.forget());
    this.stage.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.image.addEventListener("load", () => this.fit());
    this.image.addEventListener("dragstart", (event) => event.preventDefault());
    this.fingers = new Map();
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      this.stage.addEventListener(kind, (event) => this.onPointer(event));
    }
  }

  get open() {
    return this.dialog.open;
  }

  async show() {
    const item = this.grid.current;
    if (!item) return;
    if (!this.dialog.open) this.dialog.showModal();
    this.stage.focus();
    this.picture = item.picture;
    byId("viewer-name").replaceChildren(named(item.name));
    this.image.alt = printable(item.name);
    byId("viewer-facts").replaceChildren();
    try {
      const [file, about] = await Promise.all([blob(`/v1/picture/${item.picture}`), get(`/v1/picture/${item.picture}/about`)]);
      if (this.picture !== item.picture) return;
      this.forget();
      this.picture = item.picture;
      this.url = URL.createObjectURL(file);
      this.image.src = this.url;
      byId("viewer-facts").replaceChildren(...facts(about, item).flatMap(([name, text]) =>
        [element("dt", {}, name), element("dd", {}, named(text))]));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      byId("viewer-facts").replaceChildren(element("dt", {}, "Trouble"), element("dd", {}, error.message));
    }
  }

  forget() {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = this.picture = null;
    this.image.removeAttribute("src");
  }

  fit() {
    const { naturalWidth: width, naturalHeight: height } = this.image;
    this.scale = Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height, 8) || 1;
    this.x = (this.stage.clientWidth - width * this.scale) / 2;
    this.y = (this.stage.clientHeight - height * this.scale) / 2;
    this.place();
  }

  place() {
    this.image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.image.classList.toggle("pixels", this.scale > 3);
  }

  /** Zoom so that the point (x, y) of the stage stays where it is. */
  zoom(by, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const next = Math.max(0.02, Math.min(LARGEST, this.scale * by));
    this.x = x - ((x - this.x) * next) / this.scale;
    this.y = y - ((y - this.y) * next) / this.scale;
    this.scale = next;
    this.place();
  }

  pan(x, y) {
    this.x += x;
    this.y += y;
    this.place();
  }

  step(by) {
    this.grid.move(this.grid.cursor + by);
    this.show();
  }

  onButton(event) {
    const { zoom, step } = event.target.closest("button")?.dataset ?? {};
    if (zoom === "fit") this.fit();
    else if (zoom) this.zoom(zoom === "in" ? STEP : 1 / STEP);
    else if (step) this.step(Number(step));
  }

  onWheel(event) {
    event.preventDefault();
    const { left, top } = this.stage.getBoundingClientRect();
    this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.clientX - left, event.clientY - top);
  }

  /** One finger or the mouse moves the picture, two fingers zoom. */
  onPointer(event) {
    const before = this.fingers.get(event.pointerId);
    if (event.type === "pointerdown") {
      this.stage.setPointerCapture(event.pointerId);
      this.fingers.set(event.pointerId, event);
    } else if (event.type !== "pointermove") this.fingers.delete(event.pointerId);
    else if (before) {
      const apart = this.apart();
      this.fingers.set(event.pointerId, event);
      if (apart && this.fingers.size === 2) this.zoom(this.apart() / apart);
      else this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    }
  }

  apart() {
    const [one, other] = [...this.fingers.values()];
    return other ? Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) : 0;
  }

  async onKeyDown(event, onKey) {
    const moves = { ArrowLeft: [MOVE, 0], ArrowRight: [-MOVE, 0], ArrowUp: [0, MOVE], ArrowDown: [0, -MOVE] };
    if (event.key === "+" || event.key === "=") this.zoom(STEP);
    else if (event.key === "-") this.zoom(1 / STEP);
    else if (event.key in moves && event.target === this.stage) this.pan(...moves[event.key]);
    else if (event.key === "PageDown" || event.key === "PageUp") this.step(event.key === "PageDown" ? 1 : -1);
    else if (event.target.tagName === "BUTTON" && ["Enter", " "].includes(event.key)) return;
    else if (event.key === "Escape" || event.key === "Tab" || !onKey(event)) return;
    else this.show();
    event.preventDefault();
  }
}

function facts(about, item) {
  const rows = [
    ["Label", item.label || item.state],
    ["Model", item.answer ?? ""],
    ["Pixels", about.width ? `${number(about.width)} x ${number(about.height)}` : ""],
    ["File", about.bytes ? `${number(Math.ceil(about.bytes / 1024))} KiB ${about.format ?? ""}` : "gone"],
    ["Taken", about.taken ?? ""],
    ["Camera", [about.maker, about.camera].filter(Boolean).join(" ")],
  ];
  return rows.filter(([, text]) => text);
}
