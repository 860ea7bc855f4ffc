"use strict";
// Transcripts: every rollout in one list. The data are columns in chunks (report/rollouts.py); only
// the rows in sight are elements. Whatever a model wrote becomes text, never markup.

const Rollouts = (() => {
  const ROW = 46, SPARE = 6;
  const SEARCHED = ["question", "answer", "alone", "approach", "teaching", "attempt", "reason", "task_id"];
  const BLOCKS = [
    ["alone_turns", "Its turns, alone"], ["alone", "Student alone"], ["approach", "Its approach, when probed"], ["thoughts", "The teacher's thoughts"],
    ["teaching", "Teaching"], ["attempt_thoughts", "The student's thoughts"],
    ["attempt_turns", "Its turns, taught"], ["attempt", "Student taught"],
  ];
  const QUIET = new Set(["kind", "question", "answer", "family", "step", "group", "member", "arm", "task_id", "reward", "advantage", "truncated", ...BLOCKS.map(([name]) => name)]);
  const chunks = [], at = [];  // at[i]: the chunk of row i, and its place there
  let shown = [], chosen = -1, pinned = -1, names = [];
  const $ = (id) => document.getElementById(id);

  function cell(row, name) {
    const [chunk, place] = at[row], column = chunk.columns[name];
    if (column === undefined) return null;
    if (!column.text) return column[place] ?? null;
    const index = column.text[place];
    return index === null ? null : chunk.texts[index];
  }

  function add(chunk) {
    chunks.push(chunk);
    for (let place = 0; place < chunk.count; place++) at.push([chunk, place]);
  }

  function link(row) {
    const [chunk] = at[row], parts = [chunk.run, chunk.where.replace(" ", "-")];
    if (chunk.where === "training") parts.push(cell(row, "step"), cell(row, "group"), cell(row, "member"));
    else parts.push(cell(row, "arm"), cell(row, "task_id"));
    return "#rollout=" + parts.map((part) => encodeURIComponent(part ?? place(row))).join("/");
  }
  const place = (row) => at[row][1];

  // Which texts of each chunk hold the words, so that a text that many rows share is read once.
  function matcher(words) {
    if (!words) return () => true;
    const found = new Map(chunks.map((chunk) => [chunk, chunk.texts.map((text) => text.toLowerCase().includes(words))]));
    return (row) => {
      const [chunk, place] = at[row], hits = found.get(chunk);
      return SEARCHED.some((name) => chunk.columns[name]?.text && hits[chunk.columns[name].text[place]]);
    };
  }

  function filter() {
    const [where, kind, family, sort] = ["where", "kind", "family", "sort"].map((name) => $(`f-${name}`).value);
    const low = $("f-low").value === "" ? -Infinity : +$("f-low").value;
    const high = $("f-high").value === "" ? Infinity : +$("f-high").value;
    const bounded = low > -Infinity || high < Infinity, matches = matcher($("f-text").value.trim().toLowerCase());
    shown = [];
    for (let row = 0; row < at.length; row++) {
      if (where && `${at[row][0].run}/${at[row][0].where}` !== where) continue;
      if (kind && (kind === "truncated" ? !cell(row, "truncated") : cell(row, "kind") !== kind)) continue;
      if (family && cell(row, "family") !== family) continue;
      if (bounded) {
        const reward = cell(row, "reward");
        if (reward === null || reward < low || reward > high) continue;
      }
      if (matches(row)) shown.push(row);
    }
    if (sort) {
      const name = sort.slice(1), sign = sort[0] === "-" ? -1 : 1, keys = new Map(shown.map((row) => [row, cell(row, name)]));
      shown.sort((a, b) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return sign * (x < y ? -1 : x > y ? 1 : 0) || a - b;
      });
    }
    $("list-space").style.height = `${shown.length * ROW}px`;
    $("list-count").textContent = `${shown.length.toLocaleString("en")} of ${at.length.toLocaleString("en")} rollouts`;
    paint();
  }

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined && text !== null) made.textContent = text;
    return made;
  }

  const reward = (value) => (value === null ? "" : (value < 0 ? "−" : "") + Math.abs(value).toFixed(2));
  const whereOf = (row) => {
    const [chunk] = at[row], run = names.length > 1 ? `${names[chunk.run]} ` : "";
    return run + (chunk.where === "training" ? `step ${cell(row, "step")}, ${cell(row, "group")}.${cell(row, "member")}` : `held out, ${cell(row, "arm")}`);
  };

  function line(row, position) {
    const made = element("div", "row");
    made.id = `row-${position}`;
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", String(row === chosen));
    made.setAttribute("aria-posinset", String(position + 1));
    made.setAttribute("aria-setsize", String(shown.length));
    made.style.transform = `translateY(${position * ROW}px)`;
    const kind = cell(row, "kind") ?? "";
    made.append(
      element("span", `chip kind-${kind.replace(" ", "-")}`, kind || "–"),
      element("span", "row-where", whereOf(row)),
      element("span", "row-reward", reward(cell(row, "reward"))),
      element("span", "row-question", cell(row, "question")),
    );
    made.addEventListener("click", (event) => choose(row, event.shiftKey));
    return made;
  }

  function paint() {
    const list = $("list"), first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
    const rows = [];
    for (let position = first; position < last; position++) rows.push(line(shown[position], position));
    $("list-space").replaceChildren(...rows);
    const position = shown.indexOf(chosen);
    if (position >= first && position < last) list.setAttribute("aria-activedescendant", `row-${position}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function card(row) {
    const made = element("article", "rollout"), chips = element("p", "chips");
    const kind = cell(row, "kind");
    if (kind) chips.append(element("span", `chip kind-${kind.replace(" ", "-")}`, kind));
    if (cell(row, "truncated")) chips.append(element("span", "chip kind-leaked", "truncated"));
    chips.append(element("span", "chip", cell(row, "family")), element("span", "quiet", whereOf(row)));
    made.append(chips, element("h3", "", cell(row, "question")));
    const facts = element("p", "quiet");
    const told = [["Reference answer", cell(row, "answer")], ["reward", reward(cell(row, "reward"))], ["advantage", reward(cell(row, "advantage"))]];
    facts.textContent = told.filter(([, value]) => value !== null && value !== "").map(([name, value]) => `${name} ${value}`).join(" · ");
    made.append(facts);
    const leak = cell(row, "leaked");
    if (kind === "leaked") made.append(element("p", "quiet", `It gives the answer away${leak && leak !== true ? ` (${leak})` : ""}: however the student answers, that counts as wrong.`));
    for (const [name, title] of BLOCKS) {
      const text = cell(row, name);
      if (text === null) continue;
      const right = { alone: cell(row, "right_alone"), attempt: cell(row, "right") }[name] ?? null;
      const tokens = cell(row, `${name}_tokens`), head = element("h4", "", title);
      if (right !== null) head.append(" ", element("span", `mark-text ${right >= 1 ? "good" : "bad"}`, right >= 1 ? "✓ right" : right > 0 ? `${Math.round(100 * right)} % right` : "✗ wrong"));
      if (tokens !== null) head.append(" ", element("span", "quiet", `${Math.round(tokens)} tokens`));
      made.append(head, element("pre", name === "teaching" ? "teaching" : "", text));
    }
    made.append(besides(row));
    return made;
  }

  function besides(row) {
    const box = element("details"), list = element("dl", "besides");
    box.append(element("summary", "quiet", "All columns"), list);
    for (const name of Object.keys(at[row][0].columns)) {
      const value = cell(row, name);
      if (QUIET.has(name) || value === null) continue;
      const pair = element("div"), long = typeof value === "string" && value.includes("\n");
      const said = element("dd");
      said.append(long ? element("pre", "", value) : String(value));
      pair.append(element("dt", "", name), said);
      list.append(pair);
    }
    return box;
  }

  function siblings(row) {
    const [chunk] = at[row], task = cell(row, "task_id"), step = cell(row, "step"), made = [];
    for (let other = 0; other < at.length && made.length < 64; other++) {
      if (at[other][0].where !== chunk.where || cell(other, "task_id") !== task) continue;
      if (chunk.where === "training" && (at[other][0].run !== chunk.run || cell(other, "step") !== step)) continue;
      if (other !== row) made.push(other);
    }
    return made;
  }

  function show() {
    const pane = $("detail"), cards = [chosen, pinned].filter((row, i, all) => row >= 0 && all.indexOf(row) === i);
    const bar = element("p", "beside");
    if (chosen >= 0) {
      bar.append(element("span", "quiet", "Beside it:"));
      for (const other of siblings(chosen)) {
        const button = element("button", other === pinned ? "on" : "", `${whereOf(other)} ${reward(cell(other, "reward"))} ${cell(other, "kind") ?? ""}`);
        button.type = "button";
        button.addEventListener("click", () => pin(other === pinned ? -1 : other));
        bar.append(button);
      }
      if (bar.childElementCount === 1) bar.replaceChildren(element("span", "quiet", "Shift-click another row, or press p, to put it beside this one."));
    }
    pane.classList.toggle("two", cards.length > 1);
    pane.replaceChildren(...(chosen >= 0 ? [bar] : []), ...cards.map(card));
  }

  function choose(row, beside = false) {
    if (beside) return pin(row);
    chosen = row;
    history.replaceState(null, "", link(row));
    paint();
    show();
  }

  function pin(row) {
    pinned = row;
    show();
  }

  function reveal(row) {
    let position = shown.indexOf(row);
    if (position < 0) {
      for (const name of ["where", "kind", "family", "text", "low", "high"]) $(`f-${name}`).value = "";
      filter();
      position = shown.indexOf(row);
    }
    const list = $("list"), top = position * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  }

  function follow() {
    if (!location.hash.startsWith("#rollout=")) return;
    for (let row = 0; row < at.length; row++) {
      if (link(row) !== location.hash) continue;
      reveal(row);
      choose(row);
      $("transcripts").scrollIntoView();
      return;
    }
  }

  function keys(event) {
    const position = shown.indexOf(chosen), page = Math.max(1, Math.floor($("list").clientHeight / ROW) - 1);
    const move = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (move && shown.length) {
      const row = shown[Math.max(0, Math.min(shown.length - 1, position < 0 ? 0 : position + move))];
      reveal(row);
      choose(row);
    } else if (event.key === "p" && chosen >= 0) pin(pinned === chosen ? -1 : chosen);
    else if (event.key === "/") $("f-text").focus();
    else return;
    event.preventDefault();
  }

  function choices(id, values) {
    const select = $(id), kept = select.value, first = select.options[0];
    select.replaceChildren(first, ...values.map(([value, text]) => new Option(text, value)));
    select.value = values.some(([value]) => value === kept) ? kept : "";
  }

  function refresh() {
    const told = (name) => [...new Set(chunks.flatMap((chunk) => {
      const column = chunk.columns[name];
      return column?.text ? [...new Set(column.text)].filter((i) => i !== null).map((i) => chunk.texts[i]) : [];
    }))].sort();
    const places = new Map(chunks.map((chunk) => [`${chunk.run}/${chunk.where}`, (names.length > 1 ? `${names[chunk.run]}: ` : "") + chunk.where]));
    choices("f-where", [...places]);
    choices("f-kind", [...told("kind"), "truncated"].map((kind) => [kind, kind]));
    choices("f-family", told("family").map((family) => [family, family]));
    filter();
  }

  function begin(runs) {
    names = runs;
    for (const name of ["where", "kind", "family", "sort", "text", "low", "high"]) {
      $(`f-${name}`).addEventListener("input", () => { $("list").scrollTop = 0; filter(); });
    }
    let due = 0;
    $("list").addEventListener("scroll", () => { cancelAnimationFrame(due); due = requestAnimationFrame(paint); });
    $("list").addEventListener("keydown", keys);
    addEventListener("resize", paint);
    addEventListener("hashchange", follow);
  }

  const lastStep = () => chunks.filter((chunk) => chunk.where === "training").reduce((last, chunk) => Math.max(last, chunk.columns.step.at(-1)), 0);
  return { add, begin, refresh, follow, lastStep, size: () => at.length };
})();
