// SPDX-License-Identifier: Apache-2.0
// Pure functions on text: what typing does to a suggestion, when to ask for one, what is sent.

/** What is left of a suggestion after `typed` was inserted at its start; null if it no longer fits. */
export function typeThrough(suggestion: string, typed: string): string | null {
  return suggestion.startsWith(typed) ? suggestion.slice(typed.length) : null;
}

/** The next word of a suggestion with the white space before it; a line end counts as a word. */
export function nextWord(suggestion: string): string {
  return /^(\n[ \t]*|[ \t]*(\w+|[^\w\s]+)?)/.exec(suggestion)?.[0] || suggestion;
}

/** Whether typing here should ask by itself: not inside a word, and not in an empty file. */
export function isWorthAsking(before: string, after: string): boolean {
  return before.trim() !== "" && !/^\w/.test(after);
}

/** Splits a stream of server-sent events; what is not complete yet is the rest. */
export function splitEvents(buffer: string): { events: string[]; rest: string } {
  const parts = buffer.split("\n\n");
  const rest = parts.pop() ?? "";
  const events = parts.flatMap((part) =>
    part.startsWith("data: ") ? [part.slice("data: ".length)] : [],
  );
  return { events, rest };
}

/** A command for a POSIX shell that asks the same. */
export function curlCommand(url: string, body: object, hasToken: boolean): string {
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const token = hasToken ? ` \\\n  -H "Authorization: Bearer $CODEGEMMA_TOKEN"` : "";
  return `curl ${url} \\\n  -H 'Content-Type: application/json'${token} \\\n  -d '${json}'`;
}

/** 83 -> "83 ms", 1234 -> "1.23 s". */
export function formatTime(milliseconds: number): string {
  return milliseconds < 1000
    ? `${Math.round(milliseconds)} ms`
    : `${(milliseconds / 1000).toFixed(2)} s`;
}
