// One stream for the page, closed while its tab is hidden; polling where streams do not pass, or at an interval.
import { applied } from "./changes.js";

const STREAM_TRIES = 3;

export class Stream {
  // `shown` receives the new state and the names of the parts that changed; `troubled` a text or nothing.
  constructor(base, shown, troubled) {
    Object.assign(this, { base, shown, troubled, state: {}, last: "", query: "", every: "", failed: 0 });
    this.source = null;
    this.timer = 0;
    this.turn = 0;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    addEventListener("pagehide", () => this.close());
  }

  watch(query, every) {
    const same = this.query === query && this.every === every && (this.source || this.timer);
    this.query = query;
    this.every = every;
    if (!same) {
      this.close();
      this.open();
    }
  }

  close() {
    this.turn += 1;
    this.source?.close();
    this.source = null;
    clearTimeout(this.timer);
    this.timer = 0;
  }

  open() {
    if (document.hidden || this.source || this.timer) return;
    if (this.every !== "" || this.failed >= STREAM_TRIES || !window.EventSource) this.poll();
    else this.listen();
  }

  listen() {
    const turn = this.turn;
    const source = new EventSource(`${this.base}events?${this.address()}`);
    this.source = source;
    source.onopen = () => {
      this.failed = 0;
      this.troubled("");
    };
    source.onmessage = (event) => {
      if (turn === this.turn) this.receive({ id: event.lastEventId, change: JSON.parse(event.data) });
    };
    source.onerror = () => {
      if (turn !== this.turn) return;
      this.failed += 1;
      this.close();
      this.poll(); // says what is wrong; a stream follows once the server answers
    };
  }

  async poll() {
    const turn = this.turn;
    const interval = this.every === "" ? 2 : Number(this.every);
    this.timer = -1; // a request is under way
    let again = interval;
    try {
      const answer = await fetch(`${this.base}panels?${this.address()}`, { cache: "no-store" });
      if (turn !== this.turn) return;
      if (!answer.ok) throw new Error((await answer.text()).trim() || answer.statusText);
      const content = await answer.json();
      if (turn !== this.turn) return;
      if (content) this.receive(content);
      this.troubled("");
      if (this.every === "" && this.failed < STREAM_TRIES) again = -1;
    } catch (error) {
      if (turn !== this.turn) return;
      const lost = error instanceof TypeError;
      this.troubled(lost ? "The server does not answer. Start `pcdarts watch` again; this page then goes on." : error.message);
      if (lost) this.failed = 0; // a stream is tried again after a restart
      again = Math.max(2, interval);
    }
    if (again < 0) {
      this.timer = 0;
      this.listen();
    } else if (interval > 0 || again >= 2) {
      this.timer = setTimeout(() => {
        this.timer = 0;
        this.open();
      }, again * 1000);
    } else {
      this.timer = -2; // paused
    }
  }

  address() {
    const query = new URLSearchParams(this.query);
    if (this.last) query.set("since", this.last);
    return query.toString();
  }

  receive({ id, change }) {
    this.last = id;
    const before = this.state;
    this.state = applied(before, change);
    const names = new Set([...Object.keys(before), ...Object.keys(this.state)]);
    this.shown(this.state, new Set([...names].filter((name) => before[name] !== this.state[name])));
  }
}
