/** Paths on a grid of 16 by 16, drawn with a line. */
const PATHS = {
  activate: "M8 3v10M3 8h10",
  close: "M4 4l8 8M12 4l-8 8",
  release: "M3.5 4.500h9M6.5 4.500V3h3v1.500M4.5 4.500l.5 8.500h6l.5-8.5",
  park: "M6 4v8M10 4v8",
  resume: "M5.5 3.500l6 4.5-6 4.500z",
  theme: "M8 2.500a5.5 5.5 0 1 0 0 11zM8 2.500a5.5 5.5 0 0 1 0 11",
  help: "M6 6.200a2 2 0 1 1 2.8 1.900c-.5.2-.8.6-.8 1.100v.4M8 11.800v.2",
  copy: "M6 6h6.500v6.500H6zM3.5 10V3.500H10",
  search: "M7 11.500a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.300 10.300l3.2 3.2",
  logo: "M2.5 10.200L8 13.300l5.5-3.100M2.5 6.500L8 9.600l5.5-3.100L8 3.400z",
  leave: "M9.5 5V3h-6v10h6v-2M7 8h6.500M11.5 6l2 2-2 2",
} as const;

export type IconName = keyof typeof PATHS;

/** Decoration: what it means is said by the text or the label of what it is in. */
export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
