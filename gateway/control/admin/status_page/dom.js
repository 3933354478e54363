/* Making elements, and keeping them: what is on the page is updated in place, so that a hovered chart, a
   selected text or a focused button survives the next second. */

const byId = (id) => document.getElementById(id);
const SVG = document.querySelector("svg").namespaceURI;

function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

function drawn(tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function dress(node, className) {
  if (node.className !== className) node.className = className;
}

/* Show `items` inside `parent`, one part each. `make(item)` gives {node, update}; a part stays as long as its
   key does. */
function keep(parent, items, keyOf, make) {
  const old = parent.parts ?? new Map();
  parent.parts = new Map();
  for (const item of items) {
    const key = keyOf(item);
    parent.parts.set(key, old.get(key) ?? make(item));
  }
  for (const [key, part] of old) if (!parent.parts.has(key)) part.node.remove();
  let next = parent.firstChild;
  items.forEach((item) => {
    const part = parent.parts.get(keyOf(item));
    if (part.node === next) next = next.nextSibling;
    else parent.insertBefore(part.node, next);
    part.update(item);
  });
}

/* A line of text at the bottom of the page, for a moment. */
function announce(text, className = "") {
  const line = element("p", className, text);
  byId("said").append(line);
  setTimeout(() => line.remove(), 6000);
}
