import type { ExecBody, ForkBody, Outcomes, VmView } from "../api/index.ts";
import { Events } from "../lib/core/index.ts";
import {
  type EventSource,
  type ExecOptions,
  type ExecResult,
  type FileOptions,
  type ForkOptions,
  type FreezeOptions,
  type Frozen,
  isVmSubstrateError,
  type ReadFileOptions,
  type Resources,
  type SessionOptions,
  type ShrinkRequest,
  type Timings,
  type Vm,
  type VmEvents,
  type VmOrigin,
  type VmState,
  VmSubstrateError,
} from "../lib/index.ts";

import type { Http, HttpRequest, HttpResponse } from "./http.ts";
import type { OperationCalls } from "./operations.ts";
import type { VmHandle } from "./pool-handle.ts";
import { RemoteSession } from "./remote-session.ts";

export interface RemoteVmDependencies {
  readonly http: Http;
  readonly operations: OperationCalls;
  /** The handle of a VM that was made through this client. */
  readonly handleOf: (view: VmView) => RemoteVm;
  /** This VM has ended, as far as this client did that. */
  readonly onReleased: (vm: RemoteVm) => void;
}

/** A VM of a daemon. What does not change is here, what changes follows the daemon's events. */
export class RemoteVm implements VmHandle {
  readonly id: string;
  readonly hostname: string;
  readonly address: string;
  readonly address6: string | undefined;
  readonly mac: string;
  readonly machineId: string;
  readonly sshHostKey: string;
  readonly substrate: { readonly name: string; readonly version: number };
  readonly origin: VmOrigin;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: Date;
  readonly timings: Timings;
  readonly pid: number;
  readonly #deps: RemoteVmDependencies;
  readonly #events = new Events<VmEvents>();
  #state: VmState;
  #expiresAt: Date | undefined;
  #resources: Resources;

  /** @internal */
  constructor(view: VmView, deps: RemoteVmDependencies) {
    this.id = view.id;
    this.hostname = view.hostname;
    this.address = view.address;
    this.address6 = view.address6 ?? undefined;
    this.mac = view.mac;
    this.machineId = view.machineId;
    this.sshHostKey = view.sshHostKey;
    this.substrate = Object.freeze(view.substrate);
    this.#resources = Object.freeze(view.resources);
    this.origin = view.origin;
    this.labels = Object.freeze(view.labels);
    this.createdAt = new Date(view.createdAt);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the phases are keys of the wire format
    this.timings = Object.freeze(view.timings) as Timings;
    this.pid = view.pid;
    this.#deps = deps;
    this.#state = view.state;
    this.#expiresAt = dateOf(view.expiresAt);
  }

  get state(): VmState {
    return this.#state;
  }

  get resources(): Resources {
    return this.#resources;
  }

  get expiresAt(): Date | undefined {
    return this.#expiresAt;
  }

  get events(): EventSource<VmEvents> {
    return this.#events;
  }

  get isGone(): boolean {
    return this.#state === "released" || this.#state === "failed" || this.#state === "detached";
  }

  /** As `Vm.exec`; output and input are in memory as a whole. */
  async exec(argv: readonly string[], { stdin, env, timeoutMs, signal }: ExecOptions = {}): Promise<ExecResult> {
    const body: ExecBody = { argv: [...argv], env: env && { ...env }, timeoutMs };
    if (stdin !== undefined) body.stdinBase64 = Buffer.from(stdin).toString("base64");
    const response = await this.#request("exec", { method: "POST", path: "/exec", body, signal });
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the route's schema
    const { stdoutBase64, stderrBase64, ...result } = response.json() as Wire<ExecResult>;
    const [stdoutBytes, stderrBytes] = [Buffer.from(stdoutBase64, "base64"), Buffer.from(stderrBase64, "base64")];
    return { ...result, stdout: stdoutBytes.toString(), stderr: stderrBytes.toString(), stdoutBytes, stderrBytes };
  }

