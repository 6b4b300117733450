import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

interface CardProps {
  readonly title: string;
  /** What a link in the page leads to. */
  readonly anchor?: string;
  /** Beside the title: a count, a filter, a legend. */
  readonly aside?: ComponentChildren;
  readonly class?: string;
  readonly children: ComponentChildren;
}

/** A part of the page with a heading. */
export function Card({ title, anchor, aside, class: extra = "", children }: CardProps) {
  const titleId = useId();
  return (
    <section class={`card ${extra}`} id={anchor} aria-labelledby={titleId}>
      <header class="card-head">
        <h2 id={titleId}>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  );
}
