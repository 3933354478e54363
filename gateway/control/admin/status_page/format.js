/* Numbers as people say them; the same words as in the terminal. */

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${(Math.max(seconds, 0) * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}

/* How long something holds: whole seconds, since tenths would only flicker. */
const age = (seconds) => duration(seconds < 60 ? Math.max(0, Math.floor(seconds)) || 0.001 : seconds).replace("1.0 ms", "0 s").replace(".0 s", " s");

function rate(perSecond) {
  if (perSecond >= 100) return perSecond.toFixed(0);
  return perSecond > 0 && perSecond < 0.1 ? perSecond.toFixed(2) : perSecond.toFixed(1);
}

const whole = (number) => Math.round(number).toLocaleString("en");
const percent = (share) => `${Math.round(share * 100)} %`;
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const gib = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
const short = (url) => url.replace(/^http:\/\//, "");

/* What a word of the API means for an operator: is it well, does it wait, is it bad? */
const MOODS = {
  up: "good", starting: "wait", draining: "wait", drained: "idle", trial: "wait", ejected: "bad",
  refused: "bad", failing: "bad", unresponsive: "bad",
};
const EVENTS = {
  replica_up: "good", returned: "good", replica_recovered: "good", undrain: "good", reload: "good",
  replica_down: "bad", ejected: "bad", replica_hung: "bad", request_failed: "bad", stream_broken: "bad",
  worker_ended: "bad", reload_rejected: "bad", drain: "wait", warning: "wait", stopping: "wait",
};
const TROUBLES = {
  broken_streams: ["bad", () => "broken"],
  shed: ["bad", (reason) => `refused: ${reason.replaceAll("_", " ")}`],
  resumed_streams: ["", (outcome) => (outcome === "resumed" ? "resumed on another replica" : `not resumed: ${outcome.replaceAll("_", " ")}`)],
  retries: ["", (reason) => `retried: ${reason.replaceAll("_", " ")}`],
  client_disconnects: ["", () => "left by the client"],
};
