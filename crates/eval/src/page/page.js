"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const make = (tag, attributes, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "class") node.className = value;
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null) node.setAttribute(name, value);
    }
    for (const child of children) node.append(child);
    return node;
  };
  const numeric = (text) => /^[+\-–<]?\s?[0-9]/.test(text);
  const value = (text) => parseFloat(text.replace("<", "").replace("–", "-"));
  const compare = (a, b) => {
    if (numeric(a) && numeric(b)) return value(a) - value(b);
    if (numeric(a) !== numeric(b)) return numeric(a) ? -1 : 1;
    return a < b ? -1 : a > b ? 1 : 0;
  };

  document.getElementById("lead").textContent = data.lead;

  // Tables: sorted and filtered in place.
  const list = document.getElementById("table-list");
  data.tables.forEach((table, index) => {
    const title = `table-${index}`;
    const body = make("tbody");
    const rows = table.rows.map((cells) => cells.slice());
    const sides = table.columns.map((_, c) => rows.length > 0 && c > 0 && rows.every((r) => numeric(r[c]) || /^(no|not) /.test(r[c]) || r[c] === "" || r[c] === "–"));
    let shown = rows;
    const draw = () => body.replaceChildren(...shown.map((cells) => make("tr", {}, ...cells.map((cell, c) =>
      make(c === 0 ? "th" : "td", c === 0 ? { scope: "row" } : { class: sides[c] ? "number" : "" }, cell)))));
    const heads = table.columns.map((name, c) => {
      const head = make("th", { scope: "col", class: sides[c] ? "number" : "" });
      head.append(make("button", { type: "button", onclick: () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((h) => h.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const sign = down ? -1 : 1;
        rows.sort((a, b) => sign * compare(a[c], b[c]));
        filter();
      } }, name));
      return head;
    });
    const box = make("input", { type: "search", "aria-label": `Filter rows of ${table.title}`, placeholder: "filter rows", class: "table-filter" });
    const filter = () => {
      const wanted = box.value.toLowerCase();
      shown = wanted === "" ? rows : rows.filter((cells) => cells.some((cell) => cell.toLowerCase().includes(wanted)));
      draw();
    };
    box.addEventListener("input", filter);
    draw();
    list.append(make("details", table.open ? { open: "" } : {}, make("summary", {}, make("h3", { id: title }, table.title)), box,
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": title },
        make("table", { "aria-labelledby": title }, make("thead", {}, make("tr", {}, ...heads)), body))));
  });

  // The error browser. Only one page of rows is ever in the document.
  const PAGE = 50;
  const { mentions, systems } = data;
  const names = systems.map((s) => s.name);
  const state = { page: 0, sort: null, down: false, rows: [] };
  const form = document.getElementById("filters");
  const fields = (legend) => {
    const set = make("fieldset", {}, make("legend", {}, legend));
    form.append(set);
    return set;
  };
  const [answers, strata] = [fields("Answers"), fields("Strata")];
  const select = (set, label, options, keep) => {
    const box = make("select", { onchange: () => update(true) }, ...options.map(([text]) => make("option", { value: text }, text)));
    set.append(make("label", {}, label, box));
    return () => keep(options[box.selectedIndex][1]);
  };
  const text = make("input", { type: "search", oninput: () => update(true) });
  answers.append(make("label", {}, "Text, code or document", text));
  const any = ["any", null];
  const filters = [];
  const groups = [...new Set(mentions.map((m) => m.group))].sort();
  filters.push(select(strata, "Group", [any, ...groups.map((g) => [g, g])], (wanted) => wanted === null ? null : (m) => m.group === wanted));
  data.partitions.forEach((partition, p) => {
    const parts = [...new Set(mentions.map((m) => m.strata[p]))].filter((part) => part !== "-").sort();
    // Nothing to choose between where all mentions are alike or nothing is known.
    if (parts.length < 2) return;
    const options = parts.map((part) => [partition.parts[part].replace("_", " "), part]);
    filters.push(select(strata, partition.title, [any, ...options], (wanted) => wanted === null ? null : (m) => m.strata[p] === wanted));
  });
  const outcomes = [any, ...(systems.length === 1
    ? [["right", ["1"]], ["wrong", ["0"]]]
    : [[`${names[0]} right, ${names[1]} wrong`, ["10"]], [`${names[0]} wrong, ${names[1]} right`, ["01"]],
       ["both right", ["11"]], ["both wrong", ["00"]], ["answers differ in being right", ["10", "01"]]])];
  // A dash where a system has no verdict on the mention.
  const verdicts = mentions.map((_, i) => systems.slice(0, 2).map((s) => (s.rows[i] === null ? "-" : s.rows[i].right ? "1" : "0")).join(""));
  if (systems.length > 1) {
    const [a, b] = names;
    const lacking = [[`${a} has it, ${b} does not`, ["1-", "0-"]], [`${b} has it, ${a} does not`, ["-1", "-0"]], [`neither ${a} nor ${b} has it`, ["--"]]];
    outcomes.push(...lacking.filter(([, wanted]) => verdicts.some((v) => wanted.includes(v))));
  }
  filters.push(select(answers, "Outcome", outcomes, (wanted) => wanted === null ? null : (m, i) => wanted.includes(verdicts[i])));
  systems.forEach((system) => {
    const labels = [...new Set(system.rows.map((r) => (r === null ? undefined : r.label)).filter((l) => l !== undefined))].sort();
    if (labels.length > 0) filters.push(select(answers, `Judge on ${system.name}`, [any, ...labels.map((l) => [l, l])], (wanted) =>
      wanted === null ? null : (m, i) => system.rows[i] !== null && system.rows[i].label === wanted));
  });
  // Made when a text is looked for the first time: the page opens sooner.
  let haystack = null;
  const contains = (i, wanted) => {
    haystack ??= mentions.map((m, i) => [m.sentence, m.gold_name, m.gold, m.document, ...systems.flatMap((s) => (s.rows[i] === null ? [] : [s.rows[i].name, s.rows[i].code]))].join(" ").toLowerCase());
    return haystack[i].includes(wanted);
  };

  answers.append(make("button", { type: "button", onclick: () => {
    form.reset();
    update(true);
  } }, "Clear all filters"));

  const columns = [
    { name: "Mention in its sentence", key: (i) => mentions[i].sentence },
    { name: "Gold", key: (i) => mentions[i].gold_name || mentions[i].gold },
    ...systems.map((s) => ({ name: s.name, key: (i) => (s.rows[i] === null || s.rows[i].score === undefined ? -Infinity : s.rows[i].score) })),
    { name: "Strata", key: (i) => mentions[i].group },
  ];
  const heads = columns.map((column, c) => {
    const head = make("th", { scope: "col", role: "columnheader" });
    head.append(make("button", { type: "button", onclick: () => {
      state.down = state.sort === c ? !state.down : false;
      state.sort = c;
      heads.forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      update(false);
    } }, column.name));
    return head;
  });
  document.querySelector("#mentions thead").append(make("tr", { role: "row" }, ...heads));

  const sentence = (marked) => {
    const cell = make("td", { class: "sentence" });
    let last = 0;
    for (const match of marked.matchAll(/\[([^\]]*)\](?:\{[^}]*\})?/g)) {
      cell.append(marked.slice(last, match.index), make("mark", {}, match[1]));
      last = match.index + match[0].length;
    }
    cell.append(marked.slice(last));
    return cell;
  };
  const answer = (row) => {
    const cell = make("td", { class: "answer" });
    if (row === null) {
      cell.append("not scored in this file");
      return cell;
    }
    const verdict = row.right ? "✓ right " : row.credit === undefined ? "✗ wrong " : `◐ ${(100 * row.credit).toFixed(0)} % right `;
    cell.append(make("span", { class: `verdict ${row.right ? "right" : "wrong"}` }, verdict),
      row.name || "no answer", document.createElement("br"), make("span", { class: "code" }, row.code));
    const details = [["score", row.score], ["beam", row.beam], ["probability", row.probability]]
      .filter(([, x]) => x !== undefined).map(([name, x]) => `${name} ${x.toFixed(3)}`);
    if (row.label !== undefined) details.push(`judge ${row.label}`);
    if (details.length > 0) cell.append(document.createElement("br"), details.join(", "));
    return cell;
  };
  const tags = (m) => {
    const known = data.partitions.map((partition, p) => (m.strata[p] === "-" ? "" : partition.tags[m.strata[p]]));
    const words = [m.group, ...known.filter((tag) => tag !== "")];
    const cell = make("td", { class: "tags" }, ...words.map((w) => make("span", {}, w)));
    cell.append(document.createElement("br"), `${m.document} ${m.start}–${m.end}`);
    return cell;
  };
  const body = document.querySelector("#mentions tbody");
  const draw = () => {
    const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const shown = state.rows.slice(state.page * PAGE, (state.page + 1) * PAGE);
    body.replaceChildren(...shown.map((i) => {
      const m = mentions[i];
      const gold = make("td", { class: "answer" }, m.gold_name || "", document.createElement("br"), make("span", { class: "code" }, m.gold));
      const cells = [sentence(m.sentence), gold, ...systems.map((s) => answer(s.rows[i])), tags(m)];
      // In a narrow window cells stand below each other, named by their column; the roles keep them a table there.
      cells.forEach((cell, c) => {
        cell.setAttribute("role", "cell");
        cell.dataset.column = columns[c].name;
      });
      return make("tr", { role: "row" }, ...cells);
    }));
    document.querySelectorAll(".page").forEach((p) => { p.textContent = `Page ${state.page + 1} of ${pages}`; });
    document.querySelectorAll(".pager button").forEach((b) => {
      const to = state.page + Number(b.dataset.step);
      // A disabled button would lose the focus of the keyboard.
      b.setAttribute("aria-disabled", to < 0 || to >= pages);
    });
  };
  const update = (first) => {
    if (first) state.page = 0;
    const active = filters.map((f) => f()).filter((f) => f !== null);
    const wanted = text.value.toLowerCase().trim();
    const rows = [];
    for (let i = 0; i < mentions.length; i++) {
      if ((wanted === "" || contains(i, wanted)) && active.every((f) => f(mentions[i], i))) rows.push(i);
    }
    if (state.sort !== null) {
      const key = columns[state.sort].key;
      const sign = state.down ? -1 : 1;
      const keys = new Map(rows.map((i) => [i, key(i)]));
      rows.sort((a, b) => { const x = keys.get(a), y = keys.get(b); return sign * (x < y ? -1 : x > y ? 1 : 0) || a - b; });
    }
    state.rows = rows;
    const shares = systems.map((s) => {
      const has = rows.filter((i) => s.rows[i] !== null);
      const right = has.filter((i) => s.rows[i].right).length;
      const of = has.length === rows.length ? "" : ` of its ${has.length}`;
      // Ties may earn a part: then the share is recall, not the share of right answers.
      const credit = has.reduce((sum, i) => sum + (s.rows[i].credit ?? Number(s.rows[i].right)), 0);
      const share = has.length ? (100 * credit / has.length).toFixed(1) : "0.0";
      return `${s.name} ${right}${of} right (${credit === right ? "" : "recall "}${share} %)`;
    });
    document.getElementById("count").textContent = `${rows.length} of ${mentions.length} mentions; ${shares.join("; ")}`;
    draw();
  };
  document.querySelectorAll(".pager button").forEach((b) => b.addEventListener("click", () => { state.page += Number(b.dataset.step); draw(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  update(true);
  // Milliseconds since the page was asked for.
  document.body.dataset.opened = performance.now().toFixed(0);
})();
