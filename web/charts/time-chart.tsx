import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatTime, UNKNOWN } from "../format/units.ts";
import type { Columns } from "../state/chart-columns.ts";
import { useColourScheme } from "../ui/theme.ts";
import { resolvedColour } from "./colours.ts";

export interface Series {
  readonly label: string;
  /** A custom property of the style sheet. */
  readonly colour: string;
  /** An area in steps, bars that are never too thin to be seen, or a line with a dot where a value stands alone. */
  readonly kind: "area" | "bars" | "line";
}

interface TimeChartProps {
  /** What is drawn, in words, for those who do not see it. */
  readonly description: string;
  /** The last is drawn above the others. */
  readonly series: readonly Series[];
  readonly columns: Columns;
  readonly format: (value: number) => string;
  /** `log` for what goes over several powers of ten. */
  readonly scale: "linear" | "log";
  /** Shown instead when there is nothing to draw. */
  readonly empty: string;
}

const HEIGHT = 180;
/** uPlot names it in a constant that exists for the compiler only. */
// oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- that is why
const LOGARITHMIC = 3 as uPlot.Scale.Distr;

/** Values over the last minutes. The legend has the values under the cursor, or the last ones. */
export function TimeChart({ description, series, columns, format, scale, empty }: TimeChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot>(undefined);
  const [index, setIndex] = useState<number | null>(null);
  const scheme = useColourScheme();

  useEffect(() => {
    const element = host.current;
    if (element === null) return;
    const plot = new uPlot(
      options(series, scale, format, element.clientWidth, (at) => setIndex(at)),
      dataOf(columns),
      element,
    );
    chart.current = plot;
    const observer = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
      chart.current = undefined;
    };
    // Colours are drawn onto a canvas, once. The rest of the options does not change while the page lives.
  }, [scheme]);

  useEffect(() => chart.current?.setData(dataOf(columns)), [columns]);

  const isEmpty = columns.values.every((column) => column.every((value) => value === null || value === 0));
  return (
    <figure class="chart">
      <figcaption class="legend">
        {series.map(({ label, colour }, i) => (
          <span key={label} class="legend-entry">
            <i class={`swatch ${colour.slice(2)}`} />
            {label} <b>{valueText(legendValue(columns.values[i] ?? [], index), format)}</b>
          </span>
        ))}
        <time class="faint">{index === null ? "" : clockOf(columns.times[index])}</time>
      </figcaption>
      <div ref={host} class="chart-canvas" role="img" aria-label={description} />
      {isEmpty && <p class="chart-empty">{empty}</p>}
    </figure>
  );
}

/** Without a cursor, the last that there was. */
function legendValue(column: readonly (number | null)[], index: number | null): number | null | undefined {
  return index === null ? column.findLast((value) => value !== null) : column[index];
}

function valueText(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? UNKNOWN : format(value);
}

function clockOf(seconds: number | undefined): string {
  return seconds === undefined ? "" : formatTime(seconds * 1000);
}

function dataOf({ times, values }: Columns): uPlot.AlignedData {
  return [[...times], ...values.map((column) => [...column])];
}

function options(
  series: readonly Series[],
  scale: TimeChartProps["scale"],
  format: (value: number) => string,
  width: number,
  onCursor: (index: number | null) => void,
): uPlot.Options {
  const axis: uPlot.Axis = {
    stroke: resolvedColour("--muted"),
    grid: { stroke: resolvedColour("--grid"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
  };
  return {
    width,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 6 }, sync: { key: "seconds" }, y: false },
    scales: {
      x: { time: true },
      y: scale === "log" ? { distr: LOGARITHMIC, log: 10, range: logRange } : { range: linearRange },
    },
    axes: [
      {
        ...axis,
        size: 28,
        space: 64,
        incrs: [60, 120, 300, 600],
        values: (_, times) => times.map((time) => clockOf(time).slice(0, 5)),
      },
      {
        ...axis,
        size: 62,
        space: 28,
        values: (_, values) =>
          values.map((value) => (isDrawn(value, scale) ? format(value).replace(/\.0+(?=\D|$)/, "") : "")),
        grid: { ...axis.grid, filter: (_, splits) => splits.map((split) => (isDrawn(split, scale) ? split : null)) },
      },
    ],
    series: [{}, ...series.map((one) => seriesOf(one))],
    hooks: { setCursor: [({ cursor }) => onCursor(cursor.idx ?? null)] },
  };
}

function seriesOf({ label, colour, kind }: Series): uPlot.Series {
  const stroke = resolvedColour(colour);
  if (kind === "line") {
    return { label, stroke, width: 1.5, points: { show: true, size: 4, width: 0, fill: stroke, filter: lonely } };
  }
  const paths = kind === "bars" ? uPlot.paths.bars?.({ size: [0.9, 12, 2] }) : uPlot.paths.stepped?.({ align: 1 });
  // Whole pixels would swallow seconds that are narrower than one.
  const pxAlign = kind === "bars" ? 1 : 0;
  return { label, fill: stroke, width: 0, pxAlign, points: { show: false }, ...(paths === undefined ? {} : { paths }) };
}

/** Which values have no neighbour, and so would be drawn as no line at all. */
function lonely({ data }: uPlot, seriesIndex: number, show: boolean): number[] | null {
  const values = data[seriesIndex];
  if (!show || values === undefined) return null;
  const isThere = (index: number) => values[index] !== null && values[index] !== undefined;
  return [...values.keys()].filter((index) => isThere(index) && !isThere(index - 1) && !isThere(index + 1));
}

/** Only whole numbers stand at the axis of a number of things; on a logarithmic one only powers of ten. */
function isDrawn(value: number | null, scale: TimeChartProps["scale"]): value is number {
  if (value === null) return false;
  return scale === "log" ? Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6) : Number.isInteger(value);
}

function linearRange(_: uPlot, _min: number | null, max: number | null): [number, number] {
  return [0, Math.max(4, (max ?? 0) * 1.1)];
}

/** Whole powers of ten, so that the axis does not jump with every value. */
function logRange(_: uPlot, min: number | null, max: number | null): [number, number] {
  const low = Math.floor(Math.log10(Math.max(0.1, min ?? 1)));
  const high = Math.ceil(Math.log10(Math.max(0.1, max ?? 1000)));
  return [10 ** low, 10 ** Math.max(high, low + 2)];
}
