// SPDX-License-Identifier: Apache-2.0
// Ghost text: a suggestion drawn behind the cursor that typing eats and keys accept.

import { type Extension, Prec, StateEffect, StateField, type Transaction } from "@codemirror/state";
import { Decoration, EditorView, keymap, WidgetType } from "@codemirror/view";

import { nextWord, typeThrough } from "./text.ts";

/** Text suggested at `from`; while `isOpen`, more of it may come. */
export interface Suggestion {
  readonly from: number;
  readonly text: string;
  readonly isOpen: boolean;
}

const begin = StateEffect.define<number>();
const grow = StateEffect.define<string>();
const close = StateEffect.define<null>();
const clear = StateEffect.define<null>();

class GhostWidget extends WidgetType {
  constructor(readonly text: string) {
    super();
  }

  override eq(other: GhostWidget): boolean {
    return other.text === this.text;
  }

  override toDOM(): HTMLElement {
    const span = document.createElement("span");
    span.className = "cm-ghost";
    span.textContent = this.text;
    // A screen reader hears it from the page's live region instead.
    span.setAttribute("aria-hidden", "true");
    return span;
  }
}

const field = StateField.define<Suggestion | null>({
  create: () => null,
  update(value, transaction) {
    let next = value === null ? null : follow(value, transaction);
    for (const effect of transaction.effects) {
      if (effect.is(clear)) next = null;
      else if (effect.is(begin)) next = { from: effect.value, text: "", isOpen: true };
      else if (next === null) continue;
      else if (effect.is(grow)) next = { ...next, text: next.text + effect.value };
      else if (effect.is(close)) next = next.text === "" ? null : { ...next, isOpen: false };
    }
    return next;
  },
  provide: (self) =>
    EditorView.decorations.from(self, (value) => {
      if (!value?.text) return Decoration.none;
      const widget = Decoration.widget({ widget: new GhostWidget(value.text), side: 1 });
      return Decoration.set([widget.range(value.from)]);
    }),
});

/** What an edit or a move of the cursor leaves of a suggestion. */
function follow(value: Suggestion, transaction: Transaction): Suggestion | null {
  if (transaction.docChanged) {
    const typed = insertedAt(transaction, value.from);
    const text = typed === null ? null : typeThrough(value.text, typed);
    if (typed === null || text === null || (text === "" && !value.isOpen)) return null;
    return { ...value, from: value.from + typed.length, text };
  }
  const { main } = transaction.newSelection;
  return main.empty && main.head === value.from ? value : null;
}

/** The text a transaction inserts at a position, null if it does anything else. */
function insertedAt(transaction: Transaction, position: number): string | null {
  let typed: string | null = null;
  let count = 0;
  transaction.changes.iterChanges((fromA, toA, _fromB, _toB, inserted) => {
    count += 1;
    if (fromA === position && toA === position) typed = inserted.toString();
  });
  return count === 1 ? typed : null;
}

/** The suggestion that is shown, or about to be. */
export function suggestion(view: EditorView): Suggestion | null {
  return view.state.field(field);
}

/** Start a suggestion at a position; its text comes with `growSuggestion`. */
export function beginSuggestion(view: EditorView, from: number): void {
  view.dispatch({ effects: begin.of(from) });
}

/** Add a piece of text to the suggestion, if it still stands. */
export function growSuggestion(view: EditorView, text: string): void {
  view.dispatch({ effects: grow.of(text) });
}

/** Say that no more text comes. */
export function closeSuggestion(view: EditorView): void {
  view.dispatch({ effects: close.of(null) });
}

/** Take the suggestion away. */
export function clearSuggestion(view: EditorView): void {
  if (suggestion(view)) view.dispatch({ effects: clear.of(null) });
}

function accept(view: EditorView, part: (text: string) => string): boolean {
  const shown = suggestion(view);
  if (!shown?.text) return false;
  const insert = part(shown.text);
  view.dispatch({
    changes: { from: shown.from, insert },
    selection: { anchor: shown.from + insert.length },
    userEvent: "input.complete",
    scrollIntoView: true,
  });
  return true;
}

/** The extension: the suggestion's state, how it is drawn, and its keys. */
export function ghostText(ask: () => void, dismiss: () => void): Extension {
  return [
    field,
    Prec.highest(
      keymap.of([
        { key: "Tab", run: (view) => accept(view, (text) => text) },
        { key: "Mod-ArrowRight", run: (view) => accept(view, nextWord) },
        {
          key: "Escape",
          run: (view) => {
            const isShown = Boolean(suggestion(view)?.text);
            dismiss();
            return isShown;
          },
        },
        ...["Ctrl-Space", "Alt-\\"].map((key) => ({
          key,
          run: () => {
            ask();
            return true;
          },
        })),
      ]),
    ),
  ];
}
