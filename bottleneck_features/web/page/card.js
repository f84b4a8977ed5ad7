// One picture on the page: what the service says of it, and why on demand.

import { ask, pictureAt, Refusal } from "./api.js";
import { count, DECISIONS, percent, printable } from "./wording.js";

const BARS = 5;
const NEIGHBOURS = 6;
const [cardTemplate, barTemplate, neighbourTemplate] = ["card", "bar", "neighbour"].map((id) =>
  document.getElementById(id));

export class Card {
  /** questions: gives the query of a prediction; changed: is called with the card whenever its state changes. */
  constructor(file, questions, changed) {
    this.file = file;
    this.questions = questions;
    this.changed = changed;
    this.name = printable(file.name || "pasted picture");
    this.state = "waiting"; // asked, answered, failed
    this.answer = null;
    this.refusal = null;
    this.element = cardTemplate.content.firstElementChild.cloneNode(true);
    this.urls = [];
    this.aborter = new AbortController();
    this.part(".file bdi").textContent = this.name;
    this.part(".remove").setAttribute("aria-label", `Remove ${this.name}`);
    this.showPicture();
    this.on(".retry", () => this.predict());
    this.on(".remove", () => this.remove());
    this.on(".show-heat", (button) => this.toggleHeat(button));
    this.on(".show-near", (button) => this.toggleNear(button));
  }

  part(selector) {
    return this.element.querySelector(selector);
  }

  on(selector, act) {
    const button = this.part(selector);
    button.addEventListener("click", () => act(button));
  }

  url(blob) {
    const made = URL.createObjectURL(blob);
    this.urls.push(made);
    return made;
  }

  showPicture() {
    const image = this.part(".picture");
    this.own ??= this.url(this.file);
    image.addEventListener("error", () => this.cannotShow(), { once: true });
    image.alt = this.name;
    image.src = this.own;
  }

  cannotShow() {
    this.part(".picture").hidden = true;
    this.part(".gone").hidden = false;
  }

