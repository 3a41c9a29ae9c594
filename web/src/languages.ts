// SPDX-License-Identifier: Apache-2.0
// File types: their name, the path the model sees, how they are coloured, and a text to start from.

import { python } from "@codemirror/lang-python";
import { type LanguageSupport, StreamLanguage } from "@codemirror/language";
import type { Extension } from "@codemirror/state";

import * as samples from "./samples.ts";

export interface FileType {
  readonly id: string;
  readonly name: string;
  readonly path: string;
  readonly sample: string;
  readonly indent: string;
  load(): Promise<LanguageSupport | Extension>;
}

async function clike(name: "csharp" | "kotlin"): Promise<Extension> {
  return StreamLanguage.define((await import("@codemirror/legacy-modes/mode/clike"))[name]);
}

async function script(typescript: boolean): Promise<LanguageSupport> {
  return (await import("@codemirror/lang-javascript")).javascript({ typescript });
}

async function cpp(): Promise<LanguageSupport> {
  return (await import("@codemirror/lang-cpp")).cpp();
}

export const FILE_TYPES: readonly FileType[] = [
  {
    id: "python",
    name: "Python",
    path: "main.py",
    sample: samples.PYTHON,
    indent: "    ",
    load: async () => python(),
  },
  {
    id: "javascript",
    name: "JavaScript",
    path: "main.js",
    sample: samples.JAVASCRIPT,
    indent: "  ",
    load: () => script(false),
  },
  {
    id: "typescript",
    name: "TypeScript",
    path: "main.ts",
    sample: samples.TYPESCRIPT,
    indent: "  ",
    load: () => script(true),
  },
  {
    id: "java",
    name: "Java",
    path: "Main.java",
    sample: samples.JAVA,
    indent: "    ",
    load: async () => (await import("@codemirror/lang-java")).java(),
  },
  { id: "c", name: "C", path: "main.c", sample: samples.C, indent: "    ", load: cpp },
  { id: "cpp", name: "C++", path: "main.cpp", sample: samples.CPP, indent: "    ", load: cpp },
  {
    id: "csharp",
    name: "C#",
    path: "Main.cs",
    sample: samples.CSHARP,
    indent: "    ",
    load: () => clike("csharp"),
  },
  {
    id: "go",
    name: "Go",
    path: "main.go",
    sample: samples.GO,
    indent: "\t",
    load: async () => (await import("@codemirror/lang-go")).go(),
  },
  {
    id: "rust",
    name: "Rust",
    path: "main.rs",
    sample: samples.RUST,
    indent: "    ",
    load: async () => (await import("@codemirror/lang-rust")).rust(),
  },
  {
    id: "kotlin",
    name: "Kotlin",
    path: "Main.kt",
    sample: samples.KOTLIN,
    indent: "    ",
    load: () => clike("kotlin"),
  },
];
