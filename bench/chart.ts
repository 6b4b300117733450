interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Panel {
  readonly title: string;
  readonly series: readonly Series[];
}

export interface Bar {
  readonly name: string;
  readonly value: number;
  /** After the value, e.g. "28.3 x". */
  readonly note: string;
}

const WIDTH = 720;
const MARGIN = { left: 56, right: 24, top: 44, bottom: 48 } as const;
const PANEL_HEIGHT = 260;
const BAR_HEIGHT = 34;
const BAR_LEFT = 190;
const Y_TICKS = 4;
const LABEL_PX = 12;

/** Colours that are told apart, also by the colour-blind, on both backgrounds (Okabe and Ito). */
const STYLE = `
    svg { font: ${LABEL_PX}px system-ui, sans-serif; }
    .back { fill: #ffffff; } text { fill: #24292f; } .axis { stroke: #8c959f; } .grid { stroke: #d8dee4; }
    .s0 { stroke: #0072b2; fill: #0072b2; } .s1 { stroke: #d55e00; fill: #d55e00; } .s2 { stroke: #009e73; fill: #009e73; }
    polyline { fill: none !important; stroke-width: 2; } .title { font-weight: 600; } .name { stroke: none; }
    @media (prefers-color-scheme: dark) {
      .back { fill: #0d1117; } text { fill: #e6edf3; } .axis { stroke: #7d8590; } .grid { stroke: #30363d; }
      .s0 { stroke: #56b4e9; fill: #56b4e9; } .s1 { stroke: #e69f00; fill: #e69f00; } .s2 { stroke: #2fd3a4; fill: #2fd3a4; }
    }`;

/** Panels below each other that share an x axis, logarithmic unless it says otherwise; each with its own linear y axis from 0. */
export function lineChart(
  description: string,
  xTitle: string,
  panels: readonly Panel[],
  scale: "logarithmic" | "linear" = "logarithmic",
): string {
  const xs = [...new Set(panels.flatMap(({ series }) => series.flatMap(({ points }) => points.map(([x]) => x))))];
  xs.sort((a, b) => a - b);
  const [first = 1] = xs;
  const last = Math.max(xs.at(-1) ?? 1, first * 2);
  const span = WIDTH - MARGIN.left - MARGIN.right;
  const xOf = (x: number) =>
    MARGIN.left + span * (scale === "linear" ? x / last : Math.log(x / first) / Math.log(last / first));
  const body = panels.map((panel, i) => linePanel(panel, i * PANEL_HEIGHT, xs, xOf));
  const height = panels.length * PANEL_HEIGHT + 16;
  const title = text(WIDTH / 2, height - 14, xTitle, "middle");
  return svg(description, height, [...body, title]);
}

function linePanel({ title, series }: Panel, top: number, xs: readonly number[], xOf: (x: number) => number): string {
  const highest = niceCeiling(Math.max(0, ...series.flatMap(({ points }) => points.map(([, y]) => y))));
  const bottom = top + PANEL_HEIGHT - MARGIN.bottom;
  const yOf = (y: number) => bottom - ((bottom - top - MARGIN.top) * y) / highest;
  const lines = Array.from({ length: Y_TICKS + 1 }, (_, i) => (highest * i) / Y_TICKS).map((y) => {
    const at = yOf(y);
    const line = `<line class="${y === 0 ? "axis" : "grid"}" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${px(at)}" y2="${px(at)}"/>`;
    return line + text(MARGIN.left - 8, at + 4, String(Math.round(y * 100) / 100), "end");
  });
  const ticks = apart(xs, xOf).map((x) => text(xOf(x), bottom + 18, String(x), "middle"));
  const curves = series.map(({ points }, i) => {
    const at = points.map(([x, y]) => `${px(xOf(x))},${px(yOf(y))}`);
    const dots = points.map(([x, y]) => `<circle class="s${i}" cx="${px(xOf(x))}" cy="${px(yOf(y))}" r="3"/>`);
    return `<polyline class="s${i}" points="${at.join(" ")}"/>${dots.join("")}`;
  });
  const legend = series.map(({ name }, i) => {
    const x = MARGIN.left + 300 + i * 170;
    return `<rect class="s${i}" x="${x}" y="${top + 13}" width="10" height="10"/>${text(x + 16, top + 22, name)}`;
  });
  const heading = text(MARGIN.left, top + 22, title, "start", "title");
  return [heading, ...legend, ...lines, ...ticks, ...curves].join("\n  ");
}

/** Horizontal bars on a logarithmic axis: what is compared differs by orders of magnitude. */
export function barChart(description: string, title: string, bars: readonly Bar[]): string {
  const values = bars.map(({ value }) => value);
  const low = 10 ** Math.floor(Math.log10(Math.min(...values)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...values) * 1.01));
  const span = WIDTH - BAR_LEFT - 130;
  const widthOf = (value: number) => (span * Math.log(value / low)) / Math.log(high / low);
  const bottom = MARGIN.top + bars.length * BAR_HEIGHT;
  const decades = Array.from({ length: Math.round(Math.log10(high / low)) + 1 }, (_, i) => low * 10 ** i);
  const grid = decades.map((value) => {
    const x = px(BAR_LEFT + widthOf(value));
    const line = `<line class="grid" x1="${x}" x2="${x}" y1="${MARGIN.top}" y2="${bottom}"/>`;
    return line + text(BAR_LEFT + widthOf(value), bottom + 18, `${value} ms`, "middle");
  });
  const rows = bars.map(({ name, value, note }, i) => {
    const y = MARGIN.top + i * BAR_HEIGHT + 6;
    const width = Math.max(2, widthOf(value));
    const rect = `<rect class="s0" x="${BAR_LEFT}" y="${y}" width="${px(width)}" height="${BAR_HEIGHT - 12}"/>`;
    const label = text(BAR_LEFT + width + 6, y + 15, `${value.toFixed(value < 100 ? 1 : 0)} ms ${note}`);
    return text(BAR_LEFT - 8, y + 15, name, "end") + rect + label;
  });
  return svg(description, bottom + 36, [text(16, 24, title, "start", "title"), ...grid, ...rows]);
}

function svg(description: string, height: number, body: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img">
  <title>${escapeText(description)}</title>
  <style>${STYLE}
  </style>
  <rect class="back" width="${WIDTH}" height="${height}"/>
  ${body.join("\n  ")}
</svg>
`;
}

function text(x: number, y: number, content: string, anchor = "start", className = "label"): string {
  return `<text class="${className}" x="${px(x)}" y="${px(y)}" text-anchor="${anchor}">${escapeText(content)}</text>`;
}

function escapeText(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function px(value: number): string {
  return value.toFixed(1);
}

/** 1, 2, 4, 6, 8 times a power of ten, at or above. */
function niceCeiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 4, 6, 8, 10].find((step) => step * power >= value) ?? 10);
}

/** Those whose labels do not run into each other, the last in any case. */
function apart(xs: readonly number[], xOf: (x: number) => number): number[] {
  const kept: number[] = [];
  for (const x of xs.toReversed()) if (kept.length === 0 || xOf(kept.at(-1) as number) - xOf(x) > 24) kept.push(x);
  return kept;
}
