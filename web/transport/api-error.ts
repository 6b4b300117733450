import type { Problem } from "../../api/index.ts";

/** Why a request came to nothing: what the daemon answered, or that it could not be heard. */
export class ApiError extends Error {
  /** 0 when there was no answer. */
  readonly status: number;
  /** One of docs/ERRORS.md; `undefined` when there was no answer, or one that is not the daemon's. */
  readonly code: string | undefined;

  constructor(message: string, status: number, code?: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }

  static unreachable(cause: unknown): ApiError {
    return new ApiError("The daemon does not answer. Is it running, and can this machine reach it?", 0, undefined, {
      cause,
    });
  }

  static async of(response: Response): Promise<ApiError> {
    const body: unknown = await response.json().catch(() => undefined);
    if (isProblem(body)) return new ApiError(body.detail, response.status, body.code);
    return new ApiError(`The answer was ${response.status} ${response.statusText}`.trimEnd(), response.status);
  }
}

function isProblem(body: unknown): body is Problem {
  if (typeof body !== "object" || body === null || !("detail" in body) || !("code" in body)) return false;
  return typeof body.detail === "string" && typeof body.code === "string";
}