  async predict() {
    this.aborter.abort();
    this.aborter = new AbortController();
    const { signal } = this.aborter;
    this.refusal = null;
    this.say("asked", "Waiting for its answer");
    try {
      const found = await ask(`/v1/predict?${this.questions()}`, { body: this.file, signal });
      this.answer = found.pictures[0];
      this.showAnswer();
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refusal)) throw error;
      this.fail(error);
    }
    this.changed(this);
  }

  say(state, words) {
    this.state = state;
    const line = this.part(".state");
    line.textContent = words;
    line.hidden = !words;
    line.classList.toggle("busy", state === "asked");
    this.part(".error").hidden = true;
    this.part(".retry").hidden = true;
    this.element.setAttribute("aria-busy", String(state === "asked"));
    if (state !== "answered") this.hideAnswer();
    if (state === "asked") this.changed(this);
  }

  hideAnswer() {
    for (const name of ["verdict", "decision", "bars", "show-heat", "show-near"]) this.part(`.${name}`).hidden = true;
  }

  fail(refusal) {
    this.say("failed", "");
    this.refusal = refusal;
    this.complain(refusal.message);
    this.part(".retry").hidden = !refusal.passes;
  }

  complain(words) {
    const line = this.part(".error");
    line.textContent = words;
    line.hidden = !words;
  }

  showAnswer() {
    const { label, reason, probabilities, decision } = this.answer;
    if (!probabilities.length) {
      this.fail(new Refusal(422, `There is no answer: ${reason}`));
      return;
    }
    this.say("answered", "");
    const [best] = probabilities;
    this.part(".verdict .label").textContent = printable(label ?? best.label);
    this.part(".verdict .share").textContent = percent(best.probability);
    this.part(".verdict").hidden = false;
    this.showDecision(decision ?? (label === null ? "unknown" : null));
    const bars = probabilities.slice(0, BARS).map((one) => bar(printable(one.label), one.probability));
    this.part(".bars").replaceChildren(...bars);
    this.part(".bars").hidden = false;
    this.part(".show-heat").hidden = this.part(".show-near").hidden = false;
  }

  showDecision(decision) {
    const line = this.part(".decision");
    line.hidden = !decision;
    line.className = `decision ${decision ?? ""}`;
    if (decision) [line.querySelector("strong").textContent, line.querySelector(".why").textContent] = DECISIONS[decision];
  }

  /** The answer in a few words, for those who hear the page. */
  get spoken() {
    if (this.state === "failed") return `${this.name}: ${this.refusal.message}`;
    const shown = `${this.part(".verdict .label").textContent} ${this.part(".verdict .share").textContent}`;
    const decision = this.part(".decision").hidden ? "" : `, ${this.part(".decision strong").textContent}`;
    return `${this.name}: ${shown}${decision}`;
  }

  /** Runs `job` while `button` says that it is busy; what is refused is said on the card. */
  async busy(button, job) {
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    this.complain("");
    try {
      await job(this.aborter.signal);
    } catch (error) {
      if (error instanceof Refusal) this.complain(error.message);
      else if (error.name !== "AbortError") throw error;
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  async toggleHeat(button) {
    if (button.getAttribute("aria-pressed") === "true") {
      this.hideHeat();
      return;
    }
    await this.busy(button, async (signal) => {
      this.heat ??= await ask("/v1/heatmap", { body: this.file, signal });
      const { label, place, exact, picture } = this.heat;
      const image = this.part(".picture");
      this.drawn ??= this.url(await pictureOf(picture));
      image.src = this.drawn;
      image.alt = `${this.name} with the heat map of ${printable(label)}`;
      image.hidden = false;
      this.part(".gone").hidden = true;
      const from = place === "nowhere" ? "No part of the picture speaks for" : `Where it sees`;
      const most = place === "nowhere" ? "." : `: most of all in the ${place === "centre" ? "centre" : place}.`;
      const how = exact ? "" : " Measured by hiding one part after the other.";
      const words = this.part(".heat-words");
      words.textContent = `${from} ${printable(label)}${most}${how}`;
      words.hidden = false;
      button.setAttribute("aria-pressed", "true");
      this.changed(this, words.textContent);
    });
  }

  hideHeat() {
    this.part(".show-heat").setAttribute("aria-pressed", "false");
    this.part(".heat-words").hidden = true;
    this.showPicture();
  }

  async toggleNear(button) {
    const shown = button.getAttribute("aria-expanded") === "true";
    if (shown) {
      button.setAttribute("aria-expanded", "false");
      this.part(".near").hidden = true;
      return;
    }
    await this.busy(button, async (signal) => {
      const near = await ask(`/v1/nearest?count=${NEIGHBOURS}`, { body: this.file, signal });
      const items = near.pictures.map((one) => neighbour(one));
      this.part(".neighbours").replaceChildren(...items.map(({ element }) => element));
      this.part(".near-words").textContent = nearWords(near);
      this.part(".near").hidden = false;
      button.setAttribute("aria-expanded", "true");
      this.changed(this, this.part(".near-words").textContent);
      await Promise.all(items.map((item) => item.load(signal, this.urls)));
    });
  }

  remove() {
    this.aborter.abort();
    this.urls.forEach((url) => URL.revokeObjectURL(url));
    this.state = "removed";
    this.changed(this);
  }
}

function bar(name, share) {
  const item = barTemplate.content.firstElementChild.cloneNode(true);
  item.querySelector(".name").textContent = name;
  item.querySelector(".share").textContent = percent(share);
  item.querySelector(".fill").setAttribute("width", String(100 * share));
  return item;
}

/** A training picture, and what fetches its thumbnail. */
function neighbour({ digest, label, similarity, thumbnail }) {
  const element = neighbourTemplate.content.firstElementChild.cloneNode(true);
  const name = printable(label ?? "");
  element.querySelector(".name").textContent = name || "label not known";
  element.querySelector(".share").textContent = similarity.toFixed(2);
  const [image, none] = [element.querySelector("img"), element.querySelector(".none")];
  image.alt = "";
  none.hidden = thumbnail;
  async function load(signal, urls) {
    if (!thumbnail) return;
    try {
      const url = await pictureAt(`/v1/training/${digest}/thumbnail`, signal);
      urls.push(url);
      image.src = url;
      image.alt = `Training picture${name ? ` of ${name}` : ""}`;
      image.hidden = false;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      none.hidden = false;
    }
  }
  return { element, load };
}

function nearWords({ pictures, reason, same, compared, trained_on: trained }) {
  if (reason) return `There are none to show: ${reason}.`;
  const own = same ? "The model was trained on this very picture. " : "";
  const missing = pictures.some((one) => !one.thumbnail) ? " Some files are not where they were." : "";
  const of = compared < trained ? `${count(compared)} of ${count(trained, "training picture")}` : count(trained, "training picture");
  return `${own}Of ${of}, the most alike for the network; 1.00 is the same.${missing}`;
}

async function pictureOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: "image/jpeg" });
}
