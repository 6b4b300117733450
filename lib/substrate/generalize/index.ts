export type { Generalized } from "./generalize.ts";
export { type Prepared, prepareToFreeze } from "./prepare.ts";
