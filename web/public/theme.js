// SPDX-License-Identifier: Apache-2.0
// Sets the chosen theme before anything is drawn; without a choice the system's own applies.
try {
  const theme = JSON.parse(localStorage.getItem("codegemma") ?? "{}").theme;
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be switched off; the system's theme is fine then.
}
