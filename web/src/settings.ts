// SPDX-License-Identifier: Apache-2.0
// What the page remembers in this browser; the token only until the tab is closed.

export type Theme = "system" | "light" | "dark";

export interface Settings {
  theme: Theme;
  fileType: string;
  maxTokens: number;
  temperature: number;
  isSingleLine: boolean;
  isAutomatic: boolean;
}

const KEY = "codegemma";
const DEFAULTS: Settings = {
  theme: "system",
  fileType: "python",
  maxTokens: 64,
  temperature: 0,
  isSingleLine: false,
  isAutomatic: true,
};

/** Read the settings; what is missing or of another type takes its default. */
export function loadSettings(): Settings {
  const settings = { ...DEFAULTS };
  try {
    const stored: Record<string, unknown> = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    for (const key of Object.keys(DEFAULTS) as (keyof Settings)[]) {
      if (typeof stored[key] === typeof DEFAULTS[key]) Object.assign(settings, { [key]: stored[key] });
    }
  } catch {
    // Storage may be switched off or hold something else: the defaults do.
  }
  return settings;
}

export function saveSettings(settings: Settings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // Nothing is lost but the memory of a choice.
  }
}

export function loadToken(): string {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export function saveToken(token: string): void {
  try {
    sessionStorage.setItem(KEY, token);
  } catch {
    // It is asked for again after a reload.
  }
}
