/* What the page is made of: a pool, a replica, an event, a worker, a device. */

function tile(title, unit) {
  const value = element("b");
  const more = element("small");
  const node = element("div", "tile", element("h3", "", title), element("p", "", value, unit ? element("small", "", unit) : "", more));
  return { node, update(text, small = "") { say(value, text); say(more, small); } };
}

/* -- replicas -- */

const COLUMNS = [
  ["State", "state"], ["Replica", "who"], ["Outstanding", "number"], ["Running", "number"], ["Waiting", "number"],
  ["KV cache", "number kv"], ["Adapters", "adapters"], ["", "action"],
];

function replicaTable(table) {
  const head = element("tr", "", ...COLUMNS.map(([title, kind]) => element("th", kind.replace("kv", ""), title)));
  head.children[2].title = "Requests that this gateway has sent there and that have not ended";
  head.children[3].title = "Requests that the engine runs, as it says itself";
  head.children[4].title = "Requests that wait inside the engine, as it says itself";
  return (replicas, now, lastOnes) => keep(table, [null, ...replicas], (r) => r?.url ?? "", (r) => {
    return r === null ? { node: head, update() {} } : replicaRow(now, lastOnes);
  });
}

function replicaRow() {
  const cells = COLUMNS.map(([title, kind]) => {
    const cell = element("td", kind);
    if (title && title !== "State" && title !== "Replica") cell.dataset.title = title;
    return cell;
  });
  const [state, who, outstanding, running, waiting, kv, adapters, action] = cells;
  const word = element("b");
  const url = element("span", "mono");
  const why = element("small");
  const bar = element("u");
  const share = element("span");
  const meter = element("div", "meter", element("i", "", bar), share);
  const button = drainButton();
  state.append(word);
  who.append(url, why);
  kv.append(meter);
  action.append(element("div", "", button.node));
  return {
    node: element("tr", "", ...cells),
    update(replica) {
      say(word, replica.condition);
      dress(word, MOODS[replica.condition] ?? "wait");
      say(url, short(replica.url));
      say(why, reasonOf(replica));
      say(outstanding, whole(replica.outstanding));
      const engine = replica.engine;
      say(running, engine ? whole(engine.running) : "–");
      say(waiting, engine ? whole(engine.waiting) : "–");
      const use = engine ? engine.kv_usage : 0;
      bar.style.width = `${use * 100}%`;
      say(share, engine ? percent(use) : "–");
      dress(meter, use >= 0.9 ? "meter wait" : "meter");
      keep(adapters, replica.adapters.length ? replica.adapters : ["–"], (name) => name, named);
      adapters.classList.toggle("none", !replica.adapters.length);
      button.update(replica);
    },
  };
}

/* A name that breaks only where it must. */
function named() {
  const node = element("span");
  return { node, update(name) { say(node, name); } };
}

function reasonOf(replica) {
  const held = age(Status.now - replica.since);
  if (replica.condition === "ejected" && replica.state === "up") {
    const why = replica.reason.startsWith("hung") ? replica.reason : "requests to it failed";
    return `${why} · tried again in ${age(replica.ejected_for_s)}`;
  }
  if (replica.condition === "trial") return "one request finds out whether it is well again";
  if (replica.condition === "up") return `for ${held}`;
  if (replica.condition === "drained") return "takes no requests, nothing runs there any more";
  if (replica.condition === "draining") return `takes no new requests, ${plural(replica.outstanding, "request")} still run`;
  return `${replica.reason || "not asked yet"} · for ${held}`;
}

