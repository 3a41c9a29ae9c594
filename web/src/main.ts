// SPDX-License-Identifier: Apache-2.0
// The playground: an editor that completes, what the last completion cost, and a few settings.

import { EditorView } from "@codemirror/view";

import {
  address,
  type CompletionBody,
  health,
  type ServedModel,
  ServerError,
  servedModel,
} from "./api.ts";
import { createEditor, setLanguage, showSample } from "./editor.ts";
import { ghostText } from "./ghost.ts";
import { FILE_TYPES, type FileType } from "./languages.ts";
import { loadSettings, loadToken, saveSettings, saveToken, type Theme } from "./settings.ts";
import { type Outcome, Suggester } from "./suggester.ts";
import { curlCommand, formatTime } from "./text.ts";

const POLL_READY_MS = 10_000;
const POLL_WAITING_MS = 700;
const THEMES: readonly Theme[] = ["system", "light", "dark"];
const ENDS: Record<string, string> = { stop: "the model", length: "most tokens" };

type State = "loading" | "ready" | "token" | "failed" | "offline";

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

const settings = loadSettings();
let fileType: FileType = FILE_TYPES.find(({ id }) => id === settings.fileType) ?? FILE_TYPES[0]!;
let token = loadToken();
let state: State = "loading";
let model: ServedModel | null = null;

// What is asked

function requestBody(prompt: string, suffix: string): CompletionBody {
  return {
    prompt,
    suffix,
    path: fileType.path,
    max_tokens: settings.maxTokens,
    temperature: settings.temperature,
    ...(settings.isSingleLine ? { stop: ["\n"] } : {}),
  };
}

const suggester = new Suggester({
  isReady: () => state === "ready",
  isAutomatic: () => settings.isAutomatic,
  token: () => token,
  body: requestBody,
  onBusy: (isBusy) => {
    element("status").dataset.busy = String(isBusy);
    if (isBusy) showHint();
  },
  onOutcome: showOutcome,
  onError: (error) => {
    if (error instanceof ServerError) showNote(error.message, "error");
    void checkServer();
  },
});

const view = createEditor(element("editor"), [
  ghostText(
    () => suggester.ask(),
    () => suggester.dismiss(),
  ),
  EditorView.updateListener.of((update) => {
    suggester.onUpdate(update);
    if (update.docChanged || update.selectionSet) showCurl();
  }),
]);
suggester.attach(view);

// What is shown

function showOutcome({ text, firstMs, totalMs, finishReason, counts }: Outcome): void {
  element("latency").textContent = formatTime(totalMs);
  element("first").textContent = text ? formatTime(firstMs) : "–";
  if (counts) {
    const cached = counts.cachedTokens ? `, ${counts.cachedTokens} cached` : "";
    element("prompt-tokens").textContent = `${counts.promptTokens} tokens${cached}`;
    const perSecond = Math.round((1000 * counts.drawnTokens) / counts.drawnMs);
    const rate = Number.isFinite(perSecond) ? `, ${perSecond}/s` : "";
    element("drawn").textContent = `${counts.drawnTokens} tokens${rate}`;
  }
  element("ended").textContent = ENDS[finishReason ?? ""] ?? "–";
  element("spoken").textContent = text ? `Suggestion: ${text}` : "No suggestion";
  if (!text) showNote("The model suggests nothing here.", "hint");
}

function showNote(text: string, kind: "hint" | "error"): void {
  element("note").textContent = text;
  element("note").dataset.kind = kind;
}

function showHint(): void {
  showNote("Type, and the model suggests what belongs at the cursor.", "hint");
}

function showCurl(): void {
  const { head } = view.state.selection.main;
  const body = requestBody(view.state.sliceDoc(0, head), view.state.sliceDoc(head));
  element("curl").textContent = curlCommand(address("v1/completions"), body, Boolean(token));
}

function showState(next: State): void {
  state = next;
  element("status").dataset.state = next;
  element("status-text").textContent = {
    loading: "Loading the model",
    ready: model ? `${model.id} on ${model.device}` : "Ready",
    token: "Token needed",
    failed: "The model could not be loaded",
    offline: "No server; trying again",
  }[next];
  if (model) {
    const { contextLength, dtype, mode } = model;
    element("status").title = `${contextLength} tokens of context, ${dtype}, ${mode}`;
  }
}

