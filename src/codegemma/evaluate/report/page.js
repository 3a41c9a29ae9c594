// SPDX-License-Identifier: Apache-2.0
// The browser of items. All text of the runs is set as text; no markup is ever made from it.
"use strict";
(async () => {
  const PER_PAGE = 50;
  const $ = (id) => document.getElementById(id);

  async function unpack() {
    const packed = Uint8Array.from(atob($("data").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function make(name, text, attributes = {}) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  const data = await unpack();
  const state = { task: 0, verdict: "", words: "", page: 0, found: [], open: null };

  // What is searched is put together when a task is first looked at.
  function haystack(item) {
    if (item.haystack === undefined) {
      const samples = item.runs.flatMap((run) => run ?? []);
      const parts = [item.id, ...item.parts.map((part) => part[1])];
      for (const sample of samples) {
        parts.push(sample.text, sample.end, ...sample.scores.map((score) => score[3]));
      }
      item.haystack = parts.join("\n").toLowerCase();
    }
    return item.haystack;
  }

  function verdicts(item, run) {
    return (item.runs[run] ?? []).map((sample) => sample.verdict);
  }

  // One word for all samples of a problem: theirs where they agree, else how many passed.
  function verdict(item, run) {
    const all = verdicts(item, run);
    if (all.length === 0) return "no sample";
    if (new Set(all).size === 1) return all[0];
    return `${all.filter((each) => each === "pass").length} of ${all.length} pass`;
  }

  function matches(item) {
    if (state.verdict === "differs") {
      const words = data.runs.map((_, run) => verdict(item, run));
      if (new Set(words).size < 2) return false;
    } else if (state.verdict) {
      const [run, word] = JSON.parse(state.verdict);
      if (!(run === null ? data.runs.map((_, each) => each) : [run]).some((each) =>
        verdicts(item, each).includes(word))) return false;
    }
    return state.words === "" || haystack(item).includes(state.words);
  }

  function showChoices() {
    const items = data.tasks[state.task].items;
    const choices = [["", "all"]];
    if (data.runs.length > 1) choices.push(["differs", "runs differ"]);
    data.runs.forEach((label, run) => {
      const counts = new Map();
      for (const item of items) {
        for (const word of new Set(verdicts(item, run))) counts.set(word, (counts.get(word) ?? 0) + 1);
      }
      for (const word of [...counts.keys()].sort()) {
        const where = data.runs.length > 1 ? `${label}: ` : "";
        choices.push([JSON.stringify([run, word]), `${where}${word} (${counts.get(word)})`]);
      }
    });
    $("verdict").replaceChildren(
      ...choices.map(([value, text]) => make("option", text, { value })));
    state.verdict = "";
    $("note").textContent = data.tasks[state.task].note;
    $("note").hidden = data.tasks[state.task].note === "";
  }

  function filter() {
    state.found = data.tasks[state.task].items.filter(matches);
    state.page = 0;
    showList();
  }

  function showList() {
    const total = data.tasks[state.task].items.length;
    const number = (value) => value.toLocaleString("en");
    $("found").textContent = `${number(state.found.length)} of ${number(total)} items`;
    const first = state.page * PER_PAGE;
    const shown = state.found.slice(first, first + PER_PAGE);
    const head = make("tr");
    const several = data.runs.length > 1;
    head.append(make("th", "item", { scope: "col" }));
    for (const label of data.runs) {
      head.append(make("th", several ? label : "verdict", { scope: "col" }));
    }
    if (!several) head.append(make("th", "completion", { scope: "col" }));
    $("list").tHead.replaceChildren(head);
    $("list").tBodies[0].replaceChildren(...shown.map((item) => {
      const row = make("tr");
      const name = make("th", undefined, { scope: "row" });
      const button = make("button", item.id, { type: "button", class: "open" });
      button.addEventListener("click", () => open(item, true));
      name.append(button);
      row.append(name);
      data.runs.forEach((_, run) => {
        const cell = make("td");
        const word = verdict(item, run);
        cell.append(make("span", word, { class: "verdict", "data-verdict": word }));
        row.append(cell);
      });
      if (!several) {
        const cell = make("td");
        cell.append(make("code", (item.runs[0]?.[0]?.text ?? "").slice(0, 120)));
        row.append(cell);
      }
      if (item === state.open) row.setAttribute("aria-current", "true");
      return row;
    }));
    const pages = Math.max(1, Math.ceil(state.found.length / PER_PAGE));
    $("page").textContent = `page ${state.page + 1} of ${pages}`;
    $("back").disabled = state.page === 0;
    $("on").disabled = state.page + 1 >= pages;
  }

  function shown(heading, text) {
    const box = document.createDocumentFragment();
    box.append(make("h4", heading), make("pre", text === "" ? "(nothing)" : text));
    return box;
  }

  function side(label, samples) {
    const box = make("div");
    box.append(make("h4", label));
    if (!samples) {
      box.append(make("p", "no sample"));
      return box;
    }
    samples.forEach((sample, index) => {
      const count = samples.length > 1 ? `sample ${index}: ` : "";
      const line = make("p", count);
      line.append(make("span", sample.verdict, { class: "verdict", "data-verdict": sample.verdict }));
      if (sample.end) line.append(`, ended: ${sample.end}`);
      box.append(line, shown("Completion", sample.text));
      const table = make("table");
      for (const [variant, value, outcome] of sample.scores) {
        const row = make("tr");
        row.append(make("th", variant, { scope: "row" }), make("td", String(value)),
          make("td", outcome.replaceAll("_", " ")));
        table.append(row);
      }
      if (sample.scores.length > 0) box.append(make("h4", "Scores"), table);
      const seen = new Set();
      for (const [variant, , , stderr] of sample.scores) {
        if (stderr && !seen.has(stderr)) box.append(shown(`Error stream, ${variant}`, stderr));
        seen.add(stderr);
      }
    });
    return box;
  }

  function open(item, jump) {
    state.open = item;
    const box = $("item");
    box.replaceChildren(make("h3", item.id, { id: "item-title" }));
    const prompt = make("div", undefined, { class: "sides" });
    for (const [name, text] of item.parts) {
      const part = make("div");
      part.append(shown(`Prompt: ${name}`, text));
      prompt.append(part);
    }
    box.append(prompt);
    const sides = make("div", undefined, { class: "sides" });
    data.runs.forEach((label, run) => sides.append(side(label, item.runs[run])));
    box.append(sides);
    if (item.solution !== null) box.append(shown("Reference solution", item.solution));
    box.hidden = false;
    showList();
    if (jump) {
      box.focus({ preventScroll: true });
      box.scrollIntoView({ block: "start" });
    }
  }

  let waiting = 0;
  $("task").replaceChildren(...data.tasks.map((task, index) =>
    make("option", `${task.name} (${task.items.length.toLocaleString("en")})`, { value: index })));
  $("task").addEventListener("change", () => {
    state.task = Number($("task").value);
    showChoices();
    filter();
  });
  $("verdict").addEventListener("change", () => {
    state.verdict = $("verdict").value;
    filter();
  });
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      state.words = $("search").value.toLowerCase();
      filter();
    }, 120);
  });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("back").addEventListener("click", () => { state.page -= 1; showList(); });
  $("on").addEventListener("click", () => { state.page += 1; showList(); });
  showChoices();
  filter();
  $("browser").hidden = false;
  document.documentElement.dataset.ready = "true";
})();