/* The first click arms it, the second within some seconds acts: one click must not take a server out. */
function drainButton() {
  const node = element("button");
  let replica = null;
  let armed = 0;
  const label = () => {
    const action = replica.draining ? "Undrain" : "Drain";
    say(node, armed ? `Drain ${Status.lossOf(replica)}?` : action);
    node.setAttribute("aria-label", `${node.textContent} ${replica.url}`);
    dress(node, armed ? "armed" : "");
  };
  const disarm = () => { clearTimeout(armed); armed = 0; label(); };
  node.addEventListener("click", async () => {
    if (!replica.draining && !armed) {
      armed = setTimeout(disarm, 5000);
      label();
      return;
    }
    disarm();
    node.disabled = true;
    await setDraining(replica.url, !replica.draining);
    node.disabled = false;
  });
  node.addEventListener("blur", () => { if (armed) disarm(); });
  return { node, update(newer) { replica = newer; label(); } };
}

async function setDraining(url, draining) {
  const action = draining ? "drain" : "undrain";
  const body = JSON.stringify({ replica: url });
  const headers = { "Content-Type": "application/json" };
  try {
    const response = await fetch(`api/replicas/${action}`, { method: "POST", headers, body });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error.message);
    const left = answer.outstanding ? `; ${plural(answer.outstanding, "request")} still run` : "";
    announce(draining ? `${short(url)} gets no new requests${left}.` : `${short(url)} gets requests again.`);
  } catch (error) {
    announce(`${short(url)}: ${error.message}`, "bad");
  }
}

/* -- pools -- */

function poolCard(pool) {
  const name = element("h3", "", pool.name);
  const chips = element("span");
  const segments = element("span", "segments");
  const usable = element("span");
  const table = element("table", "replicas");
  const troubles = element("div", "troubles");
  const charts = [
    chart("Requests", [
      { key: "requests_per_s", className: "first", name: "per s", area: true },
      { key: "server_errors_per_s", className: "alarm", name: "5xx per s", alarm: true },
    ], (value) => (value === undefined || value === null ? "–" : rate(value))),
    chart("First token", [
      { key: "ttft_p50_s", className: "first", name: "p50" }, { key: "ttft_p95_s", className: "second", name: "p95" },
    ], duration),
    chart("Between tokens", [
      { key: "itl_p50_s", className: "first", name: "p50" }, { key: "itl_p95_s", className: "second", name: "p95" },
    ], duration),
    chart("Outstanding", [
      { key: "outstanding", className: "first", name: "at replicas", area: true },
      { key: "queue_depth", className: "alarm", name: "in the queue", alarm: true },
    ], (value) => whole(value ?? 0)),
  ];
  const showReplicas = replicaTable(table);
  const node = element("article", "card pool",
    element("div", "title", name, chips, element("span", "usable", segments, usable)),
    element("div", "charts", ...charts.map((each) => each.node)), table, troubles);
  chips.style.display = "contents";
  return {
    node,
    update(newer) {
      const replicas = newer.replicas.map((url) => Status.replica(url));
      const mood = newer.usable === 0 ? "bad" : newer.usable < replicas.length ? "wait" : "good";
      say(usable, `${newer.usable} of ${replicas.length} usable`);
      dress(usable, mood);
      keep(segments, replicas, (r) => r.url, () => segment());
      keep(chips, Status.namesOf(newer), (m) => m.name, () => nameChip());
      const current = {
        requests_per_s: newer.requests_per_s, server_errors_per_s: newer.server_errors_per_s,
        ttft_p50_s: newer.time_to_first_token.p50_s, ttft_p95_s: newer.time_to_first_token.p95_s,
        itl_p50_s: newer.inter_token_latency.p50_s, itl_p95_s: newer.inter_token_latency.p95_s,
        outstanding: newer.outstanding, queue_depth: newer.queue_depth,
      };
      for (const each of charts) each.update(Status.history.get(newer.name), current, Status.now);
      showReplicas(replicas);
      troubles.hidden = !newer.troubles.length;
      keep(troubles, [null, ...newer.troubles], (t) => (t ? `${t.kind} ${t.reason}` : ""), troubleChip);
    },
  };
}

function segment() {
  const node = element("i");
  return { node, update(replica) { dress(node, MOODS[replica.condition] ?? "wait"); node.title = `${short(replica.url)} ${replica.condition}`; } };
}

