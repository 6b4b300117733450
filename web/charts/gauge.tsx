interface GaugeProps {
  readonly value: number;
  /** Comes after the value, in another colour. */
  readonly coming: number;
  /** Where the value is wanted. */
  readonly target: number;
  readonly max: number;
  /** All of it in words. */
  readonly description: string;
}

const SWEEP = 240;
const RADIUS = 40;
const CENTRE = 50;

/** An arc from nothing to the most, filled to the value, with a mark at the target. */
export function Gauge({ value, coming, target, max, description }: GaugeProps) {
  const most = Math.max(max, value + coming, 1);
  const arc = arcPath();
  const mark = (target / most) * SWEEP;
  return (
    <svg class="gauge" viewBox="0 0 100 84" role="img" aria-label={description}>
      <path class="gauge-track" d={arc} pathLength={100} />
      {coming > 0 && (
        <path class="gauge-coming" d={arc} pathLength={100} stroke-dasharray={dash(value + coming, most)} />
      )}
      {value > 0 && <path class="gauge-value" d={arc} pathLength={100} stroke-dasharray={dash(value, most)} />}
      <line
        class="gauge-target"
        x1={CENTRE + RADIUS - 8}
        x2={CENTRE + RADIUS + 8}
        y1={CENTRE}
        y2={CENTRE}
        transform={`rotate(${START + mark} ${CENTRE} ${CENTRE})`}
      />
      <text class="gauge-number" x={CENTRE} y={CENTRE + 6}>
        {value}
      </text>
      <text class="gauge-unit" x={CENTRE} y={CENTRE + 20}>
        of {max}
      </text>
    </svg>
  );
}

/** Degrees, clockwise from three o'clock. */
const START = 90 + (360 - SWEEP) / 2;

function dash(part: number, whole: number): string {
  return `${(part / whole) * 100} 200`;
}

function arcPath(): string {
  const [from, to] = [START, START + SWEEP].map((degrees) => {
    const radians = (degrees / 180) * Math.PI;
    return `${CENTRE + RADIUS * Math.cos(radians)} ${CENTRE + RADIUS * Math.sin(radians)}`;
  });
  return `M${from} A${RADIUS} ${RADIUS} 0 1 1 ${to}`;
}
