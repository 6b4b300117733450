import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { apiPage } from "./api-page.ts";

// Writes docs/API.md; a test compares it with the daemon's own description.
await writeFile(fileURLToPath(new URL("../docs/API.md", import.meta.url)), await apiPage());
