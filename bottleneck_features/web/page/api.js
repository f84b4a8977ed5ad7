// Requests to the service that this page came from: at most two on their way, errors in words.

const MOST_IN_FLIGHT = 2;
const TRIES = 60;
const WORDS = {
  400: "The service could not make anything of this request.",
  401: "The service asks for its token.",
  403: "The service does not answer pages from elsewhere.",
  408: "The picture took too long to arrive.",
  413: "This picture is more than the service takes.",
  415: "The service does not take this kind of file.",
  422: "There is no answer.",
  429: "The service has too many requests of yours.",
  503: "The service is busy.",
};

let token = "";
let inFlight = 0;
const line = [];

/** Why there is no answer, in words. status: of HTTP, 0 where nothing answered; problem: what the
 * service says; wait: for so many seconds, as it asks. */
export class Refusal extends Error {
  constructor(status, message, { problem = {}, wait = 0 } = {}) {
    super(message);
    this.status = status;
    this.problem = problem;
    this.wait = wait;
  }
  /** Whether the same request may be answered another time. */
  get passes() {
    return [0, 401, 408, 429].includes(this.status) || this.status >= 500;
  }
}

export function useToken(text) {
  token = text;
}

/** The JSON of `GET path`, or of `POST path` with a file as its body. Throws Refusal, or AbortError. */
export async function ask(path, { body, signal } = {}) {
  const response = await inTurn(signal, () => send(path, { body, signal, cache: "no-store" }));
  return response.json();
}

/** As `ask`; while the service is busy it is asked again after the time that it names, `TRIES` times. */
export async function askPatiently(path, options) {
  for (let left = TRIES; ; left -= 1) {
    try {
      return await ask(path, options);
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 503 || !left) throw error;
      await pause(error.wait || 1, options.signal);
    }
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => reject(signal.reason));
  });
}

/** The object URL of a picture that the service has. Whoever takes it revokes it. */
export async function pictureAt(path, signal) {
  const response = await inTurn(signal, () => send(path, { signal }));
  return URL.createObjectURL(await response.blob());
}

async function inTurn(signal, job) {
  if (inFlight < MOST_IN_FLIGHT) inFlight += 1;
  else await place(signal); // whoever is done hands over
  try {
    signal?.throwIfAborted();
    return await job();
  } finally {
    const next = line.shift();
    if (next) next();
    else inFlight -= 1;
  }
}

/** Resolves when it is its turn; whoever is aborted leaves the line. */
function place(signal) {
  return new Promise((resolve, reject) => {
    line.push(resolve);
    signal?.addEventListener("abort", () => {
      const at = line.indexOf(resolve);
      if (at >= 0) line.splice(at, 1);
      reject(signal.reason);
    });
  });
}

async function send(path, { body, signal, cache }) {
  const headers = { accept: "application/json, image/*" };
  if (token) headers.authorization = `Bearer ${token}`;
  if (body) headers["content-type"] = "application/octet-stream";
  const options = { method: body ? "POST" : "GET", headers, body, signal, cache, redirect: "error" };
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (body && !(await readable(body))) throw new Refusal(422, "The browser can no longer read this file.");
    throw new Refusal(0, "The service does not answer. Is it still running?");
  }
  if (!response.ok) throw await refusal(response);
  // The body is read here: as long as it comes, the request is on its way.
  const blob = await response.blob();
  return new Response(blob, { headers: response.headers });
}

/** A file that was moved or changed since it was chosen cannot be sent. */
async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

async function refusal(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // a proxy in between may answer with a page of its own
  }
  const wait = Number(response.headers.get("retry-after"));
  const words = [
    WORDS[response.status] ?? `The service answers with an error (${response.status}).`,
    problem.detail ? `It says: ${sentence(problem.detail)}` : "",
    wait ? `It asks to wait ${wait} s.` : "",
  ];
  return new Refusal(response.status, words.filter(Boolean).join(" "), { problem, wait });
}

function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