  async session(argv: readonly string[], options: SessionOptions = {}): Promise<RemoteSession> {
    if (this.isGone) throw gone(this, "session");
    try {
      return await RemoteSession.open(this.#deps.http.target, this.id, argv, options);
    } catch (error) {
      throw isEnd(error) ? gone(this, "session", error) : error;
    }
  }

  async readFile(path: string, { signal, ...options }: ReadFileOptions = {}): Promise<Uint8Array> {
    return (await this.#request("readFile", { path: "/files", query: { path, ...options }, signal })).bytes;
  }

  async writeFile(path: string, content: string | Uint8Array, { signal, ...options }: FileOptions = {}): Promise<void> {
    const body = typeof content === "string" ? Buffer.from(content) : content;
    await this.#request("writeFile", { method: "PUT", path: "/files", query: { path, ...options }, body, signal });
  }

  async memory(): ReturnType<Vm["memory"]> {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the route's schema
    return (await this.#request("memory", { path: "/memory" })).json() as Awaited<ReturnType<Vm["memory"]>>;
  }

  async console({ maxBytes, signal }: { maxBytes?: number | undefined; signal?: AbortSignal | undefined } = {}) {
    const response = await this.#request("console", { path: "/console", query: { maxBytes }, signal });
    return (response.json() as { text: string }).text;
  }

  async park(): Promise<void> {
    this.follow((await this.#request("park", { method: "POST", path: "/park" })).json() as VmView);
  }

  async resume(): Promise<void> {
    this.follow((await this.#request("resume", { method: "POST", path: "/resume" })).json() as VmView);
  }

  async extend(ms: number): Promise<Date> {
    const view = (await this.#request("extend", { method: "POST", path: "/extend", body: { ms } })).json() as VmView;
    this.follow(view);
    return new Date(view.expiresAt ?? Number.NaN);
  }

  async shrink({ signal, ...body }: ShrinkRequest): Promise<Resources> {
    this.follow((await this.#request("shrink", { method: "POST", path: "/shrink", body, signal })).json() as VmView);
    return this.#resources;
  }

  async fork(count: number, { signal, callId, ...options }: ForkOptions = {}): Promise<RemoteVm[]> {
    const body = { count, callId, options: options as NonNullable<ForkBody["options"]> } satisfies ForkBody;
    const { outcomes } = await this.#operation<Outcomes>("fork", { path: "/fork", body, signal });
    return outcomes.flatMap((one) => ("vm" in one ? [this.#deps.handleOf(one.vm)] : []));
  }

  async freeze({ name, signal, onProgress }: FreezeOptions): Promise<Frozen> {
    return this.#operation<Frozen>("freeze", { path: "/freeze", body: { name }, signal, onProgress });
  }

  async release(): Promise<void> {
    if (this.#state === "detached") throw gone(this, "release");
    if (this.isGone) return;
    try {
      await this.#deps.http.request({ method: "DELETE", path: `/vms/${this.id}` });
    } catch (error) {
      if (!isEnd(error)) throw error;
    }
    this.ended("released");
    this.#deps.onReleased(this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state !== "detached") await this.release();
  }

  /** Takes over what the daemon says of it. @internal */
  follow({ state, expiresAt, resources }: VmView): void {
    if (this.isGone) return;
    const before = this.#state;
    // Memory only goes: an event on its way may have been overtaken by the answer to the call that it tells of.
    const isShrunk = resources.memoryMiB < this.#resources.memoryMiB;
    if (isShrunk) this.#resources = Object.freeze(resources);
    this.#state = state;
    this.#expiresAt = dateOf(expiresAt);
    if (isShrunk) this.#events.announce("shrunk");
    if (state === before) return;
    if (state === "parked") this.#events.announce("parked");
    if (state === "running" && before === "parked") this.#events.announce("resumed");
    if (state === "running" && before === "unresponsive") this.#events.announce("responsive");
  }

  /** @internal */
  unresponsive(view: VmView, error: VmSubstrateError): void {
    this.follow(view);
    this.#events.announce("unresponsive", error);
  }

  /** @internal */
  exited(...cause: VmEvents["exit"]): void {
    if (this.isGone) return;
    this.#state = "failed";
    this.#events.announce("exit", ...cause);
  }

  /** Without a word of why, or because this client is closed. @internal */
  ended(state: "released" | "detached"): void {
    if (this.isGone) return;
    this.#state = state;
    if (state === "released") this.#events.announce("released");
  }

  async #request(what: string, request: HttpRequest): Promise<HttpResponse> {
    if (this.isGone) throw gone(this, what);
    try {
      return await this.#deps.http.request({ ...request, path: `/vms/${this.id}${request.path}` });
    } catch (error) {
      throw isEnd(error) ? gone(this, what, error) : error;
    }
  }

  async #operation<Result>(what: string, call: Parameters<OperationCalls["run"]>[0]): Promise<Result> {
    if (this.isGone) throw gone(this, what);
    try {
      return await this.#deps.operations.run<Result>({ ...call, path: `/vms/${this.id}${call.path}` });
    } catch (error) {
      throw isVmSubstrateError(error, "NOT_FOUND") ? gone(this, what, error) : error;
    }
  }
}

type Wire<Result> = Omit<Result, "stdout" | "stderr" | "stdoutBytes" | "stderrBytes"> & {
  readonly stdoutBase64: string;
  readonly stderrBase64: string;
};

function isEnd(error: unknown): boolean {
  return isVmSubstrateError(error, "NOT_FOUND") || isVmSubstrateError(error, "VM_GONE");
}

function gone({ hostname, id, state }: RemoteVm, what: string, cause?: unknown): VmSubstrateError {
  const message = `${what}: VM ${hostname} (${id}) is gone`;
  return new VmSubstrateError("VM_GONE", message, { cause, details: { id, state } });
}

function dateOf(text: string | null): Date | undefined {
  return text === null ? undefined : new Date(text);
}
