// Asks the service and shows what it says. Texts of documents and answers are only ever set as
// text, so that nothing in them becomes a part of the page.

const METHODS = {
  closed_book: "the model alone",
  rag: "documents in the prompt",
  prag: "documents in the weights",
  combine: "documents in both",
};
const MERGING = ["prag", "combine"];
// Pause after the last move of a slider, in milliseconds.
const SETTLED = 250;

const $ = (id) => document.getElementById(id);
const cards = {};
// Answers that are on their way, by the place they go to.
const running = new Map();
let asked = "";
let token = "";
let shown = [];

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

// ------------------------------------------------------------------- talking to the service

async function call(path, body, signal) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body),
  });
  if (response.ok) return response;
  const said = await response.json().catch(() => null);
  if (response.status === 401) $("key-section").hidden = false;
  throw new Error(said?.error?.message ?? `the service answered ${response.status}`);
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split("\n\n");
    rest = lines.pop();
    for (const line of lines) {
      const data = line.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

// Asks one method, calls `onText` with the text so far, and returns how the answer came about.
// A later question for the same place stops this one.
async function stream(place, method, weights, onText) {
  running.get(place)?.abort();
  const controller = new AbortController();
  running.set(place, controller);
  const body = { model: method, stream: true, messages: [{ role: "user", content: asked }] };
  if (weights) body.prag = { weights };
  let text = "", result = null;
  const response = await call("v1/chat/completions", body, controller.signal);
  for await (const event of events(response)) {
    const choice = event.choices[0];
    text += choice?.delta.content ?? "";
    result = event.prag ?? result;
    onText(text);
  }
  if (running.get(place) === controller) running.delete(place);
  return { text, ...result };
}

// ------------------------------------------------------------------- answers

function makeCards() {
  for (const [method, what] of Object.entries(METHODS)) {
    const card = element("article", "card");
    const title = element("h3", "", method);
    title.id = `title-${method}`;
    card.setAttribute("aria-labelledby", title.id);
    const answer = element("p", "answer");
    const whole = element("p", "whole");
    const time = element("p", "time");
    card.append(title, element("p", "what", what), answer, whole, time);
    $("answers").append(card);
    cards[method] = { card, answer, whole, time };
  }
}

async function answer(method, weights) {
  const { card, answer, whole, time } = cards[method];
  const begun = performance.now();
  card.classList.add("busy");
  card.setAttribute("aria-busy", "true");
  answer.classList.remove("problem");
  answer.textContent = whole.textContent = time.textContent = "";
  try {
    const said = await stream(method, method, weights, (text) => { answer.textContent = text; });
    answer.textContent = said.prediction || said.text || "(nothing)";
    const adds = said.text.replace(/\.$/, "") !== said.prediction;
    whole.textContent = adds ? `in full: ${said.text}` : "";
    time.textContent = `${((performance.now() - begun) / 1000).toFixed(2)} s`;
    settle(card);
    return said;
  } catch (error) {
    if (error.name === "AbortError") return null;
    answer.classList.add("problem");
    answer.textContent = error.message;
    settle(card);
    return null;
  }
}

function settle(card) {
  card.classList.remove("busy");
  card.removeAttribute("aria-busy");
}

async function ask() {
  asked = $("question").value.trim();
  if (!asked) return;
  $("problem").textContent = "";
  $("stranger-answer").textContent = "";
  $("status").textContent = "Four methods answer …";
  const said = await Promise.all(Object.keys(METHODS).map((method) => answer(method, null)));
  $("status").textContent = "";
  if (said.every((one) => one === null)) return;
  tell(Object.keys(METHODS), said);
  showDocuments(said.filter(Boolean));
}

// Says in one go what screen readers would otherwise hear piece by piece.
function tell(methods, said) {
  const parts = methods.map((method, number) => said[number] &&
    `${method}: ${said[number].prediction || said[number].text}`);
  $("said").textContent = parts.filter(Boolean).join("; ");
}

// ------------------------------------------------------------------- documents and weights

function showDocuments(said) {
  const byId = new Map();
  for (const { documents } of said) {
    for (const found of documents) {
      const known = byId.get(found.id) ?? found;
      byId.set(found.id, { ...known, weight: known.weight ?? found.weight,
        has_adapter: known.has_adapter ?? found.has_adapter });
    }
  }
  shown = [...byId.values()];
  $("behind").hidden = false;
  $("documents").replaceChildren(...shown.map(documentRow));
  if (!shown.length) $("documents").append(element("li", "hint", "No document was found."));
  fillStrangers();
}

function documentRow(found, number) {
  const row = element("li", "document");
  const about = element("div");
  const title = element("h3", "", found.title || found.id);
  if (found.score !== null) {
    title.append(" ", element("span", "score", `score ${found.score.toFixed(2)}`));
  }
  about.append(title, element("p", "text", found.text));
  row.append(about, weightControl(found, number));
  return row;
}

function weightControl(found, number) {
  const box = element("div", "weight");
  if (found.weight === null) {
    box.append(element("p", "hint", found.has_adapter === false ? "has no adapter yet" : ""));
    return box;
  }
  const label = element("label", "", "Weight ");
  label.htmlFor = `weight-${number}`;
  const value = element("output", "", found.weight.toFixed(2));
  value.htmlFor = label.htmlFor;
  label.append(value);
  const slider = element("input");
  Object.assign(slider, { type: "range", id: label.htmlFor, min: "0", max: "2", step: "0.05" });
  slider.value = String(found.weight);
  slider.dataset.document = found.id;
  slider.setAttribute("aria-label", `Weight of ${found.title || found.id}`);
  slider.addEventListener("input", () => {
    value.textContent = Number(slider.value).toFixed(2);
    answerSoon();
  });
  box.append(label, slider);
  return box;
}

let pause = 0;
function answerSoon() {
  clearTimeout(pause);
  pause = setTimeout(answerWithWeights, SETTLED);
}

async function answerWithWeights() {
  const sliders = [...document.querySelectorAll("#documents input[type=range]")];
  const weights = Object.fromEntries(
    sliders.map((slider) => [slider.dataset.document, Number(slider.value)]));
  const said = await Promise.all(MERGING.map((method) => answer(method, weights)));
  if (said.some(Boolean)) tell(MERGING, said);
}

async function backToOwnWeights() {
  const said = await Promise.all(MERGING.map((method) => answer(method, null)));
  if (said.some(Boolean)) { tell(MERGING, said); showDocuments(said.filter(Boolean)); }
}

// ------------------------------------------------------------------- the control

let encoded = [];

function fillStrangers() {
  const behind = new Set(shown.map((found) => found.id));
  const others = encoded.filter((one) => one.state === "stored" && !behind.has(one.id));
  const chosen = $("stranger").value;
  $("stranger").replaceChildren(...others.map((one) => {
    const option = element("option", "", one.title || one.id);
    option.value = one.id;
    return option;
  }));
  if (others.some((one) => one.id === chosen)) $("stranger").value = chosen;
  $("ask-stranger").disabled = !others.length;
}

async function askStranger() {
  const place = $("stranger-answer");
  place.classList.remove("problem");
  place.textContent = "";
  try {
    const weights = { [$("stranger").value]: 1 };
    const said = await stream("stranger", "prag", weights, () => {});
    place.textContent = said.prediction || said.text || "(nothing)";
  } catch (error) {
    if (error.name === "AbortError") return;
    place.classList.add("problem");
    place.textContent = error.message;
  }
}

// ------------------------------------------------------------------- what is encoded

const STATES = { waiting: "waits", encoding: "is being encoded", stored: "encoded",
  failed: "failed", not_encoded: "not encoded" };

async function showEncoded() {
  const { data, num_stored: count } = await (await call("v1/documents?limit=200")).json();
  encoded = data;
  const plural = count === 1 ? "document has" : "documents have";
  $("encoded-count").textContent = `${count} ${plural} an adapter; the latest first.`;
  $("encoded").replaceChildren(...data.map(encodedRow));
  fillStrangers();
  return data.some((one) => one.state === "waiting" || one.state === "encoding");
}

function encodedRow(one) {
  const row = element("tr");
  const done = one.progress ? ` (${Math.round(100 * one.progress)} %)` : "";
  const state = STATES[one.state] + done + (one.problem ? `: ${one.problem}` : "");
  const time = element("time");
  const when = one.finished ?? one.accepted;
  if (when) {
    time.dateTime = when;
    time.textContent = new Date(when).toLocaleString(undefined,
      { dateStyle: "medium", timeStyle: "short" });
  }
  const cell = element("td");
  cell.append(time);
  row.append(element("td", "", one.title || one.id), element("td", "", state), cell);
  return row;
}

async function addDocument() {
  const body = { title: $("add-title").value, text: $("add-text").value };
  try {
    const made = await (await call("v1/documents", body)).json();
    $("add-status").textContent = `It ${STATES[made.state]}; the table says when it is done.`;
    $("add").reset();
    watch();
  } catch (error) {
    $("add-status").textContent = error.message;
  }
}

let isWatching = false;
async function watch() {
  if (isWatching) return;
  isWatching = true;
  try {
    while (await showEncoded()) await sleep(1000);
  } finally {
    isWatching = false;
  }
}

const sleep = (milliseconds) => new Promise((go) => setTimeout(go, milliseconds));

// ------------------------------------------------------------------- beginning

async function begin() {
  for (;;) {
    const { status } = await (await fetch("health")).json();
    if (status === "ready") break;
    $("status").textContent = "The run is being loaded …";
    await sleep(500);
  }
  $("status").textContent = "";
  try {
    await watch();
  } catch (error) {
    $("problem").textContent = error.message;
  }
}

function on(id, event, act) {
  $(id).addEventListener(event, (given) => { given.preventDefault(); act(); });
}

makeCards();
on("ask", "submit", ask);
on("reset", "click", backToOwnWeights);
on("ask-stranger", "click", askStranger);
on("add", "submit", addDocument);
on("key-form", "submit", () => {
  token = $("key").value;
  $("key-section").hidden = true;
  begin();
});
begin();
