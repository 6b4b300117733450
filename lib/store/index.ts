export { OwnerLock } from "./owner-lock.ts";
