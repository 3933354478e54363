/* Small charts of the last minutes. A chart has up to two lines; the first may stand on an area. */

const WINDOW_S = 900;
const SHORTEST_S = 120;
const WIDTH = 300;
const HEIGHT = 54;

/* The first round number from which on everything fits below. */
function ceiling(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((top) => top >= most * 0.999);
}

/* `lines` are {key, className, name, area, alarm}, the first on top; `format` says a value. An alarm is not
   drawn, and not coloured, while it is 0. */
function chart(title, lines, format) {
  const scale = element("span");
  scale.title = "the line at the top";
  const values = element("p", "values");
  const svg = drawn("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  svg.append(drawn("path", { class: "base", d: `M0 ${HEIGHT}H${WIDTH}M0 2H${WIDTH}` }));
  const cursor = drawn("path", { class: "cursor" });
  const drawings = drawn("g");
  const parts = lines.map((line) => {
    const area = line.area ? drawn("path", { class: `area ${line.className}` }) : null;
    const path = drawn("path", { class: line.className });
    drawings.prepend(path);
    if (area) drawings.prepend(area);
    const value = element("b");
    const mark = element("i");
    values.append(element("span", "", mark, value, element("small", "", line.name)));
    return { ...line, area, path, mark, value };
  });
  svg.append(drawings, cursor);
  const node = element("div", "chart", element("h4", "", title, scale), values, svg);
  let shown = { history: null, current: {}, now: 0 };
  let hovered = null;

  const start = () => Math.max(shown.now - WINDOW_S, Math.min(shown.history.time[0], shown.now - SHORTEST_S));

  function draw() {
    const { history, current, now } = shown;
    const times = history?.time ?? [];
    const most = Math.max(0, ...parts.flatMap((part) => (history ? history[part.key] : []).map((value) => value ?? 0)));
    const top = ceiling(most);
    const from = times.length ? start() : 0;
    const x = (time) => (((time - from) / (now - from)) * WIDTH).toFixed(1);
    const y = (value) => (HEIGHT - (value / top) * (HEIGHT - 2)).toFixed(1);
    for (const part of parts) {
      const quiet = part.alarm && !(history?.[part.key] ?? []).some((value) => value > 0);
      let d = "";
      let ground = "";
      let open = null;
      times.forEach((time, index) => {
        const value = history[part.key][index];
        if (value === null) { open = null; return; }
        d += `${open === null ? "M" : "L"}${x(time)} ${y(value)}`;
        if (open === null) d += `L${x(time)} ${y(value)}`;  // a point by itself is a dot
        open = index;
      });
      if (part.area && times.length) ground = `${d}L${x(times.at(-1))} ${HEIGHT}L${x(times[0])} ${HEIGHT}Z`;
      part.path.setAttribute("d", quiet ? "" : d);
      dress(part.mark, quiet ? "idle" : part.className);
      part.area?.setAttribute("d", ground);
    }
    const at = hovered === null || !times.length ? null : nearest(times, from + hovered * (now - from));
    cursor.setAttribute("d", at === null ? "" : `M${x(times[at])} 0V${HEIGHT}`);
    for (const part of parts) say(part.value, format(at === null ? current[part.key] : history[part.key][at]));
    say(scale, at === null ? (most > 0 ? format(top) : "") : `${age(now - times[at])} ago`);
    svg.setAttribute("aria-label", `${title}: ${parts.map((part) => `${part.name} ${part.value.textContent}`).join(", ")}`);
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    hovered = (event.clientX - box.left) / box.width;
    draw();
  });
  for (const end of ["pointerleave", "pointercancel"]) svg.addEventListener(end, () => { hovered = null; draw(); });
  return { node, update(history, current, now) { shown = { history, current, now }; draw(); } };
}

function nearest(times, wanted) {
  let best = 0;
  times.forEach((time, index) => { if (Math.abs(time - wanted) < Math.abs(times[best] - wanted)) best = index; });
  return best;
}
