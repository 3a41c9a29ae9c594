// SPDX-License-Identifier: Apache-2.0
// The server as this page needs it: is it there, what does it serve, complete this.

import { splitEvents } from "./text.ts";

/** The body of a completion request. */
export interface CompletionBody {
  prompt: string;
  suffix: string;
  path: string;
  max_tokens: number;
  temperature: number;
  stop?: string[];
}

/** Where the tokens and the time of a completion went. */
export interface Counts {
  promptTokens: number;
  cachedTokens: number;
  drawnTokens: number;
  drawnMs: number;
}

/** A piece of a completion; the last ones say why it ended and what it cost. */
export interface Piece {
  text: string;
  finishReason: string | null;
  counts: Counts | null;
}

/** What is served. */
export interface ServedModel {
  id: string;
  contextLength: number;
  device: string;
  dtype: string;
  mode: string;
}

export type Health = "ready" | "loading" | "failed" | "offline";

/** An answer that is an error, told in the server's words. */
export class ServerError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export function address(path: string): string {
  return new URL(path, document.baseURI).href;
}

/** Ask whether completions can be had. */
export async function health(): Promise<Health> {
  try {
    const answer = await fetch(address("health"), { cache: "no-store" });
    if (answer.ok) return "ready";
    const { status } = (await answer.json()) as { status?: string };
    return status === "failed" ? "failed" : "loading";
  } catch {
    return "offline";
  }
}

/** Ask what is served. */
export async function servedModel(token: string): Promise<ServedModel> {
  const answer = await fetch(address("v1/models"), { headers: headers(token) });
  if (!answer.ok) throw await toError(answer);
  const { data } = await answer.json();
  const { id, meta } = data[0];
  return {
    id,
    contextLength: meta.n_ctx_train,
    device: meta.device,
    dtype: meta.dtype,
    mode: meta.mode,
  };
}

/** Complete, piece by piece; ends at once when the signal is aborted. */
export async function* complete(
  body: CompletionBody,
  token: string,
  signal: AbortSignal,
): AsyncGenerator<Piece> {
  const answer = await fetch(address("v1/completions"), {
    method: "POST",
    headers: { ...headers(token), "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!answer.ok || !answer.body) throw await toError(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const { events, rest } = splitEvents(buffer + value);
    buffer = rest;
    for (const event of events) {
      if (event === "[DONE]") return;
      yield toPiece(JSON.parse(event));
    }
  }
}

interface Event {
  choices?: { text: string; finish_reason: string | null }[];
  usage?: { prompt_tokens: number; prompt_tokens_details: { cached_tokens: number } };
  timings?: { predicted_n: number; predicted_ms: number };
  error?: { message: string };
}

function toPiece({ choices, usage, timings, error }: Event): Piece {
  if (error) throw new ServerError(500, error.message);
  const choice = choices?.[0];
  const counts = usage &&
    timings && {
      promptTokens: usage.prompt_tokens,
      cachedTokens: usage.prompt_tokens_details.cached_tokens,
      drawnTokens: timings.predicted_n,
      drawnMs: timings.predicted_ms,
    };
  return {
    text: choice?.text ?? "",
    finishReason: choice?.finish_reason ?? null,
    counts: counts ?? null,
  };
}

function headers(token: string): Record<string, string> {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function toError(answer: Response): Promise<ServerError> {
  const body = await answer.json().catch(() => null);
  return new ServerError(answer.status, body?.error?.message ?? answer.statusText);
}
