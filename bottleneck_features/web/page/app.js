// The page: pictures in by drop, paste, camera or choice; each becomes a card, all are asked about in turn.

import { ask, Refusal, useToken } from "./api.js";
import { Card } from "./card.js";
import { showModel } from "./model.js";
import { count, printable } from "./wording.js";

const TOP = 5;
const REJECT = "0.95"; // the share of known pictures that keep their label
const REMEMBERED = 5; // sentences that a screen reader can still find
const SPOKEN = 4; // answers that are read out one by one; of more their number is

const [drop, results, section, skip, summary, announce, accept, reject, cannot, retryAll, signIn] = [
  "drop", "results", "pictures", "skip", "summary", "announce", "accept", "reject", "cannot", "retry-all", "sign-in",
].map((id) => document.getElementById(id));
let model = null;
let inPlace = ""; // the digest of the model that answered last
let cards = [];

function questions() {
  const query = new URLSearchParams({ top_k: TOP });
  if (model?.can_accept && accept.value) query.set("accept", accept.value);
  if (model?.can_reject && reject.checked) query.set("reject", REJECT);
  return query.toString();
}

async function add(files) {
  const found = [...files].filter((file) => file.size || file.type);
  if (!found.length) return;
  const added = found.map((file) => new Card(file, questions, changed));
  cards = [...added, ...cards];
  results.prepend(...added.map((card) => card.element));
  speak(`${count(added.length)} added`);
  summarise();
  await known; // what the model can decide is part of the question
  for (const card of added) if (card.state === "waiting") card.predict();
}

function changed(card, words = "") {
  if (card.state === "answered" && !words && card.model !== inPlace) {
    inPlace = card.model; // another one by now
    readModel();
  }
  if (card.state === "removed") forget(card);
  else if (words) speak(words);
  else if (card.state !== "asked") said(card);
  if (card.refusal?.status === 401) signIn.hidden = false;
  if (card.state === "failed" && cannotDecide(card)) card.predict();
  summarise();
}

/** Whether a model refused the decisions that were asked: they are switched off then, and this is said. */
function cannotDecide({ refusal, asked }) {
  const { detail = "", pictures } = refusal.problem;
  if (refusal.status !== 422 || pictures) return false;
  const of = (name) => new URLSearchParams(asked).has(name);
  if (of("reject") && detail.includes("reject")) reject.checked = false;
  else if (of("accept")) accept.value = "";
  else return false;
  cannot.textContent = `Not with this model: ${printable(detail)}.`;
  cannot.hidden = false;
  return true;
}

/** Reads an answer out; where many are on their way, how many are there instead. */
function said(card) {
  if (cards.length <= SPOKEN) speak(card.spoken);
  else speak(cards.some(({ state }) => state === "waiting" || state === "asked") ? progress() : sentenceOf());
}

/** A log of the last words: what comes at once does not drown what came before. */
function speak(words) {
  const said = announce.appendChild(document.createElement("p"));
  said.textContent = words;
  while (announce.children.length > REMEMBERED) announce.firstChild.remove();
}

function forget(card) {
  const at = cards.indexOf(card);
  cards.splice(at, 1);
  const had = card.element.contains(document.activeElement);
  card.element.remove();
  // The one who works by keyboard goes on with the next picture.
  if (had) (cards[Math.min(at, cards.length - 1)]?.element ?? document.getElementById("choose")).focus();
  speak(`${card.name} removed`);
}

function summarise() {
  section.hidden = skip.hidden = !cards.length;
  for (const card of cards) if (card.state === "answered") card.mark(card.model !== inPlace);
  summary.textContent = sentenceOf();
  const failed = cards.filter((card) => card.state === "failed" && card.refusal.passes);
  retryAll.hidden = failed.length < 2;
}

/** "3 of 6 pictures answered", "3 answered, 3 without answer", "6 pictures". */
function progress() {
  const [answered, failed] = ["answered", "failed"].map((state) => cards.filter((card) => card.state === state).length);
  if (answered === cards.length) return count(answered);
  const of = answered + failed < cards.length ? ` of ${count(cards.length)}` : "";
  return `${answered}${of} answered${failed ? `, ${failed} without answer` : ""}`;
}

function sentenceOf() {
  const answered = cards.filter((card) => card.state === "answered" && card.model === inPlace);
  const before = cards.filter((card) => card.state === "answered" && card.model !== inPlace).length;
  const labels = new Map();
  const decisions = new Map();
  for (const { answer, decision } of answered) {
    if (answer.label !== null) labels.set(answer.label, (labels.get(answer.label) ?? 0) + 1);
    if (decision) decisions.set(decision, (decisions.get(decision) ?? 0) + 1);
  }
  const named = [...labels].sort((one, other) => other[1] - one[1]).slice(0, 4);
  const parts = [
    progress(),
    named.map(([label, number]) => `${number} ${printable(label)}`).join(", "),
    ["accept", "review", "unknown"]
      .filter((word) => decisions.has(word))
      .map((word) => `${decisions.get(word)} ${{ accept: "accepted", review: "to be reviewed", unknown: "unknown" }[word]}`)
      .join(", "),
    before ? `${before} by the model before` : "",
  ];
  return parts.filter(Boolean).join(" · ");
}

function askAgain(which) {
  for (const card of cards.filter(which)) card.predict();
}

async function readModel() {
  const trouble = document.getElementById("no-model");
  trouble.hidden = true;
  try {
    model = await ask("/v1/model");
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    signIn.hidden = error.status !== 401;
    if (error.status !== 401) trouble.textContent = error.message;
    trouble.hidden = error.status === 401;
    return;
  }
  signIn.hidden = true;
  inPlace = model.digest;
  showModel(model);
  summarise();
  document.getElementById("decide").hidden = !(model.can_accept || model.can_reject);
  document.querySelector(".of-accept").hidden = !model.can_accept;
  document.querySelector(".of-reject").hidden = !model.can_reject;
}

if (navigator.maxTouchPoints) { // a phone or a tablet: it has a camera, and nothing is dropped or pasted there
  document.getElementById("camera").hidden = false;
  document.getElementById("invitation").textContent = "Show it a picture.";
}
for (const id of ["choose", "photograph"]) {
  document.getElementById(id).addEventListener("change", ({ target }) => {
    add(target.files);
    target.value = ""; // the same picture may be chosen again
  });
}
document.addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData?.files.length) add(clipboardData.files);
});
// Dropped beside the field, a picture would replace the page.
for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  drop.classList.remove("over");
  add(event.dataTransfer.files);
});
for (const control of [accept, reject]) {
  control.addEventListener("change", () => {
    cannot.hidden = true;
    askAgain((card) => card.answer || card.state === "asked");
  });
}
retryAll.addEventListener("click", () => {
  section.focus(); // the button goes
  askAgain((card) => card.state === "failed" && card.refusal.passes);
});
document.getElementById("clear").addEventListener("click", () => {
  [...cards].forEach((card) => card.remove());
  document.getElementById("choose").focus();
});
signIn.addEventListener("submit", async (event) => {
  event.preventDefault();
  const wrong = signIn.querySelector(".error");
  wrong.hidden = true; // what is shown once more is read out once more
  useToken(document.getElementById("token").value.trim());
  await readModel();
  wrong.hidden = signIn.hidden;
  if (!signIn.hidden) return;
  (cards.length ? section : document.getElementById("choose")).focus(); // the form goes
  if (model) speak("Signed in");
  askAgain((card) => card.refusal?.status === 401);
});
const known = readModel();
