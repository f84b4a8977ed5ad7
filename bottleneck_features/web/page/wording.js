// Numbers, names and decisions as the page says them.

const NUMBERS = new Intl.NumberFormat("en");

/** "98.8%". Only 0 is "0.0%" and only 1 is "100.0%": 0.9999 is ">99.9%". */
export function percent(share) {
  if (share > 0 && share < 0.0005) return "<0.1%";
  if (share >= 0.9995 && share < 1) return ">99.9%";
  return `${(100 * share).toFixed(1)}%`;
}

/** "1 picture", "1,200 pictures". */
export function count(number, noun = "picture") {
  return `${NUMBERS.format(number)} ${noun}${number === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
}

/** A name with every invisible character, and what turns a line around, as its escape. */
export function printable(text) {
  return text.replace(/(?![\u200c\u200d])[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    `\\u{${character.codePointAt(0).toString(16)}}`);
}

/** What a decision is called, and what follows from it. */
export const DECISIONS = {
  accept: ["Accepted", "Answers as sure as this one are right as often as asked."],
  review: ["To be reviewed", "The model is not sure enough: somebody should look."],
  unknown: ["Unknown", "It is unlike all pictures of the training: the answer would be a guess."],
};

/** A date such as "29 November 2026"; "" for what is none. */
export function day(text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return "";
  return date.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
}