function nameChip() {
  const kind = element("b");
  const node = element("span", "chip", kind);
  const text = document.createTextNode("");
  node.append(text);
  return {
    node,
    update(model) {
      const words = { model: `${whole(model.max_model_len ?? 0)} tokens of context`, alias: `alias of ${model.upstream}`, adapter: "adapter" };
      const isBase = model.kind === "model";
      say(kind, isBase ? "" : `${model.name} `);
      text.data = words[model.kind];
      dress(node, model.listed || isBase ? "chip" : "chip off");
      node.title = model.listed ? "" : "no usable replica has it now";
      node.hidden = isBase && !model.max_model_len;
    },
  };
}

function troubleChip(trouble) {
  if (trouble === null) return { node: element("span", "", "Last five minutes"), update() {} };
  const [mood, words] = TROUBLES[trouble.kind] ?? ["", (reason) => `${trouble.kind} ${reason}`];
  const node = element("span", `chip ${mood}`);
  return { node, update(newer) { say(node, `${whole(newer.count)} ${words(newer.reason)}`); } };
}

/* -- events, workers, devices -- */

function eventLine(event) {
  const when = element("time");
  const about = event.replica ? element("span", "mono", short(event.replica)) : element("b", "", event.model);
  when.dateTime = new Date(event.time * 1000).toISOString();
  when.title = new Date(event.time * 1000).toLocaleString();
  const dot = element("i", EVENTS[event.kind] ?? "idle");
  dot.title = event.kind.replaceAll("_", " ");
  const node = element("li", "", when, element("p", "", dot, about, " ", element("span", "soft", event.message)));
  return { node, update(newer) { say(when, `${age(Status.now - newer.time)} ago`); } };
}

function workerTable(table) {
  const head = element("tr", "", ...["Worker", "Process", "Clients", "Loop lag", "Restarts"].map((title, at) => element("th", at > 1 ? "number" : "", title)));
  return (workers) => keep(table, [null, ...workers], (w) => w?.index ?? "", (w) => {
    if (w === null) return { node: head, update() {} };
    const cells = [element("td"), element("td", "mono"), ...[2, 3, 4].map(() => element("td", "number"))];
    return {
      node: element("tr", "", ...cells),
      update(worker) {
        const texts = [worker.index, worker.pid ?? "starting", whole(worker.clients), duration(worker.loop_lag_s), worker.restarts];
        texts.forEach((text, at) => say(cells[at], String(text)));
        dress(cells[1], worker.pid === null ? "wait" : "mono");
        dress(cells[4], `number ${worker.restarts ? "wait" : ""}`);
      },
    };
  });
}

function deviceBar(device) {
  const servers = device.servers;
  const used = device.others_bytes + servers.reduce((sum, s) => sum + s.weights_bytes + s.kv_cache_bytes + s.other_bytes, 0);
  const piece = (className, bytes, title) => {
    const made = element("i", className);
    made.style.width = `${(bytes / device.total_bytes) * 100}%`;
    made.title = `${title}: ${gib(bytes)}`;
    return made;
  };
  const stack = element("div", "stack", ...servers.flatMap((s) => [
    piece("", s.weights_bytes, `${s.model}, weights`), piece("cache", s.kv_cache_bytes, `${s.model}, KV cache`),
    piece("other", s.other_bytes, `${s.model}, activations, graphs, context`),
  ]), piece("foreign", device.others_bytes, "other processes"));
  const legend = element("div", "legend", ...servers.map((s) => element("span", "", element("b", "", s.model),
    ` weights ${gib(s.weights_bytes)}, KV cache ${gib(s.kv_cache_bytes)}${s.kv_tokens ? ` (${whole(s.kv_tokens)} tokens)` : ""}, other ${gib(s.other_bytes)}`)));
  const title = element("p", "", element("b", "", `GPU ${device.index} · ${device.name}`), element("span", "soft", `${gib(used)} of ${gib(device.total_bytes)}`));
  return { node: element("div", "device", title, stack, legend), update() {} };
}
