import { styleText } from "node:util";
import type { Screen } from "../io.ts";

type Style = Parameters<typeof styleText>[0];
export type Paint = (style: Style, text: string) => string;

/** Colours for a terminal, unless they are switched off. Source: no-color.org */
export function paintFor({ isTTY = false }: Screen, env: NodeJS.ProcessEnv, wanted: boolean): Paint {
  const isOn = wanted && isTTY && !env.NO_COLOR && env.TERM !== "dumb";
  return isOn ? (style, text) => styleText(style, text, { validateStream: false }) : (_style, text) => text;
}
