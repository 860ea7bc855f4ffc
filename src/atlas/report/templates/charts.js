"use strict";
// Curves: panels of lines, drawn by uPlot. Dragging zooms, a double click shows all again; the
// pointer, or the arrow keys, read values off in all panels of a stage at once.

const Charts = (() => {
  const COLOURS = ["--grpo", "--alone", "--sft", "--other", "--good", "--bad"];
  const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3], [14, 4], [1, 4]];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = [];
  let last = [];

  function number(value, unit) {
    if (value === null || value === undefined) return "–";
    const short = (x) => (Math.abs(x) >= 1000 ? Math.round(x).toLocaleString("en") : String(+x.toPrecision(3)));
    let text = short(value);
    if (unit === "percent") text = `${+(100 * value).toFixed(1)} %`;
    if (unit === "points") text = (value > 0 ? "+" : "") + +(100 * value).toFixed(1);
    if (unit === "seconds") text = `${short(value)} s`;
    return text.replace(/^-/, "−");
  }

  // Many noisy steps: the line itself is faint, and a moving mean over an eighth of it stands out.
  const smoothed = (line) => line.x.length >= 40 && !line.low;

  function moving(values) {
    const reach = Math.max(1, Math.floor(values.length / 16)), sums = [0];
    for (const value of values) sums.push(sums.at(-1) + value);
    return values.map((_, at) => {
      const first = Math.max(0, at - reach), last = Math.min(values.length, at + reach + 1);
      return (sums[last] - sums[first]) / (last - first);
    });
  }

  // Lines of one panel may have other steps (evaluations, other runs): one axis for all.
  function aligned(lines) {
    const steps = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
    const place = new Map(steps.map((step, at) => [step, at]));
    const spread = (x, y) => {
      const row = new Array(steps.length).fill(undefined);
      x.forEach((step, at) => { row[place.get(step)] = y[at]; });
      return row;
    };
    const data = [steps];
    for (const line of lines) {
      data.push(spread(line.x, line.y));
      if (smoothed(line)) data.push(spread(line.x, moving(line.y)));
      if (line.low) data.push(spread(line.x, line.low), spread(line.x, line.high));
    }
    return data;
  }

  function seriesOf(panel) {
    const series = [{ label: "step" }], bands = [];
    panel.lines.forEach((line) => {
      const stroke = () => css(COLOURS[line.colour % COLOURS.length]), dash = DASHES[line.dash % DASHES.length];
      const faint = () => `color-mix(in srgb, ${stroke()} 35%, transparent)`;
      const value = (_, v) => number(v, panel.unit);
      const points = { show: line.x.length < 2 };
      const main = { label: line.label, stroke, width: 2, dash, value, points, spanGaps: true };
      if (smoothed(line)) series.push({ ...main, stroke: faint, mark: stroke, width: 1, dash: [] }, { ...main, class: "smooth", points: { show: false } });
      else series.push(main);
      if (line.low) {
        const edge = { stroke, width: 0.5, value, points: { show: false }, spanGaps: true };
        series.push({ ...edge, label: "lowest" }, { ...edge, label: "highest" });
        bands.push({ series: [series.length - 1, series.length - 2], fill: () => css("--seeds") });
      }
    });
    return [series, bands];
  }

  function healthy(u, band) {
    if (!band) return;
    const [low, high] = band.map((value) => u.valToPos(value, "y", true));
    u.ctx.save();
    u.ctx.fillStyle = css("--band");
    u.ctx.globalAlpha = low === high ? 0.8 : 0.14;
    u.ctx.fillRect(u.bbox.left, high, u.bbox.width, Math.max(low - high, devicePixelRatio));
    u.ctx.restore();
  }

  function options(panel, width, key) {
    const axis = { stroke: () => css("--soft"), grid: { stroke: () => css("--line"), width: 1 }, ticks: { show: false } };
    const [series, bands] = seriesOf(panel);
    const range = (_, low, high) => {
      if (low === null) return [0, 1];
      const [least, most] = panel.band ? [Math.min(low, panel.band[0]), Math.max(high, panel.band[1])] : [low, high];
      const room = (most - least || Math.abs(most) || 1) * 0.06;
      return [Math.max(least - room, panel.low ?? -Infinity), Math.min(most + room, panel.high ?? Infinity)];
    };
    return {
      width, height: 210, series, bands,
      scales: { x: { time: false }, y: { range } },
      axes: [
        { ...axis, values: (_, marks) => marks.map((mark) => (Number.isInteger(mark) ? String(mark) : "")) },
        { ...axis, size: 58, values: (_, marks) => marks.map((mark) => number(mark, panel.unit)) },
      ],
      cursor: { sync: { key }, drag: { x: true, y: false } },
      legend: { live: true, markers: { stroke: (_, at) => (series[at].mark ?? series[at].stroke)?.() } },
      hooks: { drawAxes: [(u) => healthy(u, panel.band)] },
    };
  }

  function keys(u) {
    u.root.addEventListener("keydown", (event) => {
      const steps = u.data[0], { min, max } = u.scales.x, middle = (min + max) / 2;
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      const zoom = { "+": 0.5, "-": 2 }[event.key];
      if (move) {
        const at = Math.max(0, Math.min(steps.length - 1, (u.cursor.idx ?? (move > 0 ? -1 : steps.length)) + move));
        u.setCursor({ left: u.valToPos(steps[at], "x"), top: 10 });
      } else if (zoom) {
        const reach = ((max - min) / 2) * zoom;
        u.setScale("x", { min: Math.max(steps[0], middle - reach), max: Math.min(steps.at(-1), middle + reach) });
      } else if (event.key === "0") {
        u.setScale("x", { min: steps[0], max: steps.at(-1) });
      } else return;
      event.preventDefault();
    });
  }

  function describe(panel) {
    const ends = (line) => `${line.label}: from ${number(line.y[0], panel.unit)} to ${number(line.y.at(-1), panel.unit)}, steps ${line.x[0]} to ${line.x.at(-1)}`;
    return `${panel.title}, ${panel.stage}. ${panel.lines.map(ends).join("; ")}. Arrow keys read values off, + and - zoom, 0 shows all.`;
  }

  function figure(panel) {
    const box = document.createElement("figure"), caption = document.createElement("figcaption");
    const part = (name, text) => {
      const span = document.createElement("span");
      span.className = name;
      span.textContent = text;
      caption.append(span, " ");
    };
    part("panel-title", panel.title);
    part("stage-tag", panel.stage.toUpperCase());
    const words = panel.band ? ` Healthy (shaded): ${panel.band[0] === panel.band[1] ? "" : `${number(panel.band[0], panel.unit)} to `}${number(panel.band[1], panel.unit)}.` : "";
    part("quiet", panel.note + words);
    box.append(caption);
    return box;
  }

  function draw(place, panels) {
    last = [place, panels];
    const zoomed = new Map(drawn.map(({ u, name }) => [name, { ...u.scales.x, last: u.data[0].at(-1), first: u.data[0][0] }]));
    while (drawn.length) drawn.pop().u.destroy();
    place.replaceChildren();
    for (const panel of panels) {
      const box = figure(panel), data = aligned(panel.lines), name = `${panel.stage}/${panel.title}`;
      place.append(box);
      const u = new uPlot(options(panel, box.clientWidth || 340, panel.stage), data, box);
      u.root.tabIndex = 0;
      u.root.setAttribute("role", "group");
      u.root.setAttribute("aria-label", describe(panel));
      keys(u);
      drawn.push({ u, box, name });
      const before = zoomed.get(name);
      if (before && (before.min > before.first || before.max < before.last)) u.setScale("x", { min: before.min, max: before.max });
    }
  }

  const fit = () => drawn.forEach(({ u, box }) => u.setSize({ width: box.clientWidth, height: 210 }));
  addEventListener("resize", fit);
  addEventListener("beforeprint", fit);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(...last));
  return { draw, drawn };
})();
