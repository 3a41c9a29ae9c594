// SPDX-License-Identifier: Apache-2.0
// When to ask for a suggestion, and what becomes of the answer: one request at a time, cancelled
// as soon as a key makes it useless, kept while typing agrees with it.

import { type EditorView, type ViewUpdate } from "@codemirror/view";

import { complete, type CompletionBody, type Counts } from "./api.ts";
import {
  beginSuggestion,
  clearSuggestion,
  closeSuggestion,
  growSuggestion,
  suggestion,
} from "./ghost.ts";
import { isWorthAsking } from "./text.ts";

const DEBOUNCE_MS = 90;

/** What one request came to. */
export interface Outcome {
  text: string;
  firstMs: number;
  totalMs: number;
  finishReason: string | null;
  counts: Counts | null;
}

/** How the suggester learns what to ask, and tells what happens. */
export interface Listener {
  isReady(): boolean;
  isAutomatic(): boolean;
  token(): string;
  body(before: string, after: string): CompletionBody;
  onBusy(isBusy: boolean): void;
  onOutcome(outcome: Outcome): void;
  onError(error: unknown): void;
}

export class Suggester {
  #view: EditorView | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #request: AbortController | null = null;

  constructor(readonly listener: Listener) {}

  attach(view: EditorView): void {
    this.#view = view;
  }

  /** Follow the editor: an edit asks, unless the suggestion still fits what was typed. */
  onUpdate(update: ViewUpdate): void {
    if (!update.docChanged && !update.selectionSet) return;
    if (suggestion(update.view)) return;
    this.#cancel();
    const isEdit = update.transactions.some(
      (each) => each.isUserEvent("input") || each.isUserEvent("delete"),
    );
    if (update.docChanged && isEdit && this.listener.isAutomatic() && this.#isWorthIt(update)) {
      this.#timer = setTimeout(() => void this.#ask(), DEBOUNCE_MS);
    }
  }

  /** Ask now. */
  ask(): void {
    this.dismiss();
    void this.#ask();
  }

  /** Take the suggestion away and stop waiting for one. */
  dismiss(): void {
    this.#cancel();
    if (this.#view) clearSuggestion(this.#view);
  }

  #isWorthIt({ state }: ViewUpdate): boolean {
    const { main } = state.selection;
    const after = state.sliceDoc(main.head, main.head + 1);
    return main.empty && isWorthAsking(state.sliceDoc(0, main.head), after);
  }

  #cancel(): void {
    clearTimeout(this.#timer);
    this.#request?.abort();
    this.#request = null;
  }

  async #ask(): Promise<void> {
    const view = this.#view;
    if (!view || !this.listener.isReady() || !view.state.selection.main.empty) return;
    const request = new AbortController();
    this.#request = request;
    const { head } = view.state.selection.main;
    const body = this.listener.body(view.state.sliceDoc(0, head), view.state.sliceDoc(head));
    this.listener.onBusy(true);
    beginSuggestion(view, head);
    try {
      const outcome = await this.#read(view, body, request.signal);
      if (outcome) this.listener.onOutcome(outcome);
    } catch (error) {
      if (!request.signal.aborted) {
        clearSuggestion(view);
        this.listener.onError(error);
      }
    } finally {
      if (this.#request === request) this.#request = null;
      if (!this.#request) this.listener.onBusy(false);
    }
  }

  async #read(
    view: EditorView,
    body: CompletionBody,
    signal: AbortSignal,
  ): Promise<Outcome | null> {
    const start = performance.now();
    const outcome: Outcome = { text: "", firstMs: 0, totalMs: 0, finishReason: null, counts: null };
    for await (const piece of complete(body, this.listener.token(), signal)) {
      if (signal.aborted) return null;
      if (piece.text) {
        outcome.firstMs ||= performance.now() - start;
        outcome.text += piece.text;
        growSuggestion(view, piece.text);
      }
      outcome.finishReason = piece.finishReason ?? outcome.finishReason;
      outcome.counts = piece.counts ?? outcome.counts;
    }
    outcome.totalMs = performance.now() - start;
    closeSuggestion(view);
    return outcome;
  }
}
