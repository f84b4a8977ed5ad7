// Requests to the program that this page came from. The token stands in the address after #, which is never sent, and
// behind it what to open first: "#token&queue=doubt", "#token&queue=search&text=cat.1.jpg".

import { sentence } from "./words.js";

const [key, ...others] = location.hash.slice(1).split("&");
const token = decodeURIComponent(key);
export const asked = new URLSearchParams(others.join("&"));

/** Why something was not done, in words. status: of HTTP, 0 where nothing answered. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The JSON of `GET path?query`; members that are undefined are left out. */
export async function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const text = given.length ? `?${new URLSearchParams(given)}` : "";
  return (await send(path + text, { method: "GET" })).json();
}

/** The JSON of `POST path`. */
export async function post(path, body = {}) {
  return (await send(path, posted(body))).json();
}

/** The bytes of `POST path`. */
export async function postForBytes(path, body) {
  return (await send(path, posted(body))).arrayBuffer();
}

/** The file of `GET path`, as a Blob. */
export async function blob(path) {
  return (await send(path, { method: "GET" })).blob();
}

function posted(body) {
  return { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } };
}

async function send(path, options) {
  const headers = { ...options.headers, authorization: `Bearer ${token}` };
  let response;
  try {
    response = await fetch(path, { ...options, headers, redirect: "error", cache: "no-store" });
  } catch {
    throw new Refusal(0, "The program does not answer. Is it still running? Labels that were confirmed are kept.");
  }
  if (response.ok) return response;
  if (response.status === 401) throw new Refusal(401, "This address lacks the token: open the one that was printed.");
  let said = "";
  try {
    said = (await response.json()).detail ?? "";
  } catch {
    // no words of the program's own
  }
  throw new Refusal(response.status, said ? sentence(said) : `The program answers with an error (${response.status}).`);
}
