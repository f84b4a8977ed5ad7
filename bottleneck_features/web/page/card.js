// One picture on the page: what the service says of it, and why on demand.

import { ask, askPatiently, pictureAt, Refusal } from "./api.js";
import { DECISIONS, count, percent, printable } from "./wording.js";

const BARS = 5;
const NEIGHBOURS = 6;
const LARGEST = 900; // pixels of the longer side of a picture with its heat map
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
    this.answer = null; // as /v1/predict has it, of the picture
    this.decision = null;
    this.model = null; // the digest of the one that answered
    this.refusal = null;
    this.element = cardTemplate.content.firstElementChild.cloneNode(true);
    this.urls = [];
    this.aborter = new AbortController();
    this.part(".file bdi").textContent = this.name;
    this.part(".remove").setAttribute("aria-label", `Remove ${this.name}`);
    this.showPicture();
    this.on(".retry", () => {
      this.element.focus(); // the button goes
      this.predict();
    });
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
    image.addEventListener("error", () => this.cannotShow(), { once: true });
    image.alt = this.name;
    image.src = this.url(this.file);
  }

  cannotShow() {
    this.part(".picture").hidden = true;
    this.part(".gone").hidden = false;
  }

  async predict() {
    this.aborter.abort();
    this.aborter = new AbortController();
    const { signal } = this.aborter;
    [this.answer, this.refusal] = [null, null];
    this.asked = this.questions();
    this.say("asked", "Waiting for its answer");
    try {
      const found = await ask(`/v1/predict?${this.asked}`, { body: this.file, signal });
      [this.answer] = found.answers;
      if (this.model !== found.model.digest) this.forgetReasons();
      this.model = found.model.digest;
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
    const shown = ["before", "verdict", "decision", "bars", "show-heat", "show-near"];
    for (const name of shown) this.part(`.${name}`).hidden = true;
  }

  fail(refusal) {
    this.say("failed", "");
    this.forgetReasons();
    this.refusal = refusal;
    this.complain(refusal.message);
    this.part(".retry").hidden = !refusal.passes;
  }

  /** What explained an answer does not explain the next model's. */
  forgetReasons() {
    this.heat = null;
    this.showHeat(false);
    this.showNear(false);
  }

  /** Says whether an answer is of a model before; the one in place can answer anew, not give reasons for it. */
  mark(before) {
    this.part(".before").hidden = this.part(".retry").hidden = !before;
    this.part(".show-heat").hidden = this.part(".show-near").hidden = before;
    if (before) this.forgetReasons();
  }

  complain(words) {
    const line = this.part(".error");
    line.textContent = words;
    line.hidden = !words;
  }

  showAnswer() {
    const { label, labels, would_be_labels: guesses, decision } = this.answer;
    const shown = label === null ? guesses : labels;
    this.say("answered", "");
    this.part(".verdict .label").textContent = label === null ? "No label" : printable(label);
    this.part(".verdict .share").textContent = label === null ? "" : percent(shown[0].probability);
    this.part(".verdict").hidden = false;
    this.decision = decision ?? (label === null ? "unknown" : null);
    this.showDecision(this.decision);
    this.part(".bars").replaceChildren(...shown.map((one) => bar(printable(one.label), one.probability)));
    this.part(".bars").hidden = false;
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
    const parts = [".verdict .label", ".verdict .share", ".decision strong"].map((one) => this.part(one).textContent);
    const [label, share, decision] = parts;
    return [`${this.name}: ${label}`, share, this.decision && decision].filter(Boolean).join(", ");
  }

  /** Runs `job` while `button` says that it is busy; what is refused is said on the card. */
  async busy(button, job) {
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    this.changed(this, `${button.textContent} is on its way`);
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
      this.showHeat(false);
      return;
    }
    await this.busy(button, async (signal) => {
      this.heat ??= await askPatiently("/v1/heatmap", { body: this.file, signal });
      await this.drawHeat();
      const { label, place, exact, whole } = this.heat;
      const from = place === "nowhere" ? "No part of the picture speaks for" : `Where it sees`;
      const where = ["upper", "lower", "left", "right"].includes(place) ? `${place} part` : place;
      const most = place === "nowhere" ? "." : `: most of all in the ${where}.`;
      const how = exact ? "" : " Measured by hiding one part after the other.";
      const part = whole ? "" : " The network sees this part of the picture alone.";
      const words = this.part(".heat-words");
      words.textContent = `${from} ${printable(label)}${most}${how}${part}`;
      this.changed(this, words.textContent);
    });
  }

  /** The map over the picture; over what the network sees of it where the browser has not the whole picture. */
  async drawHeat() {
    const [image, canvas] = [this.part(".picture"), this.part(".heat")];
    const own = this.heat.whole && !image.hidden;
    const [under, over] = await Promise.all([own ? image : decoded(this.heat.seen, "jpeg"), decoded(this.heat.map, "png")]);
    const [width, height] = [under.naturalWidth || under.width, under.naturalHeight || under.height];
    const scale = Math.min(1, LARGEST / Math.max(width, height));
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const context = canvas.getContext("2d");
    context.drawImage(under, 0, 0, canvas.width, canvas.height);
    context.drawImage(over, 0, 0, canvas.width, canvas.height);
    canvas.setAttribute("aria-label", `${this.name} with the heat map of ${printable(this.heat.label)}`);
    this.showHeat(true);
  }

  showHeat(shown) {
    this.part(".heat").hidden = !shown;
    this.part(".own").hidden = shown;
    this.part(".heat-words").hidden = !shown;
    this.part(".show-heat").setAttribute("aria-pressed", String(shown));
  }

  async toggleNear(button) {
    if (button.getAttribute("aria-expanded") === "true") {
      this.showNear(false);
      return;
    }
    await this.busy(button, async (signal) => {
      const near = await askPatiently(`/v1/nearest?count=${NEIGHBOURS}`, { body: this.file, signal });
      const items = near.pictures.map((one) => neighbour(one));
      this.part(".neighbours").replaceChildren(...items.map(({ element }) => element));
      this.part(".near-words").textContent = nearWords(near);
      this.showNear(true);
      this.changed(this, this.part(".near-words").textContent);
      await Promise.all(items.map((item) => item.load(signal, this.urls)));
    });
  }

  showNear(shown) {
    this.part(".near").hidden = !shown;
    this.part(".show-near").setAttribute("aria-expanded", String(shown));
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

function decoded(base64, kind) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: `image/${kind}` }));
}
