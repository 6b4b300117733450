import { MIB } from "../core/index.ts";

/** Every bound and default of this folder. docs/QMP.md lists them. */

/** Deadline of `connect`, in milliseconds, unless the caller gives one. */
export const DEFAULT_CONNECT_TIMEOUT_MS = 5_000;
/** Deadline of one QMP command, in milliseconds. */
export const DEFAULT_QMP_COMMAND_TIMEOUT_MS = 10_000;
/** Deadline of `waitForEvent`, in milliseconds. */
export const DEFAULT_EVENT_TIMEOUT_MS = 30_000;
/** Deadline of one guest-agent command, waiting for its turn and a sync included, in milliseconds. */
export const DEFAULT_AGENT_COMMAND_TIMEOUT_MS = 10_000;
/** Deadline of a program run by `guestExec`, in milliseconds. */
export const DEFAULT_EXEC_TIMEOUT_MS = 30_000;
/** Pause between two attempts to connect to a socket that is not there yet, in milliseconds. */
export const CONNECT_RETRY_INTERVAL_MS = 2;

/** How long a QEMU that is starting may take from its greeting to its answer before it is connected to again. */
export const STARTING_ANSWER_TIMEOUT_MS = 500;

/** sizeof(sockaddr_un.sun_path) - 1 on Linux. */
export const MAX_SOCKET_PATH_BYTES = 107;
/** Longest line of control traffic: QMP, and guest-agent answers that carry no data. */
export const DEFAULT_MAX_LINE_BYTES = 1 * MIB;
/** Longest guest-agent answer of any kind. */
export const MAX_AGENT_DATA_LINE_BYTES = 8 * MIB;
/** Bytes that may wait for a peer that does not read. */
export const MAX_QUEUED_WRITE_BYTES = 16 * MIB;

/** Greetings on one connection; QEMU sends a second one when connected to in the moment it starts. */
export const MAX_GREETINGS = 2;
/** QMP commands that may be unanswered at once. */
export const MAX_PENDING_COMMANDS = 1_024;
/** Commands given up on whose late reply is still recognised. */
export const MAX_ABANDONED_COMMANDS = 1_024;
/** Guest-agent commands that may wait for their turn. */
export const MAX_QUEUED_AGENT_COMMANDS = 1_024;

/** Nesting of a JSON message, in levels. */
export const MAX_JSON_DEPTH = 64;
/** Objects, arrays and members of a JSON message; `query-qmp-schema` of QEMU 7.2 has about 20 000. */
export const MAX_JSON_VALUES = 200_000;

/** Standard input of `guestExec`. Larger input goes through `writeGuestFile`. */
export const MAX_EXEC_STDIN_BYTES = 4 * MIB;
/** Output that `guestExec` returns, per stream. */
export const DEFAULT_MAX_EXEC_OUTPUT_BYTES = 2 * MIB;
/** First and longest pause between two `guest-exec-status`, in milliseconds. */
export const EXEC_POLL_FIRST_MS = 2;
export const EXEC_POLL_MAX_MS = 50;
/** How long `guestExec` tries to kill a program that ran out of time, in milliseconds. */
export const EXEC_KILL_TIMEOUT_MS = 2_000;
/** PATH of a program that is started with an `env` that has none. */
export const DEFAULT_GUEST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Bytes moved by one `guest-file-read` or `guest-file-write` of the helpers. */
export const FILE_CHUNK_BYTES = 256 * 1024;
/** Largest `count` of one `guest-file-read`: its base64 must fit into MAX_AGENT_DATA_LINE_BYTES. */
export const MAX_FILE_READ_BYTES = 6_000_000;
/** Bytes that `readGuestFile` accepts unless the caller says otherwise. */
export const DEFAULT_MAX_FILE_BYTES = 1 * MIB;
/** Deadline of closing a guest file handle after its caller gave up, in milliseconds. */
export const FILE_CLOSE_TIMEOUT_MS = 2_000;
/** How long a command that does not answer on success (guest-shutdown) is watched for an error, in milliseconds. */
export const NO_REPLY_GRACE_MS = 100;
