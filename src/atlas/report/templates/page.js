"use strict";
// The page: unpacks what it carries, draws it, and, where it is watched, follows the run.

(async () => {
  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  };
  const carried = (root, name) => [...root.querySelectorAll(`script[data-atlas="${name}"]`)].map((one) => one.textContent);
  const panels = async (root) => Charts.draw(document.getElementById("panels"), await unpack(carried(root, "panels")[0]));
  const live = document.body.dataset.live !== undefined;

  document.documentElement.classList.add("js");
  await panels(document);
  Rollouts.begin(JSON.parse(document.body.dataset.runs));

  async function more() {
    const reply = await fetch(`/rollouts?after=${Rollouts.lastStep()}&pairs=${Rollouts.size() ? 0 : 1}`);
    (await reply.json()).forEach(Rollouts.add);
  }

  if (live) await more();
  else for (const text of carried(document, "rollouts")) Rollouts.add(await unpack(text));
  Rollouts.refresh();
  Rollouts.follow();
  document.body.dataset.ready = "";
  if (!live) return;

  // What the server renders again replaces what is there, part by part; the list keeps its place.
  async function update() {
    const fresh = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
    for (const part of document.querySelectorAll("[data-part]")) {
      const other = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
      if (other && other.innerHTML !== part.innerHTML) part.replaceChildren(...other.childNodes);
    }
    await panels(fresh);
    await more();
    Rollouts.refresh();
  }
  const state = document.getElementById("live-state"), log = document.getElementById("log");
  const source = new EventSource("/events");
  let working = Promise.resolve();
  source.addEventListener("log", (event) => { log.textContent = JSON.parse(event.data); log.scrollTop = log.scrollHeight; });
  source.addEventListener("changed", () => { working = working.then(update, update); });
  source.addEventListener("open", () => { state.textContent = "live"; });
  source.addEventListener("error", () => { state.textContent = "the server that watched this run is gone; atlas watch starts it again"; });
})();
