"use strict";
// The numbers are in the tables; this shows those of one token where it is pointed at, and recolours
// the reply by one persona where its name is pressed.
const tip = document.getElementById("tip");
const tokens = [...document.querySelectorAll(".t")];
const nats = document.querySelector("main section").dataset.unit === "nats";
const hue = (name) => document.querySelector(`.chips button[data-name="${CSS.escape(name)}"]`)?.dataset.hue || "";

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function cells(token) {
  return [...document.getElementById(token.id.replace("t", "n")).cells].map((cell) => cell.textContent);
}

function names(token) {
  const head = document.getElementById(token.id.replace("t", "n")).closest("table").tHead;
  return [...head.rows[0].cells].slice(3).map((cell) => cell.textContent);
}

function show(token) {
  const [place, text, origin, ...values] = cells(token);
  const table = document.createElement("table");
  const strongest = token.dataset.most;
  let sum = 0;
  names(token).forEach((name, i) => {
    const row = table.insertRow();
    row.className = hue(name);
    row.classList.toggle("most", String(i) === strongest);
    row.append(element("th", name), element("td", values[i]));
    const value = Number(values[i].replace("−", "-"));
    row.append(element("td", nats ? "×" + factor(value) : Math.round(100 * value) + " %"));
    sum += value;
  });
  if (nats && table.rows.length > 1) {
    const row = table.insertRow();
    const sign = sum < 0 ? "−" : "+";
    row.append(element("th", "together"), element("td", sign + Math.abs(sum).toFixed(3)), element("td", "×" + factor(sum)));
    row.className = "sum";
  }
  tip.replaceChildren(element("strong", text.trim() || "no text of its own"), element("p", `token ${place} · ${origin}`), table);
  tip.hidden = false;
  const box = token.getClientRects()[0] || token.getBoundingClientRect();
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const below = box.bottom + 8 + tip.offsetHeight < innerHeight || box.top < tip.offsetHeight + 8;
  tip.style.left = Math.max(8, left) + scrollX + "px";
  tip.style.top = scrollY + (below ? box.bottom + 8 : box.top - tip.offsetHeight - 8) + "px";
  tokens.forEach((other) => other.removeAttribute("aria-describedby"));
  token.setAttribute("aria-describedby", "tip");
}

function factor(value) {
  const times = Math.exp(value);
  return times >= 1e4 || times < 1e-3 ? times.toExponential(1) : Number(times.toPrecision(3)).toString();
}

function hide() {
  tip.hidden = true;
}

function focus(token) {
  if (!token) return;
  tokens.forEach((other) => (other.tabIndex = -1));
  token.tabIndex = 0;
  token.focus({ focusVisible: true });
}

tokens.forEach((token, i) => {
  token.tabIndex = i ? -1 : 0;
  token.addEventListener("mouseenter", () => show(token));
  token.addEventListener("mouseleave", () => (document.activeElement.matches?.(".t") ? show(document.activeElement) : hide()));
  token.addEventListener("focus", () => show(token));
  token.addEventListener("blur", hide);
  token.addEventListener("click", () => focus(token));
  token.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    else if (event.key === "Home") focus(tokens[0]);
    else if (event.key === "End") focus(tokens.at(-1));
    else if (step) focus(tokens[i + step]);
    else return;
    event.preventDefault();
  });
});

// One persona alone: its contributions everywhere, not only where they are the largest.
const buttons = [...document.querySelectorAll(".chips button")];
const whole = tokens.map((token) => token.className);
function recolour(button) {
  tokens.forEach((token, i) => {
    token.className = whole[i];
    if (!button) return;
    const list = names(token);
    const value = Number(cells(token)[3 + list.indexOf(button.dataset.name)].replace("−", "-"));
    const share = Number(button.dataset.share);
    const strength = nats ? 1 - Math.exp(-Math.max(0, value)) : share === 1 ? 1 : Math.max(0, (value - share) / (1 - share));
    token.className = whole[i].replace(/ [ps](x|\d+)(?= |$)/g, "") + ` ${button.dataset.hue} s${Math.round(10 * strength)}`;
  });
}
buttons.forEach((button) =>
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    buttons.forEach((other) => other.setAttribute("aria-pressed", String(on && other === button)));
    recolour(on ? button : null);
  }),
);

function follow() {
  const token = location.hash && document.getElementById(location.hash.slice(1));
  if (token && token.matches(".t")) {
    focus(token);
    show(token);
  }
}
addEventListener("hashchange", follow);
addEventListener("resize", () => tip.hidden || show(document.querySelector(".t[aria-describedby]")));
document.documentElement.dataset.tokens = tokens.length;
follow();
