// Every task: found by what is typed, sorted by what is asked, opened as a card.
"use strict";

const ROWS = 25;

class Tasks {
  constructor(data, open) {
    this.data = data;
    this.open = open;
    this.shown = ROWS;
    this.order = { by: "submitted", down: false };
    this.only = "all";
    const { tasks, kinds, names } = data;
    this.text = tasks.id.map((id, place) => {
      return `${id} ${kinds[tasks.kind[place]]} ${tasks.state[place]} ${names[tasks.node[place]] || ""}`.toLowerCase();
    });
    this.chips();
    $("#search").addEventListener("input", () => { this.shown = ROWS; this.draw(); });
    $("#search").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && this.found.length) this.open(this.found[0]);
    });
    $("#more").addEventListener("click", () => { this.shown += 4 * ROWS; this.draw(); });
    this.draw();
  }

  chips() {
    const { tasks } = this.data;
    const kinds = {
      all: ["All", () => true],
      again: ["Awarded again", (place) => tasks.lost[place] > 0],
      undone: ["Not done", (place) => tasks.state[place] !== "done"],
      close: ["Won by a hair", (place) => tasks.margin[place] !== null && tasks.margin[place] < 0.05 * tasks.cost[place]],
    };
    this.filters = Object.fromEntries(Object.entries(kinds).map(([name, [, fits]]) => [name, fits]));
    $("#chips").replaceChildren(...Object.entries(kinds).map(([name, [words, fits]]) => {
      const number = tasks.id.reduce((sum, _, place) => sum + fits(place), 0);
      return h("button", { type: "button", "data-only": name, "aria-pressed": String(name === this.only), disabled: number === 0,
        onclick: () => {
          this.only = name;
          this.shown = ROWS;
          document.querySelectorAll("[data-only]").forEach((chip) => chip.setAttribute("aria-pressed", String(chip.dataset.only === name)));
          this.draw();
        } }, `${words} ${count(number)}`);
    }));
  }

  columns() {
    const { tasks, kinds, names, ticks_per_s: per } = this.data;
    const node = (place) => names[tasks.node[place]] || "";
    const took = (place) => (tasks.ended[place] === null || tasks.submitted[place] === null ? null : tasks.ended[place] - tasks.submitted[place]);
    return [
      { by: "id", name: "Task", cell: (place) => h("button", { class: "link id" }, tasks.id[place]), key: (place) => tasks.id[place] },
      { by: "kind", name: "Kind", cell: (place) => short(kinds[tasks.kind[place]]), key: (place) => kinds[tasks.kind[place]], extra: true },
      { by: "state", name: "State", cell: (place) => h("span", { class: `state ${tasks.state[place]}` }, tasks.state[place]), key: (place) => tasks.state[place] },
      { by: "node", name: "Node", cell: node, key: node },
      { by: "submitted", name: "At", cell: (place) => (tasks.submitted[place] === null ? "" : `${(tasks.submitted[place] / per).toFixed(2)} s`), key: (place) => tasks.submitted[place], right: true, extra: true },
      { by: "took", name: "Took", cell: (place) => duration(took(place) === null ? null : took(place) / per), key: took, right: true },
      { by: "margin", name: "Won by", cell: (place) => duration(tasks.margin[place] === null ? null : tasks.margin[place] / per), key: (place) => tasks.margin[place], right: true, extra: true },
      { by: "attempts", name: "Tries", cell: (place) => String(tasks.attempts[place]), key: (place) => tasks.attempts[place], right: true },
    ];
  }

  draw() {
    const wanted = $("#search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = this.filters[this.only];
    this.found = [];
    this.text.forEach((text, place) => {
      if (fits(place) && wanted.every((word) => text.includes(word))) this.found.push(place);
    });
    const columns = this.columns();
    const { key } = columns.find((column) => column.by === this.order.by);
    if (this.order.by !== "submitted" || this.order.down) {
      const way = this.order.down ? -1 : 1;
      const keyed = this.found.map((place) => [key(place), place]);
      keyed.sort(([one, a], [other, b]) => {
        if (one === other) return a - b;
        if (one === null) return 1;
        if (other === null) return -1;
        return (one < other ? -1 : 1) * way;
      });
      this.found = keyed.map(([, place]) => place);
    }
    const align = (column) => [column.right ? "right num" : "", column.extra ? "extra" : ""].join(" ").trim();
    const arrow = (column) => (column.by === this.order.by ? (this.order.down ? " ↓" : " ↑") : "");
    $("#list").replaceChildren(
      h("thead", {}, h("tr", {}, ...columns.map((column) => h("th", { class: align(column) },
        h("button", { type: "button", onclick: () => {
          this.order = { by: column.by, down: this.order.by === column.by && !this.order.down };
          this.draw();
        } }, column.name + arrow(column)))))),
      h("tbody", {}, ...this.found.slice(0, this.shown).map((place) =>
        h("tr", { "data-task": this.data.tasks.id[place], onclick: () => this.open(place) }, ...columns.map((column) => h("td", { class: align(column) }, column.cell(place)))))),
    );
    $("#found").textContent = `${plural(this.found.length, "task")}${this.found.length > this.shown ? `, the first ${count(this.shown)} shown` : ""}`;
    $("#more").hidden = this.found.length <= this.shown;
  }
}
