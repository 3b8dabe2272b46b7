// The card of one task: each award with its bids as bars, what would have changed it, what became of it, its history.
"use strict";

const TERM_COLORS = { queue: "c2", run: "c0", transfer: "c1", load_model: "c3", server_queue: "c4", price: "c5" };
const BIDS_SHOWN = 24;

class Card {
  constructor(data) {
    this.data = data;
    this.cards = null;
    this.box = $("#card");
    this.box.addEventListener("click", (event) => { if (event.target === this.box) this.box.close(); });
    this.box.addEventListener("close", () => { if (location.hash.startsWith("#task=")) history.replaceState(null, "", location.pathname + location.search); });
  }

  async open(place) {
    const id = this.data.tasks.id[place];
    if (this.cards === null) this.cards = await unpacked("cards");
    const told = this.cards[id];
    const body = [this.title(place), ...(told ? this.whole(told, place) : this.brief(place))];
    $("#card-body").replaceChildren(...body.flat());
    if (!this.box.open) this.box.showModal();
    this.box.scrollTop = 0;
    history.replaceState(null, "", `#task=${encodeURIComponent(id)}`);
  }

  title(place) {
    const { tasks, kinds, errors } = this.data;
    const node = this.nodeOf(tasks.node[place]);
    const state = tasks.state[place];
    const took = tasks.ended[place] !== null && tasks.submitted[place] !== null ? ` after ${this.time(tasks.ended[place] - tasks.submitted[place])}` : "";
    const error = errors[tasks.error[place]];
    return [
      h("h2", { tabindex: -1, autofocus: true }, h("span", { class: "id" }, tasks.id[place]), h("button", { type: "button", id: "close", onclick: () => this.box.close() }, "Close")),
      h("p", {}, h("span", { class: `state ${state}` }, state), `${node ? ` on ${node}` : ""}${took}${error ? `: ${error}` : ""}`),
      h("p", { class: "muted" }, kinds[tasks.kind[place]]),
    ];
  }

  nodeOf(place) { return place < 0 ? "" : this.data.names[place]; }
  time(ticks) { return duration(ticks / this.data.ticks_per_s); }

  brief(place) {
    const { tasks, path } = this.data;
    const facts = [];
    if (tasks.cost[place] !== null) {
      facts.push(this.fact("won", `${this.nodeOf(tasks.node[place]) || "its winner"}, at ${this.time(tasks.cost[place])}`));
      facts.push(this.fact("second", tasks.second[place] < 0 ? "nobody else bid" : `${this.nodeOf(tasks.second[place])}, ${this.time(tasks.margin[place])} behind`));
    }
    facts.push(this.fact("tries", `${tasks.attempts[place]}, of which ${tasks.lost[place]} lost`));
    return [
      h("ul", { class: "facts" }, ...facts),
      h("p", { class: "muted" }, "All its bids are in the logs: ", h("code", {}, `parley why ${tasks.id[place]} --run ${path}`)),
    ];
  }

  whole(told, place) {
    const submitted = told.submitted;
    const parts = [];
    if (submitted) {
      const work = submitted.work_s === null ? "work unknown" : `work ${duration(submitted.work_s)} at speed 1`;
      parts.push(h("p", { class: "muted" }, `Submitted to ${submitted.node} by ${submitted.client}; ${work}, argument ${count(submitted.payload_bytes)} bytes`));
    }
    for (const award of told.awards) parts.push(...this.award(award, told.awards.length));
    if (!told.awards.length && told.unbid.length) {
      const last = told.unbid[told.unbid.length - 1];
      parts.push(h("h3", {}, `Nobody bid in ${plural(told.unbid.length, "call")}`), h("ul", { class: "facts" }, ...this.absent(last)));
    }
    parts.push(h("h3", {}, "History"), this.history(told));
    return parts.length ? parts : this.brief(place);
  }

