// SPDX-License-Identifier: Apache-2.0
// Builds the page into the Python package, with the licences of what it bundles beside it.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

/** Writes LICENSES.txt: name, version and licence text of every bundled package. */
function licences(): Plugin {
  return {
    name: "licences",
    generateBundle(_, bundle) {
      const folders = new Set<string>();
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== "chunk") continue;
        for (const id of chunk.moduleIds) {
          const folder = /^.*\/node_modules\/(@[^/]+\/)?[^/]+/.exec(id)?.[0];
          if (folder) folders.add(folder);
        }
      }
      const texts = [...folders].sort().map((folder) => {
        const { name, version, license } = JSON.parse(
          readFileSync(join(folder, "package.json"), "utf8"),
        );
        const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
        const text = file ? readFileSync(join(folder, file), "utf8").trim() : license;
        return `${name} ${version} (${license})\n\n${text}\n`;
      });
      const head = "The page bundles these packages, each under the licence below its name.\n\n";
      this.emitFile({
        type: "asset",
        fileName: "LICENSES.txt",
        source: head + texts.join(`\n${"-".repeat(72)}\n\n`),
      });
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [licences()],
  build: {
    outDir: "../src/codegemma/serve/web",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 600,
  },
  server: { proxy: { "/v1": "http://127.0.0.1:8012", "/health": "http://127.0.0.1:8012" } },
});
