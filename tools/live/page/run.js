"use strict";

// A page that runs: its code in a Python of its own, its exercises with their checks.
//
// The page is the only source of its code. Cells of a solution run aside, in a copy of the page's
// names, so that what they define is not taken for an answer of the reader. Answers and checks are
// those of the students' notebook, which is fetched, as everything else, once the reader asks.

const Live = {};

// --- Small things --------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function button(text, about, act) {
  const rest = make("span", { class: "visually-hidden" }, about && ` ${about}`);
  return make("button", { type: "button", class: "live-button", onclick: act }, text, rest);
}

const joined = source => (Array.isArray(source) ? source.join("") : source);

// --- Python --------------------------------------------------------------------------------------

// One Python in a worker. It is begun by `begin`, runs one cell at a time, and ends by `stop`.
Live.Python = class {
  constructor(script, { onprogress }) {
    Object.assign(this, { script, onprogress });
  }

  begin() {
    this.begun ??= new Promise((resolve, reject) => {
      this.worker = new Worker(this.script);
      this.worker.onmessage = ({ data }) => {
        if (data.loaded) this.onprogress(data.loaded);
        else if (data.ready) resolve();
        else if (data.failed) reject(new Error(data.failed));
        else if (data.output) this.job?.onoutput(data.output);
        else if (data.done) {
          this.memory = data.memory;
          this.job?.resolve(data.ok);
        }
      };
      this.worker.onerror = event => reject(new Error(event.message ?? "the worker did not start"));
      this.abandon = reject;
    });
    this.begun.catch(() => this.stop());
    return this.begun;
  }

  async run(source, { aside = false, fresh = false, onoutput }) {
    await this.begin();
    return new Promise((resolve, reject) => {
      this.job = { resolve, reject, onoutput };
      this.worker.postMessage({ source, aside, fresh });
    });
  }

  stop() {
    this.worker?.terminate();
    const stopped = new Error("stopped");
    this.abandon?.(stopped);
    this.job?.reject(stopped);
    this.worker = this.begun = this.job = undefined;
  }
};

// --- Outputs -------------------------------------------------------------------------------------

// A place for the outputs of a run. Figures have the words of the figures that they replace.
class Outputs {
  constructor(name, replaced) {
    this.figures = replaced ? [...replaced.querySelectorAll("figure, img")].filter(e => !e.matches("figure img")) : [];
    this.element = make("div", { class: "cell_output live-output", role: "group", "aria-label": `Your output, ${name}` },
      make("p", { class: "live-mine" }, "yours"));
  }

  show(output, changed) {
    const { output_type: type, data } = output;
    if (type === "stream") this.text(output.text, output.name);
    else if (type === "error") this.text(output.traceback.join("\n").trimEnd(), "error");
    else if (data["image/svg+xml"]) this.figure(data["image/svg+xml"], changed);
    else if (data["text/html"]) this.html(data["text/html"]);
    else if (data["text/markdown"]?.startsWith("|")) this.html(table(data["text/markdown"]));
    else this.text(data["text/plain"], "value");
  }

  // What is printed piece by piece stays in one block.
  text(text, kind) {
    let block = this.element.lastElementChild;
    if (block.dataset.kind !== kind || kind === "value") {
      block = make("div", { class: `output highlight live-${kind}`, "data-kind": kind }, make("pre"));
      this.element.append(block);
    }
    block.firstChild.append(text);
  }

  html(html) {
    const block = make("div", { class: "output text_html" });
    block.innerHTML = html;
    // As on the page itself: a header cell without a word is an ordinary cell.
    for (const header of block.querySelectorAll("th:empty"))
      header.replaceWith(Object.assign(document.createElement("td"), { colSpan: header.colSpan }));
    this.element.append(block);
  }

  figure(svg, changed) {
    const model = this.figures.shift();
    const words = model?.querySelector("img")?.alt ?? model?.alt ?? "";
    const figure = model?.matches("figure") ? model.cloneNode(true) : make("p", {}, make("img"));
    const [width, height] = ["width", "height"].map(side => Math.round(parseFloat(svg.match(`${side}="([\\d.]+)pt"`)?.[1]) / 0.75));
    const image = make("img", {
      alt: changed || !words ? `A figure drawn by your code. ${words && `Before your change it showed: ${words}`}` : words,
      src: URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" })),
      width, height,
    });
    figure.querySelector("img").replaceWith(image);
    this.element.append(figure);
  }
}

