import { VmSubstrateError } from "../lib/index.ts";

type Labels = Readonly<Record<string, string>>;
export type Selector = (labels: Labels) => boolean;

const KEY = "[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?";
const EQUALITY = new RegExp(`^(${KEY})\\s*(==|=|!=)\\s*(.*)$`, "s");
const SET = new RegExp(`^(${KEY})\\s+(in|notin)\\s*\\(([^()]*)\\)$`);
const EXISTS = new RegExp(`^(!?)\\s*(${KEY})$`);

/**
 * Parses "match=17, tier!=free, region, !old, zone in (a, b)": all of them must hold.
 * Source: Kubernetes, "Labels and Selectors".
 *
 * @throws VmSubstrateError INVALID_ARGUMENT
 */
export function parseSelector(text: string): Selector {
  const requirements = split(text).map((part) => requirement(part));
  return (labels) => requirements.every((holds) => holds(labels));
}

/** At commas that are not within parentheses. In one pass: the text may be long. */
function split(text: string): string[] {
  if (text.trim() === "") return [];
  const parts: string[] = [];
  let start = 0;
  let isWithin = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === "(") isWithin = true;
    else if (character === ")") isWithin = false;
    else if (character === "," && !isWithin) {
      parts.push(text.slice(start, i).trim());
      start = i + 1;
    }
  }
  return [...parts, text.slice(start).trim()];
}

function requirement(text: string): Selector {
  const set = SET.exec(text);
  if (set !== null) {
    const [, key = "", operator, list = ""] = set;
    const values: ReadonlySet<string | undefined> = new Set(list.split(",").map((value) => value.trim()));
    return operator === "in" ? (labels) => values.has(own(labels, key)) : (labels) => !values.has(own(labels, key));
  }
  const equality = EQUALITY.exec(text);
  if (equality !== null) {
    const [, key = "", operator, value] = equality;
    return operator === "!=" ? (labels) => own(labels, key) !== value : (labels) => own(labels, key) === value;
  }
  const exists = EXISTS.exec(text);
  if (exists !== null) {
    const [, not, key = ""] = exists;
    return (labels) => (own(labels, key) === undefined) === (not === "!");
  }
  const message = `label selector: cannot read ${JSON.stringify(text)}; expected key=value, key!=value, key, !key, or key in (a, b)`;
  throw new VmSubstrateError("INVALID_ARGUMENT", message);
}

function own(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}
