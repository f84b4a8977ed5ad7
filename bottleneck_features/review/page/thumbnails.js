// Small pictures: asked for many at once, kept as long as there is room.

import { postForBytes, Refusal } from "./api.js";

const MOST = 3000;
const AT_ONCE = 50;
const urls = new Map(); // picture -> object URL, "" for none; the one used last comes last
const waiting = new Map(); // picture -> images to fill

/** Show a picture in an image element, now or when it is there. */
export function show(image, picture) {
  image.dataset.picture = picture;
  if (urls.has(picture)) {
    fill(image, picture);
    return;
  }
  if (!waiting.size) queueMicrotask(fetchWaiting);
  waiting.set(picture, [...(waiting.get(picture) ?? []), image]);
}

async function fetchWaiting() {
  const asked = new Map(waiting);
  waiting.clear();
  const pictures = [...asked.keys()];
  const parts = [];
  for (let at = 0; at < pictures.length; at += AT_ONCE) parts.push(pictures.slice(at, at + AT_ONCE));
  await Promise.all(parts.map((part) => fetchSome(part, asked)));
  trim();
}

async function fetchSome(pictures, asked) {
  let bytes;
  try {
    bytes = await postForBytes("/v1/thumbnails", { pictures });
  } catch (error) {
    if (error instanceof Refusal) return; // tiles stay without picture; the next view asks again
    throw error;
  }
  const view = new DataView(bytes);
  let at = 0;
  for (const picture of pictures) {
    const length = view.getUint32(at, true);
    const file = new Blob([new Uint8Array(bytes, at + 4, length)], { type: "image/webp" });
    urls.set(picture, length ? URL.createObjectURL(file) : "");
    at += 4 + length;
    for (const image of asked.get(picture)) if (Number(image.dataset.picture) === picture) fill(image, picture);
  }
}

function fill(image, picture) {
  const url = urls.get(picture);
  urls.delete(picture);
  urls.set(picture, url);
  image.classList.toggle("gone", !url);
  if (url) image.src = url;
  else image.removeAttribute("src");
}

function trim() {
  const shown = new Set([...document.querySelectorAll("img[data-picture]")].map((one) => Number(one.dataset.picture)));
  for (const [picture, url] of urls) {
    if (urls.size <= MOST) return;
    if (shown.has(picture)) continue;
    if (url) URL.revokeObjectURL(url);
    urls.delete(picture);
  }
}
