// SPDX-License-Identifier: Apache-2.0
// The editor: CodeMirror in a shadow root, coloured by the page's own variables.
//
// In a shadow root CodeMirror's styles are constructed sheets, not <style> elements, which the
// page's content policy would refuse.

import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  bracketMatching,
  HighlightStyle,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
} from "@codemirror/language";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";

import type { FileType } from "./languages.ts";

const MONO =
  'ui-monospace, "SF Mono", "JetBrains Mono", "Cascadia Code", Menlo, Consolas, monospace';

const theme = EditorView.theme({
  "&": { height: "100%", color: "var(--text)", backgroundColor: "transparent", fontSize: "14px" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: MONO, lineHeight: "1.65", overflow: "auto" },
  ".cm-content": { padding: "14px 0 40vh", caretColor: "var(--accent)" },
  ".cm-line": { padding: "0 20px 0 6px" },
  ".cm-cursor": { borderLeft: "2px solid var(--accent)" },
  ".cm-gutters": {
    backgroundColor: "transparent",
    border: "none",
    color: "var(--faint)",
    paddingLeft: "10px",
    userSelect: "none",
  },
  ".cm-lineNumbers .cm-gutterElement": { minWidth: "26px", padding: "0 10px 0 4px" },
  ".cm-activeLine": { backgroundColor: "var(--line)" },
  ".cm-activeLineGutter": { backgroundColor: "transparent", color: "var(--muted)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground":
    { background: "var(--selection)" },
  ".cm-matchingBracket, &.cm-focused .cm-matchingBracket": {
    backgroundColor: "var(--selection)",
    borderRadius: "3px",
  },
  ".cm-ghost": { color: "var(--ghost)", whiteSpace: "pre", fontStyle: "italic" },
});

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.modifier, tags.operatorKeyword], color: "var(--code-keyword)" },
  { tag: [tags.string, tags.special(tags.string), tags.regexp], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--code-number)" },
  { tag: [tags.comment, tags.docComment], color: "var(--code-comment)", fontStyle: "italic" },
  { tag: [tags.typeName, tags.className, tags.namespace], color: "var(--code-type)" },
  {
    tag: [tags.function(tags.variableName), tags.function(tags.propertyName)],
    color: "var(--code-function)",
  },
  { tag: [tags.definition(tags.propertyName), tags.propertyName], color: "var(--code-property)" },
  { tag: [tags.meta, tags.annotation, tags.processingInstruction], color: "var(--code-meta)" },
  { tag: [tags.operator, tags.punctuation, tags.bracket], color: "var(--code-punctuation)" },
]);

const language = new Compartment();

/** Make the editor inside `host`; `extensions` add what this page does with it. */
export function createEditor(host: HTMLElement, extensions: Extension): EditorView {
  const root = host.attachShadow({ mode: "open" });
  return new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      extensions: [
        extensions,
        lineNumbers(),
        history(),
        drawSelection(),
        indentOnInput(),
        bracketMatching(),
        highlightActiveLine(),
        highlightActiveLineGutter(),
        syntaxHighlighting(colours),
        language.of([]),
        theme,
        keymap.of([...defaultKeymap, ...historyKeymap, indentWithTab]),
        EditorView.contentAttributes.of({
          "aria-label": "Code editor. Escape, then Tab, leaves it.",
          autocapitalize: "off",
          autocorrect: "off",
          spellcheck: "false",
        }),
      ],
    }),
  });
}

/** Show a file type's sample, the cursor at its mark. */
export function showSample(view: EditorView, type: FileType): void {
  const at = type.sample.indexOf("|");
  view.dispatch({
    changes: { from: 0, to: view.state.doc.length, insert: type.sample.replace("|", "") },
    selection: { anchor: at },
    scrollIntoView: true,
  });
}

/** Colour and indent the text as a file type; the latest call wins. */
export async function setLanguage(view: EditorView, type: FileType): Promise<void> {
  latest = type;
  const support = await type.load();
  if (latest !== type) return;
  const unit = [indentUnit.of(type.indent), EditorState.tabSize.of(4)];
  view.dispatch({ effects: language.reconfigure([support, unit]) });
}

let latest: FileType | null = null;
