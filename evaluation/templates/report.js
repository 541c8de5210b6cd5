"use strict";
(function () {
  const make = (name, text, kind) => {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };
  // on a phone a row of a table becomes a block, and every cell says what it is
  const label = (table) => {
    table.className = "labelled";
    const names = [...table.querySelectorAll("th")].map((cell) => cell.textContent);
    for (const row of table.rows) {
      for (const cell of row.cells) cell.dataset.label = names[cell.cellIndex] || "";
    }
  };
  document.querySelectorAll(".wide table").forEach(label);

  const source = document.getElementById("data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const [list, count, filter, mode, sort, words] =
    ["items", "count", "filter", "mode", "sort", "words"].map((id) => document.getElementById(id));
  const PAGE = 30;
  let found = [];
  let shown = 0;

  const answer = (item, run, which) => (item.runs[run] || {})[which];
  const ok = (item, run, which) => Boolean((answer(item, run, which) || {}).ok);
  const generated = ["generate", "generate_sc", "cot", "medalpaca_legacy"];

  const tests = {
    all: () => true,
    wrong: (i, m) => !ok(i, data.runs[0], m),
    right: (i, m) => ok(i, data.runs[0], m),
    gained: (i, m) => data.runs.length > 1 && !ok(i, data.runs[0], m) && ok(i, data.runs[1], m),
    lost: (i, m) => data.runs.length > 1 && ok(i, data.runs[0], m) && !ok(i, data.runs[1], m),
    unparsed: (i) => data.runs.some((r) => generated.some((m) => {
      const a = answer(i, r, m);
      return a && a.pred === null;
    })),
    disagree: (i) => data.runs.some((r) => new Set(Object.values(i.runs[r] || {})
      .map((a) => a.pred)).size > 1),
    cut: (i) => data.runs.some((r) => Object.values(i.runs[r] || {}).some((a) => a.lost)),
    contaminated: (i) => i.contamination && i.contamination !== "none",
  };

  // of the first run that has it; a mode that writes has none
  const sureness = (item, which) => {
    const values = data.runs.map((r) => (answer(item, r, which) || {}).sure);
    return values.find((value) => typeof value === "number");
  };
  const percent = (share) => Math.round(share * 100) + " %";
  const said = (a) => (a.pred === null ? "none" : a.pred) + (a.ok ? " right" : " wrong") +
    (typeof a.sure === "number" ? ", " + percent(a.sure) + " sure" : "");

  const fill = (box, item) => {
    box.append(make("p", item.question));
    for (const [name, text] of item.options) {
      box.append(make("div", name + ": " + text, name === item.answer ? "right" : ""));
    }
    const table = make("table");
    const head = make("tr");
    for (const name of ["run", "mode", "answer", "status", "response"]) head.append(make("th", name));
    table.append(head);
    for (const run of data.runs) {
      for (const [name, a] of Object.entries(item.runs[run] || {})) {
        const row = make("tr");
        row.append(make("td", run), make("td", name), make("td", said(a), a.ok ? "right" : "wrong"),
          make("td", [a.status, a.rule, a.lost && "cut: " + a.lost].filter(Boolean).join(", ")),
          make("td", a.text === null ? "" : a.text));
        table.append(row);
      }
    }
    label(table);
    const wide = make("div", undefined, "wide");
    wide.append(table);
    box.append(wide);
    for (const [prompt, asked] of item.prompts) {
      const fold = make("details");
      fold.append(make("summary", "prompt of " + asked.join(", ")), make("pre", prompt));
      box.append(fold);
    }
  };

  const card = (item) => {
    const box = make("details", undefined, "item");
    const head = make("summary");
    const facts = make("div", undefined, "facts");
    const about = [item.step, item.number && "no. " + item.number, item.discipline,
      item.contamination && item.contamination !== "none" && "contamination: " + item.contamination,
      item.id.slice(0, 12)];
    facts.append(make("span", about.filter(Boolean).join(" · "), "soft"));
    for (const run of data.runs) {
      const a = answer(item, run, mode.value);
      if (a) facts.append(make("span", (data.runs.length > 1 ? run + ": " : "") + said(a),
        a.ok ? "right" : "wrong"));
    }
    head.append(facts, make("div", item.question.slice(0, 300), "stem"));
    box.append(head);
    box.addEventListener("toggle", () => {
      if (box.open && box.childElementCount === 1) fill(box, item);
    });
    return box;
  };

  const more = () => {
    list.append(...found.slice(shown, shown + PAGE).map(card));
    shown = Math.min(shown + PAGE, found.length);
  };
  const draw = () => {
    const wanted = words.value.toLowerCase();
    found = data.items.filter((i) => tests[filter.value](i, mode.value) &&
      (!wanted || JSON.stringify(i).toLowerCase().includes(wanted)));
    if (sort.value) {
      const sign = sort.value === "most" ? -1 : 1;
      const place = (i) => sign * (sureness(i, mode.value) ?? sign * Infinity);
      found = found.map((i) => [place(i), i]).sort((a, b) => a[0] - b[0] || 0).map(([, i]) => i);
    }
    count.textContent = found.length + " of " + data.items.length + " questions";
    list.replaceChildren();
    list.scrollTop = shown = 0;
    more();
  };
  for (const name of data.modes) {
    const option = make("option", name);
    option.value = name;
    mode.append(option);
  }
  for (const control of [filter, mode, sort, words]) control.addEventListener("input", draw);
  list.addEventListener("scroll", () => {
    if (list.scrollTop + list.clientHeight > list.scrollHeight - 400) more();
  });
  draw();
})();
