// The page: what was typed is asked, what was answered is shown. Whatever comes from a person or
// from the server is put in as text, never as markup.

import { bodyOf, curlFor, passagesOf, visible } from "./reading.js";

const SHOWN = 400; // characters of a passage that are shown before somebody wants all of it
const CURL_SHOWN = 20_000; // characters of the command that are shown; all of it is copied
const PAUSE = 2000; // milliseconds between two looks at a server that is not ready
const at = (id) => document.getElementById(id);

const page = {
  language: navigator.languages.find((one) => /^(zh|en)/i.test(one))?.slice(0, 2).toLowerCase() ?? "en",
  texts: {},
  state: "unknown", // of the server
  about: {},
  asked: null, // the last request: passages, body
  answer: null, // what came of it
  error: null, // or why nothing did
  running: null, // what stops the request that is under way
  curl: "",
  next: 0, // look at the server
  outcome: "nothing",
};

// -- words ------------------------------------------------------------------------------------------

function say(name, values = {}) {
  const text = page.texts[page.language][name];
  return text.replace(/\{(\w+)\}/g, (_, value) => {
    const given = values[value];
    return typeof given === "number" ? given.toLocaleString(page.language) : given;
  });
}

function make(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// Setting what is there already would have a screen reader say it again.
function write(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

// -- the server -------------------------------------------------------------------------------------

const url = (path) => new URL(path, document.baseURI).href;

function headers() {
  const key = at("key").value.trim();
  return key ? { authorization: `Bearer ${key}` } : {};
}

async function fetched(path, options = {}) {
  const answer = await fetch(url(path), { cache: "no-store", credentials: "same-origin", ...options });
  const body = await answer.json().catch(() => ({}));
  return { status: answer.status, retry: answer.headers.get("retry-after"), body };
}

async function look() {
  try {
    page.state = (await fetched("health")).body.status ?? "gone";
    const wanted = (await fetched("v1/cluster/auth")).body.auth;
    at("key-field").hidden = !wanted;
    if (!wanted || at("key").value) {
      const { status, body } = await fetched("version", { headers: headers() });
      page.about = status === 200 ? body : {};
    }
  } catch {
    page.state = "gone";
  }
  showState();
  clearTimeout(page.next);
  if (page.state !== "ready") page.next = setTimeout(look, PAUSE);
}

// -- a request --------------------------------------------------------------------------------------

function missing(id, isMissing) {
  write(`${id}-wrong`, isMissing ? say(`${id}_missing`) : "");
  at(id).setAttribute("aria-invalid", isMissing);
  return isMissing;
}

async function rank() {
  const passages = passagesOf(at("passages").value);
  const wrong = [
    missing("query", !at("query").value.trim()) && "query",
    missing("passages", !passages.length) && "passages",
  ].find(Boolean);
  if (wrong) {
    at(wrong).focus();
    return;
  }
  const body = bodyOf(at("query").value, passages, at("instruction").value);
  const running = new AbortController();
  Object.assign(page, { asked: { passages, body }, answer: null, error: null, running, outcome: "running" });
  show();
  const began = performance.now();
  try {
    const said = await fetched("v1/rerank", {
      method: "POST",
      headers: { "content-type": "application/json", ...headers() },
      body: JSON.stringify(body),
      signal: running.signal,
    });
    page.outcome = "done";
    if (said.status === 200 && Array.isArray(said.body.results)) {
      page.answer = { ...said.body, ms: Math.round(performance.now() - began) };
    } else {
      page.error = said;
    }
  } catch {
    page.outcome = running.signal.aborted ? "stopped" : "done";
    page.error = running.signal.aborted ? null : { status: 0 };
  }
  page.running = null;
  show();
  if (page.error?.status === 401) {
    at("key-field").hidden = false;
    at("key").focus();
  } else {
    at("ranking").scrollIntoView({ block: "nearest" });
  }
  if (page.error) look();
}

// -- what is shown ----------------------------------------------------------------------------------

function showTexts() {
  document.documentElement.lang = page.language === "zh" ? "zh-Hans" : "en";
  at("language").value = page.language;
  for (const one of document.querySelectorAll("[data-text]")) one.textContent = say(one.dataset.text);
  for (const id of ["query", "passages"]) if (at(`${id}-wrong`).textContent) missing(id, true);
}

function showCount() {
  write("count", say("count", { count: passagesOf(at("passages").value).length }));
}

function verdict({ selfcheck: level }) {
  if (level === "off") return say("selfcheck_off");
  const kind = { ready: "passed", failing: "failing", gone: "failing" }[page.state] ?? "starting";
  return say(`selfcheck_${kind}`, { level });
}

function showState() {
  const about = page.about;
  at("state").className = page.state;
  const named = page.state === "ready" && about.model;
  write("state", named ? say("ready_with", { model: about.model }) : say(`state_${page.state}`));
  const rows = about.version
    ? {
        model: about.root === "lexical" ? say("lexical", { model: about.model }) : about.model,
        engine: about.engine,
        versions: about.runs_on,
        device: about.device && `${about.device}, ${about.dtype}`,
        replicas: about.replicas > 1 && say("replicas_up", { up: about.replicas_up, count: about.replicas }),
        max_length: about.max_length && say("tokens", { count: about.max_length }),
        gateway: about.version,
        selfcheck: verdict(about),
      }
    : {};
  at("about-server").hidden = !about.version;
  at("about").replaceChildren(
    ...Object.entries(rows)
      .filter(([, value]) => value)
      .flatMap(([name, value]) => [make("dt", say(name)), make("dd", value)]),
  );
}

function errorText({ status, body, retry }) {
  if (!status) return say("unreachable");
  if (status === 401) return say("key_wrong");
  const reason = body?.error?.message ?? say("no_answer");
  const again = retry ? ` ${say("again_in", { seconds: retry })}` : "";
  return say("refused", { status: String(status), reason: visible(reason) }) + again;
}

function summary() {
  const { answer, asked, outcome } = page;
  if (page.error) return "";
  if (outcome === "running") return say("running", { count: asked.passages.length });
  if (!answer) return say(outcome);
  const [first] = answer.results;
  const values = { count: answer.results.length, ms: answer.ms, place: first && first.index + 1 };
  return say(first ? "best" : "done", values);
}

// Places are counted in characters, of which some are two in a text of JavaScript's.
function parts(text, [start, end]) {
  const characters = Array.from(text);
  return [[0, start], [start, end], [end]].map((place) => characters.slice(...place).join(""));
}

// Of a long document the passage that the score is of, marked in all of the text if wanted.
function markedText(text, span) {
  const [before, best, after] = parts(text, span);
  const shown = make("p", "", "text");
  shown.dir = "auto";
  const button = make("button", "", "more");
  button.type = "button";
  const open = (all) => {
    const mark = make("mark", visible(all || best.length <= SHOWN ? best : `${best.slice(0, SHOWN)} …`));
    shown.replaceChildren(...(all ? [visible(before), mark, visible(after)] : [mark]));
    button.textContent = all ? say("less") : say("all", { count: text.length });
    button.setAttribute("aria-expanded", all);
  };
  button.addEventListener("click", () => open(button.getAttribute("aria-expanded") === "false"));
  open(false);
  return [shown, button];
}

// Of a text of megabytes no more is laid out than somebody wants to see.
function passageText(text, span) {
  if (span) return markedText(text, span);
  const shown = make("p", "", "text");
  shown.dir = "auto";
  if (text.length <= SHOWN) {
    shown.textContent = visible(text);
    return [shown];
  }
  const button = make("button", "", "more");
  button.type = "button";
  const open = (all) => {
    shown.textContent = all ? visible(text) : `${visible(text.slice(0, SHOWN))} …`;
    button.textContent = all ? say("less") : say("all", { count: text.length });
    button.setAttribute("aria-expanded", all);
  };
  button.addEventListener("click", () => open(button.getAttribute("aria-expanded") === "false"));
  open(false);
  return [shown, button];
}

function resultRow(row) {
  const made = make("li");
  const head = make("div", "", "head");
  head.append(make("span", say("passage", { place: row.index + 1 }), "which"));
  if (row.truncated) head.append(make("span", say("truncated"), "tag"));
  const odds = `${row.log_odds < 0 ? "−" : "+"}${Math.abs(row.log_odds).toFixed(3)}`;
  head.append(figure("score", row.relevance_score.toFixed(4)), figure("log_odds", odds));
  const bar = make("div", "", "bar");
  const filled = make("div");
  filled.style.width = `${100 * row.relevance_score}%`;
  bar.append(filled);
  bar.setAttribute("aria-hidden", "true");
  made.append(head, bar, ...passageText(page.asked.passages[row.index], row.span));
  return made;
}

function figure(name, value) {
  const made = make("span", `${say(name)} `, name);
  made.append(make("b", value));
  return made;
}

function notes({ results, usage }) {
  const counts = {
    truncated_note: results.filter((row) => row.truncated).length,
    defused_note: usage?.texts_defused,
    passages_note: usage?.passages_scored,
    reused_note: usage?.pairs_reused,
  };
  return Object.entries(counts)
    .filter(([, count]) => count)
    .map(([name, count]) => make("li", say(name, { count })));
}

function show() {
  const { answer, error, asked, running } = page;
  write("rank", say(running ? "stop" : "rank"));
  write("error", error ? errorText(error) : "");
  write("said", summary());
  write("copied", "");
  at("results").setAttribute("aria-busy", Boolean(running));
  at("results").replaceChildren(...(answer?.results ?? []).map(resultRow));
  at("notes").replaceChildren(...(answer ? notes(answer) : []));
  at("again").hidden = !asked || Boolean(running);
  if (asked && !running) {
    page.curl = curlFor(url("v1/rerank"), asked.body, !at("key-field").hidden);
    write("curl", page.curl.length > CURL_SHOWN ? `${page.curl.slice(0, CURL_SHOWN)} …` : page.curl);
  }
}

function showAll() {
  showTexts();
  showCount();
  showState();
  show();
}

// -- what a person does -----------------------------------------------------------------------------

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (page.running) page.running.abort();
  else rank();
});
at("form").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  if (!page.running) rank();
});
at("passages").addEventListener("input", showCount);
at("key").addEventListener("change", look);
at("language").addEventListener("change", () => {
  page.language = at("language").value;
  showAll();
});
at("example").addEventListener("click", () => {
  at("query").value = say("example_query");
  at("passages").value = say("example_passages");
  missing("query", false);
  missing("passages", false);
  showCount();
});
at("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(page.curl);
  } catch {
    // Only pages that came by TLS, or from this machine, may write there: it is selected instead.
    at("curl").textContent = page.curl;
    getSelection().selectAllChildren(at("curl"));
    return;
  }
  write("copied", say("copied"));
});

page.texts = (await fetched("page/texts.json")).body;
showAll();
look();