  award(award) {
    const dearest = Math.max(...award.bids.map((bid) => bid.cost), 1e-12);
    const terms = [...new Set(award.bids.flatMap((bid) => Object.keys(bid.terms)))];
    const fill = (term) => `var(--${TERM_COLORS[term] || colorName(terms.indexOf(term) + 4)})`;
    const winner = award.bids.filter((bid) => bid.node === award.winner);
    const bids = award.bids.slice(0, BIDS_SHOWN);
    if (!bids.includes(winner[0])) bids.push(...winner);
    const rows = bids.map((bid) => h("div", { class: bid.node === award.winner ? "bid won" : "bid" },
      h("span", { class: "name", title: bid.node }, `${bid.node === award.winner ? "▶ " : ""}${bid.node}`),
      h("span", { class: "num" }, duration(bid.cost)),
      h("div", { class: "bar", style: `width:${(100 * bid.cost) / dearest}%` }, ...terms.filter((term) => bid.terms[term] > 0).map((term) =>
        h("i", { style: `background:${fill(term)};flex:${(1000 * bid.terms[term]) / bid.cost} 1 0`, title: `${term} ${duration(bid.terms[term])}${this.rests(bid, term)}` })))));
    const more = award.bids.length - bids.length;
    const facts = [
      ...(award.batch ? [this.fact("batch", `divided with ${plural(award.batch.tasks - 1, "other task")} by all nodes; the optimum is within ${within(award.batch.certificate)}`)] : []),
      ...this.absent(award),
      ...award.what_if.map((change) => this.fact("if", change.text)),
    ];
    if (award.lost) {
      const idle = award.lost.heard ? "not started there" : "whether it started there, no line here tells";
      const started = award.lost.ran_s === null ? idle : `started there ${duration(award.lost.ran_s)} before`;
      facts.push(this.fact("lost", `after ${duration(award.lost.after_s)}: ${award.lost.reason}, ${this.data.words.reasons[award.lost.reason] || ""}; ${started}; offered again`, "bad"));
    }
    return [
      h("h3", {}, `Award ${award.epoch}: ${this.verdict(award)}`),
      h("p", { class: "muted" }, `${award.rule}: ${this.data.words.rules[award.rule] || ""}`),
      h("div", { class: "legend" }, ...terms.map((term) => h("span", {}, h("i", { style: `background:${fill(term)}` }), term))),
      ...rows,
      ...(more > 0 ? [h("p", { class: "muted" }, `and ${plural(more, "more bid")}`)] : []),
      ...(facts.length ? [h("ul", { class: "facts" }, ...facts)] : []),
    ];
  }

  rests(bid, term) {
    if (term !== "run" || bid.factor === null || bid.factor === undefined) return "";
    return `, ${+bid.factor.toPrecision(3)} times the nominal time by ${plural(bid.observations, "run")} like it there`;
  }

  verdict(award) {
    const { winner, runner_up: second, margin, cost } = award;
    if (second === null || margin === null) return `${winner} wins, the only one to bid`;
    if (margin === 0) return `${winner} and ${second} tie at ${duration(cost)}`;
    if (margin < 0) return `${winner} wins, though ${second} would have cost ${duration(-margin)} less`;
    return `${winner} wins by ${duration(margin)} over ${second}`;
  }

  absent({ declines, silent }) {
    const alike = new Map();
    for (const decline of declines) {
      const words = `${decline.reason}: ${decline.detail || this.data.words.reasons[decline.reason] || ""}`;
      alike.set(words, [...(alike.get(words) || []), decline.node]);
    }
    const listed = (nodes) => nodes.slice(0, 8).join(", ") + (nodes.length > 8 ? ` and ${nodes.length - 8} more` : "");
    return [
      ...[...alike].map(([words, nodes]) => this.fact("declined", `${listed(nodes)}; ${words}`)),
      ...(silent.length ? [this.fact("silent", listed(silent), "bad")] : []),
    ];
  }

  fact(name, words, kind) { return h("li", { class: kind || false }, h("span", {}, name), words); }

  history(told) {
    return h("table", { class: "steps" }, h("tbody", {}, ...told.history.map((step) => h("tr", {},
      h("td", { class: "num" }, `+${duration(step.at_s)}`), h("td", {}, step.node), h("td", {}, step.text)))));
  }
}
