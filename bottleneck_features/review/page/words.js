// Numbers and names as the page says them, and small helpers for elements.

const NUMBERS = new Intl.NumberFormat("en");
const REMEMBERED = 5; // sentences that a screen reader can still find

export const STATES = [
  { name: "not sure", key: "u" },
  { name: "none of these", key: "x" },
];

/** "98.8%". Only 0 is "0.0%" and only 1 is "100.0%": 0.9999 is ">99.9%", without digits ">99%". */
export function percent(share, digits = 1) {
  const [text, step] = [(100 * share).toFixed(digits), 10 ** -digits];
  if (share > 0 && Number(text) === 0) return `<${step}%`;
  if (share < 1 && Number(text) === 100) return `>${(100 - step).toFixed(digits)}%`;
  return `${text}%`;
}

/** "1 picture", "1,200 pictures". */
export function count(number, noun = "picture") {
  return `${NUMBERS.format(number)} ${noun}${number === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
}

export function number(value) {
  return NUMBERS.format(value);
}

/** "Words." of "words". */
export function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

/** A name with every invisible character, and what turns a line around, as its escape. */
export function printable(text) {
  return text.replace(/(?![\u200c\u200d])[\p{C}\p{Zl}\p{Zp}]/gu, (sign) => `\\u{${sign.codePointAt(0).toString(16)}}`);
}

export function byId(id) {
  return document.getElementById(id);
}

/** An element: attributes by name, children that are elements or texts. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

/** A name in an element of its own direction. */
export function named(text) {
  return element("bdi", {}, printable(text));
}

export function button(words, act, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, words);
  made.addEventListener("click", act);
  return made;
}

/** The key of each class: digits for the first ten, then a free letter, of its name where one is. */
export function keysOf(classes) {
  const taken = new Set("zoklnuxr");
  const keys = new Map();
  classes.forEach((name, at) => {
    const letters = [...name.toLowerCase(), ..."abcdefghijklmnopqrstuvwxyz"];
    const key = at < 10 ? "1234567890"[at] : letters.find((letter) => /^[a-z]$/.test(letter) && !taken.has(letter));
    if (!key) return;
    taken.add(key);
    keys.set(key, name);
  });
  return keys;
}

/** Tell those who hear the page. It is a log of the last words: what comes at once does not drown what came before. */
export function announce(words) {
  const log = byId("announce");
  log.append(element("p", {}, words));
  while (log.children.length > REMEMBERED) log.firstChild.remove();
}