function showTheme(): void {
  const { theme } = settings;
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  element("theme").title = `Theme: ${theme}`;
  element("theme-text").textContent = `Theme: ${theme}`;
}

// Whether the server is there

let isGreeted = false;
let poll: ReturnType<typeof setTimeout> | undefined;

async function checkServer(): Promise<void> {
  clearTimeout(poll);
  const found = await health();
  if (found === "ready") await checkModel();
  else showState(found);
  if (state === "ready" && !isGreeted) {
    isGreeted = true;
    if (settings.isAutomatic) suggester.ask();
  }
  poll = setTimeout(() => void checkServer(), state === "ready" ? POLL_READY_MS : POLL_WAITING_MS);
}

async function checkModel(): Promise<void> {
  try {
    model = await servedModel(token);
    showState("ready");
    showCurl();
  } catch (error) {
    if (!(error instanceof ServerError && error.status === 401)) return showState("loading");
    showState("token");
    if (token) element("token-note").textContent = "The server did not accept that token.";
    const dialog = element<HTMLDialogElement>("token-dialog");
    if (!dialog.open) dialog.showModal();
  }
}

// What can be set

function chooseFileType(id: string): void {
  const isUntouched = view.state.doc.toString() === fileType.sample.replace("|", "");
  fileType = FILE_TYPES.find((type) => type.id === id) ?? fileType;
  settings.fileType = fileType.id;
  element("path").textContent = fileType.path;
  suggester.dismiss();
  if (isUntouched || view.state.doc.length === 0) showSample(view, fileType);
  void setLanguage(view, fileType);
}

/** Show and remember the settings as they now stand. */
function changed(): void {
  for (const slider of [maxTokens, temperature]) {
    const { min, max, valueAsNumber } = slider;
    const filled = (valueAsNumber - Number(min)) / (Number(max) - Number(min));
    slider.style.setProperty("--filled", `${100 * filled}%`);
  }
  element("max-tokens-text").textContent = String(settings.maxTokens);
  element("temperature-text").textContent = settings.temperature.toFixed(1);
  saveSettings(settings);
  showTheme();
  showCurl();
}

const types = element<HTMLSelectElement>("file-type");
types.append(...FILE_TYPES.map(({ id, name }) => new Option(name, id, false, id === fileType.id)));
types.addEventListener("change", () => {
  chooseFileType(types.value);
  changed();
});

const maxTokens = element<HTMLInputElement>("max-tokens");
maxTokens.value = String(settings.maxTokens);
maxTokens.addEventListener("input", () => {
  settings.maxTokens = maxTokens.valueAsNumber;
  changed();
});

const temperature = element<HTMLInputElement>("temperature");
temperature.value = String(settings.temperature);
temperature.addEventListener("input", () => {
  settings.temperature = temperature.valueAsNumber;
  changed();
});

const singleLine = element<HTMLInputElement>("single-line");
singleLine.checked = settings.isSingleLine;
singleLine.addEventListener("change", () => {
  settings.isSingleLine = singleLine.checked;
  changed();
});

const automatic = element<HTMLInputElement>("automatic");
automatic.checked = settings.isAutomatic;
automatic.addEventListener("change", () => {
  settings.isAutomatic = automatic.checked;
  changed();
});

element("theme").addEventListener("click", () => {
  settings.theme = THEMES[(THEMES.indexOf(settings.theme) + 1) % THEMES.length] ?? "system";
  changed();
});

element("ask").addEventListener("click", () => {
  view.focus();
  suggester.ask();
});

element("copy").addEventListener("click", async () => {
  const button = element("copy");
  const text = element("curl").textContent ?? "";
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Without a secure origin there is no clipboard: select the text for Ctrl-C instead.
    getSelection()?.selectAllChildren(element("curl"));
    button.textContent = "Press Ctrl-C";
  }
  setTimeout(() => (button.textContent = "Copy"), 1600);
});

element<HTMLDialogElement>("token-dialog").addEventListener("close", () => {
  token = element<HTMLInputElement>("token").value.trim();
  saveToken(token);
  void checkServer();
});

if (navigator.platform.startsWith("Mac")) element("word-key").textContent = "⌘ →";
element("path").textContent = fileType.path;
showSample(view, fileType);
showHint();
void setLanguage(view, fileType);
changed();
view.focus();
void checkServer();
