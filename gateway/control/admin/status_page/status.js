/* The newest document, and the stream that brings it. */

const RETRY_MS = 2000;
const EVENTS_SHOWN = 60;

const Status = {
  document: null,
  history: new Map(),
  get now() { return this.document.time; },
  replica(url) { return this.document.replicas.find((replica) => replica.url === url); },
  namesOf(pool) { return this.document.models.filter((model) => model.pool === pool.name); },
  /* What a drain would take from clients, as the end of a question. */
  lossOf(replica) {
    const others = this.document.replicas.filter((other) => other.url !== replica.url && other.condition === "up");
    const pool = replica.pools.find((name) => !others.some((other) => other.pools.includes(name)));
    const adapter = replica.adapters.find((name) => !others.some((other) => other.adapters.includes(name)));
    if (replica.condition !== "up") return "it";
    return pool ? "the last one" : adapter ? `the only one with ${adapter}` : "it";
  },
};

const totals = {
  rate: tile("Requests", "per s"), running: tile("Outstanding"), queue: tile("In the queue"),
  errors: tile("Server errors", "per s"), clients: tile("Client connections"),
};
byId("totals").append(...Object.values(totals).map((each) => each.node));
const showHomeless = replicaTable(byId("homeless").querySelector("table"));
const showWorkers = workerTable(byId("workers"));

function verdict(status) {
  const without = status.pools.filter((pool) => pool.usable === 0).map((pool) => pool.name);
  if (without.length) return ["bad", `no usable replica for ${without.join(", ")}`];
  if (!status.pools.length) return ["wait", "no model yet"];
  const unwell = status.replicas.filter((replica) => replica.condition !== "up").length;
  if (unwell) return ["wait", `${unwell} of ${plural(status.replicas.length, "replica")} not in use`];
  return ["good", status.replicas.length === 1 ? "the replica is up" : `all ${status.replicas.length} replicas are up`];
}

function show(status) {
  Status.document = status;
  const [mood, words] = verdict(status);
  say(byId("verdict"), words);
  dress(byId("verdict"), `pill ${mood}`);
  tint(mood);
  const up = status.started ? ` · up ${age(status.time - status.started)}` : "";
  say(byId("about"), `${status.version}${up}`);
  byId("about").title = `snapshot ${status.snapshot}`;
  keep(byId("warnings"), status.warnings, (text) => text, (text) => ({ node: element("p", "warning", text), update() {} }));

  const sum = (key) => status.pools.reduce((total, pool) => total + pool[key], 0);
  totals.rate.update(rate(sum("requests_per_s")));
  totals.running.update(whole(sum("outstanding")));
  totals.queue.update(whole(sum("queue_depth")));
  totals.errors.update(rate(sum("server_errors_per_s")));
  dress(totals.errors.node, `tile ${sum("server_errors_per_s") > 0 ? "bad" : ""}`);
  totals.clients.update(whole(status.workers.reduce((total, worker) => total + worker.clients, 0)));

  keep(byId("pools"), status.pools, (pool) => pool.name, poolCard);
  const homeless = status.replicas.filter((replica) => !replica.pools.length);
  byId("homeless").hidden = !homeless.length;
  showHomeless(homeless);
  byId("memory").hidden = !status.devices.length;
  keep(byId("devices"), status.devices, (device) => JSON.stringify(device), deviceBar);
  const events = status.events.slice(0, EVENTS_SHOWN);
  const nothing = { time: 0, kind: "", nothing: true };
  keep(byId("events"), events.length ? events : [nothing], (e) => `${e.time} ${e.kind} ${e.replica} ${e.message}`,
    (e) => (e.nothing ? { node: element("li", "empty", "Nothing has happened yet."), update() {} } : eventLine(e)));
  showWorkers(status.workers);
}

/* Points that came since the last ones; the first of a stream are all there are. */
function remember(fresh, isFirst) {
  if (isFirst) Status.history.clear();
  for (const { pool, ...columns } of fresh) {
    const kept = Status.history.get(pool) ?? Object.fromEntries(Object.keys(columns).map((key) => [key, []]));
    for (const [key, values] of Object.entries(columns)) kept[key].push(...values);
    while (kept.time.at(-1) - kept.time[0] > WINDOW_S) for (const values of Object.values(kept)) values.shift();
    Status.history.set(pool, kept);
  }
}

/* The tab's icon: a dot in the colour of the verdict. */
function tint(mood) {
  if (tint.shown === mood) return;
  tint.shown = mood;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const pen = canvas.getContext("2d");
  pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${mood}`);
  pen.arc(16, 16, 13, 0, 2 * Math.PI);
  pen.fill();
  byId("icon").href = canvas.toDataURL();
}

/* -- the stream -- */

let stream = null;
let heardAt = 0;

function connection(state, words) {
  document.body.classList.toggle("stale", state === "off");
  dress(byId("live"), `live ${state}`);
  say(byId("live").lastElementChild, words);
}

function open() {
  if (stream || document.hidden) return;
  let isFirst = true;
  stream = new EventSource("api/events");
  stream.addEventListener("history", (event) => { remember(JSON.parse(event.data), isFirst); isFirst = false; });
  stream.addEventListener("status", (event) => {
    heardAt = Date.now();
    connection("on", "live");
    show(JSON.parse(event.data));
  });
  stream.addEventListener("error", () => { close(); setTimeout(open, RETRY_MS); });
}

function close() {
  stream?.close();
  stream = null;
}

/* A browser opens few connections to one server: a page that nobody sees needs none. */
document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
setInterval(() => {
  const silent_s = (Date.now() - heardAt) / 1000;
  if (heardAt && silent_s > 4) connection("off", `no news for ${age(silent_s)}`);
  else if (!heardAt && !stream) connection("off", "no answer");
}, 1000);
open();
