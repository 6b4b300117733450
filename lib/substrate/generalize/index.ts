export { type Generalized, generalize, requireGeneral } from "./generalize.ts";
export { reopenJournal } from "./journal.ts";
export { miniaturize, usedMemoryBytes, warmUp } from "./miniaturize.ts";
export { servicesToTell } from "./services.ts";
