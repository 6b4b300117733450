import { filePart } from "../file-part.ts";

/** machine-id(5). */
export const machineId = filePart("machine-id", (identity, { identity: { machineId: path } }) =>
  path === undefined ? [] : [{ path, mode: 0o444, content: `${identity.machineId}\n` }],
);

/** The same id where D-Bus keeps it in a file of its own. Source: dbus-uuidgen(1). */
export const dbusMachineId = filePart("dbus machine-id", (identity, { identity: { dbusMachineId: path } }) =>
  path === undefined ? [] : [{ path, mode: 0o444, content: `${identity.machineId}\n` }],
);