// A table in Markdown, as code displays it: cells between bars, code between backticks.
function table(markdown) {
  const plain = make("i");
  const cell = (text, tag) => {
    plain.textContent = text.replaceAll("\\|", "|").trim();
    return `<${tag}>${plain.innerHTML.replace(/`([^`]*)`/g, "<code>$1</code>")}</${tag}>`;
  };
  const [head, , ...body] = markdown.trim().split("\n").map(line => line.slice(1, -1).split(/(?<!\\)\|/));
  const row = (cells, tag) => `<tr>${cells.map(text => cell(text, tag)).join("")}</tr>`;
  return `<table class="table"><thead>${row(head, "th")}</thead><tbody>${body.map(cells => row(cells, "td")).join("")}</tbody></table>`;
}

// --- Fields for code -----------------------------------------------------------------------------

// A plain field: Tab indents, Escape and then Tab leaves, Enter keeps the indentation.
function codeField(label, source, { onrun, oninput }) {
  let leaving = false;
  const type = text => document.execCommand("insertText", false, text);
  const field = make("textarea", {
    class: "live-field", "aria-label": label, "aria-describedby": "live-keys",
    spellcheck: "false", autocapitalize: "off", autocomplete: "off", autocorrect: "off", wrap: "off",
    oninput: () => { fit(); oninput?.(); },
    onblur: () => { leaving = false; },
    onkeydown: event => {
      const { key, shiftKey, ctrlKey, metaKey } = event;
      const before = field.value.slice(0, field.selectionStart);
      const line = before.slice(before.lastIndexOf("\n") + 1);
      if (key === "Enter" && (shiftKey || ctrlKey || metaKey)) onrun();
      else if (key === "Enter") type(`\n${line.match(/^ */)[0]}${line.trimEnd().endsWith(":") ? "    " : ""}`);
      else if (key === "Tab" && !leaving && shiftKey) outdent(line.length);
      else if (key === "Tab" && !leaving) type(" ".repeat(4 - (line.length % 4)));
      else {
        leaving = key === "Escape" || (leaving && key === "Shift");
        return;
      }
      event.preventDefault();
    },
  });
  const fit = () => { field.rows = Math.max(2, field.value.split("\n").length); };
  const outdent = column => {
    const start = field.selectionStart - column;
    const spaces = field.value.slice(start).match(/^ {0,4}/)[0].length;
    field.setSelectionRange(start, start + spaces);
    if (spaces) document.execCommand("delete");
    field.setSelectionRange(start + Math.max(0, column - spaces), start + Math.max(0, column - spaces));
  };
  field.value = source;
  fit();
  return field;
}

// --- Cells ---------------------------------------------------------------------------------------

class Cell {
  constructor(element) {
    this.element = element;
    this.isAside = element.closest(".solution") !== null;
    this.isForHome = element.matches(".tag_at-home");
    this.code = element.querySelector(".cell_input pre");
    this.original = this.code.textContent.trimEnd();
    this.ran = false;
  }

  get source() {
    return this.field ? this.field.value : this.original;
  }

  // What a reader can press, once the page runs.
  offer(number, page) {
    this.number = number;
    this.name = `cell ${number}`;
    this.page = page;
    this.committed = this.element.querySelector(":scope > .cell_output");
    this.tools = make("div", { class: "live-tools" });
    if (this.isForHome) {
      this.tools.append(make("p", {}, "This cell needs statsmodels, which is not in the page: it runs at home only."));
    } else {
      this.run = button("Run", this.name, () => page.runTo(this));
      this.change = button("Edit", this.name, () => this.edit());
      this.restore = button("Put back", this.name, () => this.putBack());
      this.restore.hidden = true;
      this.tools.append(this.run, button("Run from the top", `to ${this.name}`, () => page.runTo(this, { fresh: true })), this.change, this.restore);
    }
    const input = this.element.querySelector(":scope > details, :scope > .cell_input");
    input.after(this.tools);
  }

  edit() {
    this.element.querySelector("details")?.setAttribute("open", "");
    this.field = codeField(`Code of ${this.name}`, this.original, { onrun: () => this.page.runTo(this) });
    const shown = this.code.closest(".cell_input");
    shown.hidden = true;
    shown.after(this.field);
    this.change.hidden = true;
    this.restore.hidden = false;
    this.field.focus();
  }

  putBack() {
    this.field?.remove();
    this.field = undefined;
    this.code.closest(".cell_input").hidden = false;
    this.replaceOutput(this.committed);
    this.change.hidden = false;
    this.change.focus();
    this.restore.hidden = true;
  }

  replaceOutput(next) {
    const shown = this.element.querySelector(":scope > .cell_output");
    if (shown && next) shown.replaceWith(next);
    else if (next) this.element.append(next);
    else shown?.remove();
  }

  // Runs it; the committed output stays until there is another.
  async execute(python, { fresh = false } = {}) {
    const outputs = new Outputs(this.name, this.committed);
    const changed = this.source.trimEnd() !== this.original;
    this.outputs = [];
    const ok = await python.run(this.source, {
      aside: this.isAside, fresh,
      onoutput: output => {
        this.outputs.push(output);
        outputs.show(output, changed);
        if (!outputs.element.isConnected) this.replaceOutput(outputs.element);
      },
    });
    this.ran = ok;
    if (!outputs.element.isConnected && (this.committed || changed)) {
      outputs.element.append(make("p", {}, "No output."));
      this.replaceOutput(outputs.element);
    }
    this.element.classList.toggle("live-failed", !ok);
    this.restore.hidden = !(outputs.element.isConnected || this.field);
    return ok;
  }
}

// --- Exercises -----------------------------------------------------------------------------------

// The answers of an exercise, each in its field, and the checks below them.
class Exercise {
  constructor(box, parts, page) {
    Object.assign(this, { box, page, label: box.id, answers: [] });
    this.name = box.querySelector(".caption-number").textContent.trim();
    this.solution = this.findSolution();
    const element = make("section", { class: "live-answers", "aria-label": `Your answer to ${this.name}` });
    if (this.solution?.querySelector(".tag_at-home")) {
      element.append(make("p", { class: "live-note" }, "The book solves this with statsmodels, which is not in the page. What you write here goes into your notebook all the same."));
    }
    const [answers, checks] = [true, false].map(isAnswer => parts.filter(({ metadata }) => metadata.nbgrader.solution === isAnswer));
    for (const part of answers) element.append(...this.answer(part));
    if (checks.length) element.append(...this.check(checks.map(({ source }) => joined(source))));
    this.locked = make("p", { class: "live-note" }, "The solution opens after a try.");
    element.append(this.locked);
    box.after(element);
    this.lock();
  }

  // The solution that follows, before the next exercise.
  findSolution() {
    const [next] = [...document.querySelectorAll(".solution, .exercise")].filter(e => this.box.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING);
    return next?.matches(".solution") ? next : undefined;
  }

  answer(part) {
    const id = part.metadata.nbgrader.grade_id;
    const stub = joined(part.source);
    const { store } = this.page;
    const answer = { part, stub, isCode: part.cell_type === "code" };
    const written = () => {
      store.answers[id] = answer.field.value;
      if (answer.field.value === stub) delete store.answers[id];
      store.save();
    };
    const text = store.answers[id] ?? stub;
    this.answers.push(answer);
    if (!answer.isCode) {
      answer.field = make("textarea", { class: "live-words", rows: "5", "aria-label": `Your answer in words, ${this.name}`,
        oninput: written, onchange: () => this.tried() });
      answer.field.value = text;
      return [answer.field];
    }
    const run = () => this.page.runExercise(this, [answer]);
    answer.field = codeField(`Your code, ${this.name}`, text, { onrun: run, oninput: written });
    answer.place = make("div");
    return [answer.field, make("div", { class: "live-tools" }, button("Run", `your code, ${this.name}`, run)), answer.place];
  }

  check(sources) {
    const verdict = make("div", { class: "live-verdict", role: "status" });
    const answers = this.answers.filter(answer => answer.isCode);
    const press = () => this.page.runExercise(this, answers, { sources, verdict });
    return [make("div", { class: "live-tools" }, button("Check", this.name, press)), verdict];
  }

  get isTried() {
    return this.answers.some(({ field, stub }) => field.value.trim() !== stub.trim());
  }

  tried() {
    if (this.isTried && !this.page.store.tried.includes(this.label)) {
      this.page.store.tried.push(this.label);
      this.page.store.save();
    }
    this.lock();
  }

  lock() {
    const closed = this.answers.length > 0 && !this.page.store.tried.includes(this.label);
    this.locked.hidden = !(closed && this.solution);
    if (this.solution) this.solution.hidden = closed;
  }

  async run(python, answers) {
    for (const answer of answers) {
      const outputs = new Outputs(this.name);
      answer.place.replaceChildren();
      const ok = await python.run(answer.field.value, {
        onoutput: output => {
          outputs.show(output, true);
          answer.place.replaceChildren(outputs.element);
        },
      });
      if (!ok) return false;
    }
    return true;
  }

  // Each check says itself what came of it; the notebook's own code marks, and so does it here.
  async judge(python, { sources, verdict }) {
    const lines = [];
    await python.run(this.page.marking, { onoutput: () => {} });
    for (const source of sources) {
      let said = "";
      await python.run(source, {
        onoutput: ({ output_type: type, text, ename, evalue }) => {
          if (type === "stream") said += text;
          if (type === "error") said += `✗ ${ename}: ${evalue}`;
        },
      });
      lines.push(said.trim());
    }
    verdict.replaceChildren(...lines.map(line => make("p", {}, line)));
  }
}

// --- What is kept in this browser ----------------------------------------------------------------

class Store {
  constructor(chapter) {
    this.key = `mixed-models-in-python/${chapter}`;
    try {
      Object.assign(this, { answers: {}, tried: [] }, JSON.parse(localStorage.getItem(this.key)));
    } catch {
      Object.assign(this, { answers: {}, tried: [] });
    }
  }

  save() {
    const { answers, tried } = this;
    try {
      localStorage.setItem(this.key, JSON.stringify({ answers, tried }));
    } catch {
      this.onfailure();
    }
  }
}

// --- The page ------------------------------------------------------------------------------------

const FROM_DISK = "This page was opened from disk, and browsers start no Python there. Run “make serve” in the folder of the "
  + "book and open the address that it names, or read the book where it is published.";
const KEYS = "In a field for code, Shift and Enter run it and Tab indents; Escape, then Tab, leaves the field.";

Live.Page = class {
  constructor(bar) {
    this.bar = bar;
    const { chapter, runtime, megabytes } = bar.dataset;
    this.runtime = new URL(runtime, location).href;
    this.megabytes = Number(megabytes);
    this.store = new Store(chapter);
    this.store.onfailure = () => this.say("This browser keeps no answers: download your homework before you leave.");
    this.python = new Live.Python(`${this.runtime}worker.js`, { onprogress: bytes => this.progress(bytes) });
    this.press = button(`Run this page (${megabytes} MB)`, "", () => this.begin());
    this.status = make("p", { class: "live-status", role: "status" });
    const kept = Object.keys(this.store.answers).length ? " Your answers are kept here." : "";
    const todo = bar.dataset.notebook ? "change its code, run it, and solve the exercises" : "change its code and run it";
    this.about = make("p", { class: "live-about" },
      `Then ${todo}. Python comes from this site alone, once, and stays in this browser.${kept}`);
    bar.append(this.press, this.about, this.status);
    bar.hidden = false;
  }

  say(words) {
    this.status.textContent = words;
  }

  progress(bytes) {
    this.meter.value = bytes / 1e6;
  }

  // Everything that the reader asked for: fields and buttons at once, Python when it has come.
  async begin() {
    if (location.protocol === "file:") {
      this.say(FROM_DISK);
      return;
    }
    this.press.disabled = true;
    try {
      this.notebook = await this.fetchNotebook();
      await keepFiles(new URL("../../", this.runtime).href);
    } catch (error) {
      this.say(`The page cannot run: ${error.message}.`);
      this.press.disabled = false;
      return;
    }
    this.cells = [...document.querySelectorAll("div.cell:has(> .cell_input, > details .cell_input)")].map(element => new Cell(element));
    this.cells.forEach((cell, i) => cell.offer(i + 1, this));
    this.exercises = this.readExercises();
    this.meter = make("progress", { max: this.megabytes, value: 0, "aria-label": "Python, on its way" });
    this.stopper = button("Stop", "", () => this.stop());
    this.stopper.disabled = true;
    const last = this.cells.findLast(cell => !cell.isAside && !cell.isForHome);
    this.all = button("Run all", "cells", () => this.runTo(last, { fresh: true }));
    const keys = make("p", { class: "live-about", id: "live-keys" }, KEYS);
    const home = this.exercises.length ? [button("Download my homework", "", () => this.download())] : [];
    this.press.replaceWith(make("div", { class: "live-tools" }, this.all, this.stopper, ...home), this.meter);
    this.about.remove();
    this.bar.after(keys);
    document.documentElement.classList.add("live-on");
    await this.work(() => {}, "Python is ready: run a cell, or all of them.");
    this.all.focus({ preventScroll: true });
  }

  // The students' notebook; a page without homework has none.
  async fetchNotebook() {
    const { notebook } = this.bar.dataset;
    if (!notebook) return { cells: [] };
    const answer = await fetch(notebook);
    if (!answer.ok) throw new Error(`${notebook} is not there`);
    return answer.json();
  }

  // Cells of the notebook that are answered or check answers, by exercise.
  readExercises() {
    const boxes = [...document.querySelectorAll(".exercise[id]")];
    const owner = id => boxes.filter(({ id: label }) => id === label || id.startsWith(`${label}-`))
      .sort((a, b) => b.id.length - a.id.length)[0];
    const parts = this.notebook.cells.filter(cell => cell.metadata.nbgrader);
    return boxes.map(box => [box, parts.filter(part => owner(part.metadata.nbgrader.grade_id) === box)])
      .filter(([, own]) => own.length)
      .map(([box, own]) => new Exercise(box, own, this));
  }

  // The code by which the notebook marks answers.
  get marking() {
    return joined(this.notebook.cells.find(cell => cell.metadata.nbgrader?.grade_id === "marking")?.source ?? "");
  }

  // One thing at a time: what is asked for while something runs waits for nobody and is refused.
  async work(act, done) {
    if (this.isBusy) {
      this.say("Something is running; stop it first, or wait.");
      return;
    }
    this.isBusy = true;
    this.stopper.disabled = false;
    try {
      if (!this.python.begun) {
        this.meter.value = 0;
        this.meter.hidden = false;
        this.say("Python is on its way.");
      }
      await this.python.begin();
      this.meter.hidden = true;
      const words = (await act()) ?? done;
      this.say(words);
    } catch (error) {
      for (const cell of this.cells) cell.ran = false;
      const what = this.python.begun ? "The page has an error of its own" : "Python did not start";
      this.say(error.message === "stopped" ? "Stopped. Python begins anew with the next run, and your code is kept." : `${what}: ${error.message}`);
    } finally {
      this.mark(undefined);
      this.isBusy = false;
      this.stopper.disabled = true;
    }
  }

  stop() {
    this.python.stop();
  }

  // Runs one cell, after the cells above it that have not run yet; `fresh`: after all of them.
  runTo(cell, { fresh = false } = {}) {
    return this.work(async () => {
      if (fresh) for (const each of this.cells) each.ran = false;
      return (await this.runCells([...this.above(cell), cell], fresh)) ?? `Done: ${cell.name ?? "all cells"}.`;
    });
  }

  // What must have run before something of the page can.
  above(place) {
    const element = place.element ?? place;
    const box = place.isAside ? element.closest(".solution") : null;
    return this.cells.filter(cell => cell !== place && !cell.ran && !cell.isForHome
      && (!cell.isAside || box?.contains(cell.element))
      && cell.element.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING);
  }

  // Returns what to say if one of them fails.
  async runCells(cells, fresh = false) {
    for (const [i, cell] of cells.entries()) {
      this.mark(cell, `Running cell ${cell.number}; ${cells.length - i} to go.`);
      const ok = await cell.execute(this.python, { fresh: fresh && i === 0 });
      this.mark(undefined);
      if (!ok) return `${cell.name} has an error: ${cell.outputs.at(-1)?.ename ?? ""}. What follows it was not run.`;
    }
    return undefined;
  }

  // What runs now is seen; it is not announced, cell by cell.
  mark(cell, words = "") {
    document.querySelector(".live-running")?.classList.remove("live-running");
    cell?.element.classList.add("live-running");
    this.now ??= this.status.parentElement.insertBefore(make("p", { class: "live-now" }), this.status);
    this.now.textContent = words;
  }

  runExercise(exercise, answers, check) {
    return this.work(async () => {
      const failed = await this.runCells(this.above(exercise.box));
      if (failed) return failed;
      const ok = await exercise.run(this.python, answers);
      if (check && ok) await exercise.judge(this.python, check);
      else if (check) check.verdict.replaceChildren(make("p", {}, "✗ Your code has an error; it is shown above."));
      if (check) exercise.tried();
      return check ? "" : `Done: your code, ${exercise.name}.`;
    });
  }

  // The students' notebook with the answers in their cells, as it is handed in.
  download() {
    const notebook = structuredClone(this.notebook);
    for (const cell of notebook.cells) {
      const answer = this.store.answers[cell.metadata.nbgrader?.grade_id];
      if (answer !== undefined && cell.metadata.nbgrader.solution) cell.source = answer.match(/.*\n|.+$/g) ?? [];
    }
    const file = new Blob([JSON.stringify(notebook, null, 1), "\n"], { type: "application/x-ipynb+json" });
    const link = make("a", { href: URL.createObjectURL(file), download: `${this.bar.dataset.chapter}.ipynb` });
    link.click();
  }
};

// Has the browser keep what is fetched, where it can; without that it is fetched again next time.
async function keepFiles(root) {
  if (!navigator.serviceWorker) return;
  const late = new Promise(resolve => { setTimeout(resolve, 3000); });
  await navigator.serviceWorker.register(`${root}sw.js`).then(() => Promise.race([navigator.serviceWorker.ready, late]), () => {});
}

addEventListener("DOMContentLoaded", () => {
  const bar = document.querySelector("section.live");
  if (bar) Live.page = new Live.Page(bar);
});
